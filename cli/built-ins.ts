import type { CatalogueEntry } from '../kernel/registry/catalogue.ts';

/** Every plugin that comes with Pintle. Its code is loaded when a config chooses it. */
export const builtIns: readonly CatalogueEntry[] = [
  {
    kind: 'store',
    name: 'memory',
    summary: 'Keeps everything in memory: for tests and throw-away clusters',
    load: () => import('../plugins/stores/memory/index.ts'),
  },
  {
    kind: 'scheduler',
    name: 'spread',
    summary: 'Prefers the node with the most free resources',
    load: () => import('../plugins/schedulers/spread/index.ts'),
  },
  {
    kind: 'scheduler',
    name: 'binpack',
    summary: 'Prefers the fullest node that still fits',
    load: () => import('../plugins/schedulers/binpack/index.ts'),
  },
  {
    kind: 'component',
    name: 'node-agent',
    role: 'node',
    summary: 'Registers the node and runs its pods',
    load: () => import('../plugins/components/node-agent/index.ts'),
  },
];
