/**
 * metadata.managedFields: who set which field. An object is followed from a create that names its manager on, or from its
 * first server-side apply; what nobody asked to follow (events, leases, pods of controllers) costs nothing. Once it is
 * followed, every write counts, also one that names no manager: ownership has to move with the value, or a later apply
 * would find a conflict where there is none, and miss one where there is.
 */
import { isPintleError } from '../../../../kernel/contract/index.ts';
import type { KubernetesObject, WriteOptions } from '../../../../kernel/contract/index.ts';
import type { ManagedFieldsEntry } from '../../../../kernel/contract/kubernetes.ts';
import { trackUpdate } from '../../../../kernel/machinery/apply/apply.ts';
import type { Engine, Stored } from '../engine.ts';
import { timestamp } from '../engine.ts';
import { sameJson } from '../state/frozen-json.ts';

export type Ownership = ManagedFieldsEntry[] | undefined;

/** Writers in this process that name no manager. */
const anonymous = 'pintle';

export function trackOptions(engine: Engine, resource: Stored, options: WriteOptions) {
  return {
    schemaType: resource.served.schemaType,
    manager: options.fieldManager ?? anonymous,
    apiVersion: resource.apiVersion,
    subresource: options.subresource,
    now: timestamp(engine.clock.now()),
  };
}

/** `sent`: as the client wrote it, with defaults, before the server adds what is its own. */
export function ownershipOfNew(
  engine: Engine,
  resource: Stored,
  sent: KubernetesObject,
  options: WriteOptions,
): Ownership {
  if (!options.fieldManager) return undefined;
  return tracked(engine, resource, undefined, sent, options);
}

/** `shown` and `wanted` in the version of the request. Clients may edit the list itself: kubectl does, to move to apply. */
export function ownershipOfChange(
  engine: Engine,
  resource: Stored,
  shown: KubernetesObject,
  wanted: KubernetesObject,
  options: WriteOptions,
): Ownership {
  const known = shown.metadata.managedFields;
  const given = wanted.metadata.managedFields;
  if (!known?.length && !given?.length) return undefined;
  // The known entries themselves, not their copies: what has been read of a frozen one is kept.
  const isSame = given === undefined || sameJson(given, known);
  const next = isSame ? { ...wanted, metadata: { ...wanted.metadata, managedFields: known } } : wanted;
  return tracked(engine, resource, shown, next, options);
}

/**
 * A write that cannot be followed (an element of a list without its key, which a status may have) is no worse for it:
 * what was known stays.
 */
function tracked(
  engine: Engine,
  resource: Stored,
  live: KubernetesObject | undefined,
  next: KubernetesObject,
  options: WriteOptions,
): Ownership {
  try {
    return trackUpdate(live, next, trackOptions(engine, resource, options)).metadata.managedFields;
  } catch (error) {
    if (!isPintleError(error)) throw error;
    return live?.metadata.managedFields;
  }
}
