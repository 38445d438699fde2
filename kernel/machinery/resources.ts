/** The built-in resources of the Kubernetes API: a typed token for each. */
import { accessResources } from './resources/access.ts';
import { administrationResources } from './resources/administration.ts';
import { coreResources } from './resources/core.ts';
import { networkingResources } from './resources/networking.ts';
import { storageResources } from './resources/storage.ts';
import { workloadsResources } from './resources/workloads.ts';
import type { BuiltInResource } from './resources/resource-type.ts';

export type { BuiltInResource };

export const resources = {
  ...coreResources,
  ...workloadsResources,
  ...networkingResources,
  ...accessResources,
  ...storageResources,
  ...administrationResources,
} as const;

/** All of them, in discovery order. */
export const builtInResources: readonly BuiltInResource[] = Object.values(resources);
