/**
 * Deleting: at once, or by marking the object when finalizers, a grace period or the kind itself hold it. The mark
 * (deletionTimestamp) is never taken back; a later delete may only shorten the grace.
 */
import type { DeleteOptions, KubernetesObject } from '../../../../kernel/contract/index.ts';
import { badRequest, conflict, invalid, notFound } from '../api-errors.ts';
import { timestamp } from '../engine.ts';
import type { Engine, Stored } from '../engine.ts';
import { copyJson, deepFreeze, sameJson } from '../state/frozen-json.ts';
import { FieldErrors } from '../validation/field-errors.ts';

export interface Removed {
  readonly object: KubernetesObject;
  readonly gone: boolean;
}

const maximumTries = 200;

function checkOptions(options: DeleteOptions): void {
  const errors = new FieldErrors();
  errors.oneOf('propagationPolicy', options.propagationPolicy, ['Foreground', 'Background', 'Orphan']);
  if (options.gracePeriodSeconds !== undefined && !Number.isInteger(options.gracePeriodSeconds)) {
    throw badRequest(`gracePeriodSeconds: expected a whole number, got ${options.gracePeriodSeconds}`);
  }
  if (!errors.isEmpty) {
    throw invalid({ group: 'meta.k8s.io', resource: '', kind: 'DeleteOptions' }, '', errors.causes);
  }
}

function checkPreconditions(resource: Stored, object: KubernetesObject, options: DeleteOptions): void {
  const { uid, resourceVersion } = options.preconditions ?? {};
  const { metadata } = object;
  if (uid !== undefined && uid !== metadata.uid) {
    throw conflict(
      resource.served,
      metadata.name,
      `Precondition failed: UID in precondition: ${uid}, UID in object meta: ${metadata.uid}`,
    );
  }
  if (resourceVersion !== undefined && resourceVersion !== metadata.resourceVersion) {
    throw conflict(
      resource.served,
      metadata.name,
      `Precondition failed: ResourceVersion in precondition: ${resourceVersion}, ResourceVersion in object meta: ${metadata.resourceVersion}`,
    );
  }
}

/** The finalizers that the propagation policy wants, beside the object's own. */
function finalizersFor(resource: Stored, object: KubernetesObject, options: DeleteOptions): string[] {
  const own = (object.metadata.finalizers ?? []).filter((name) => name !== 'orphan' && name !== 'foregroundDeletion');
  const policy = options.propagationPolicy;
  if (policy === 'Orphan') return [...own, 'orphan'];
  if (policy === 'Foreground') return [...own, 'foregroundDeletion'];
  if (policy === 'Background') return own;
  if (object.metadata.finalizers?.includes('orphan')) return [...own, 'orphan'];
  if (object.metadata.finalizers?.includes('foregroundDeletion')) return [...own, 'foregroundDeletion'];
  return resource.storage.strategy.defaultPropagation === 'Orphan' ? [...own, 'orphan'] : own;
}

/** Seconds of grace that this delete leaves; 0: at once. */
function graceFor(resource: Stored, object: KubernetesObject, options: DeleteOptions): number {
  const asked = options.gracePeriodSeconds;
  return resource.storage.strategy.gracePeriod?.(object, asked !== undefined && asked < 0 ? 1 : asked) ?? 0;
}

/** The marked object, or undefined when nothing is left to hold it. */
function marked(
  engine: Engine,
  resource: Stored,
  current: KubernetesObject,
  options: DeleteOptions,
): KubernetesObject | undefined {
  const { strategy } = resource.storage;
  const draft = copyJson(current);
  const { metadata } = draft;
  const finalizers = finalizersFor(resource, current, options);
  if (finalizers.length > 0) metadata.finalizers = finalizers;
  else delete metadata.finalizers;
  const grace = graceFor(resource, current, options);
  const nowMs = engine.clock.now();
  if (metadata.deletionTimestamp === undefined) {
    metadata.deletionTimestamp = timestamp(nowMs + grace * 1000);
    metadata.deletionGracePeriodSeconds = grace;
    if (metadata.generation !== undefined) metadata.generation++;
    strategy.terminate?.(draft);
  } else if (grace < (metadata.deletionGracePeriodSeconds ?? 0)) {
    const begunMs = Date.parse(metadata.deletionTimestamp) - (metadata.deletionGracePeriodSeconds ?? 0) * 1000;
    metadata.deletionTimestamp = timestamp(begunMs + grace * 1000);
    metadata.deletionGracePeriodSeconds = grace;
  }
  const isHeld = finalizers.length > 0 || metadata.deletionGracePeriodSeconds! > 0 || strategy.isHeld?.(draft);
  return isHeld ? draft : undefined;
}

export async function remove(engine: Engine, resource: Stored, key: string, options: DeleteOptions): Promise<Removed> {
  checkOptions(options);
  const { storage, served } = resource;
  const name = key.slice(key.indexOf('/') + 1);
  for (let tries = 1; ; tries++) {
    const current = storage.collection.get(key);
    if (!current) throw notFound(served, name);
    checkPreconditions(resource, current, options);
    const draft = marked(engine, resource, current, options);
    const show = (object: KubernetesObject) => engine.catalog.shown(resource, object);
    if (options.dryRun) return { object: show(draft ? deepFreeze(draft) : current), gone: !draft };
    if (!draft) {
      const removed = await engine.remove(storage, key, current);
      if (removed) return { object: show(removed), gone: true };
    } else {
      if (sameJson(draft, current)) return { object: show(current), gone: false };
      const written = await engine.write(storage, key, draft, Number(current.metadata.resourceVersion));
      if (written) return { object: show(written), gone: false };
    }
    if (tries >= maximumTries) throw conflict(served, name);
  }
}
