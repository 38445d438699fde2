/**
 * Changing an object: the loop around compare-and-swap that update, patch and most subresources share. `edit` makes the
 * wanted object from the current one; when somebody else writes in between and the caller has not pinned a
 * resourceVersion, it is asked again.
 */
import type { Cause, KubernetesObject, WriteOptions } from '../../../../kernel/contract/index.ts';
import { badRequest, conflict, invalid, notFound } from '../api-errors.ts';
import type { Engine, Stored } from '../engine.ts';
import { copyJson, deepFreeze, sameJson, shareUnchanged } from '../state/frozen-json.ts';
import { atRevision } from '../state/collection.ts';
import type { Shaped } from '../shape.ts';
import type { Reservation, Strategy } from '../strategies/strategy.ts';
import { FieldErrors } from '../validation/field-errors.ts';
import { validateMutableMeta } from '../validation/object-meta.ts';
import { changedMeta, serverMeta } from './metadata.ts';
import { ownershipOfChange } from './ownership.ts';

/** A new draft each time, in the version of the resource. May throw. */
export type Edit = (shown: KubernetesObject) => Shaped;

/** What a change may touch: spec and metadata, the status, or (subresources that merge for themselves) anything. */
export type Scope = 'main' | 'status' | 'free';

/** More collisions in a row than any real load makes: somebody rewrites this object in a tight loop. */
const maximumTries = 200;

type Parts = Record<string, unknown>;

function takeMain(resource: Stored, draft: KubernetesObject, current: KubernetesObject): void {
  draft.metadata = changedMeta(resource, draft.metadata, current);
  if (!resource.storage.hasStatus) return;
  const parts = draft as unknown as Parts;
  const { status } = current as unknown as Parts;
  if (status === undefined) delete parts['status'];
  else parts['status'] = copyJson(status);
}

/** Everything of the current object but its status, and the metadata that status writers may change. */
function takeStatus(resource: Stored, draft: KubernetesObject, current: KubernetesObject): KubernetesObject {
  // The rest is the stored object's own, which is frozen.
  const result = { ...current };
  const wanted = changedMeta(resource, draft.metadata, current);
  const kept = serverMeta(current.metadata);
  const labels = resource.storage.strategy.statusMayLabel ? wanted.labels : result.metadata.labels;
  if (labels) kept.labels = labels;
  if (wanted.annotations) kept.annotations = wanted.annotations;
  if (result.metadata.ownerReferences) kept.ownerReferences = result.metadata.ownerReferences;
  if (result.metadata.finalizers) kept.finalizers = result.metadata.finalizers;
  result.metadata = kept;
  const { status } = draft as unknown as Parts;
  if (status === undefined) delete (result as unknown as Parts)['status'];
  else (result as unknown as Parts)['status'] = status;
  return result;
}

function checkFinalizers(draft: KubernetesObject, current: KubernetesObject, errors: FieldErrors): void {
  if (!current.metadata.deletionTimestamp) return;
  const added = (draft.metadata.finalizers ?? []).filter((name) => !current.metadata.finalizers?.includes(name));
  if (added.length === 0) return;
  const list = added.map((name) => JSON.stringify(name)).join(', ');
  errors.forbidden(
    'metadata.finalizers',
    `no new finalizers can be added if the object is being deleted, found new finalizers []string{${list}}`,
  );
}

function changesGeneration(draft: KubernetesObject, current: KubernetesObject): boolean {
  const omit = ({ metadata: _metadata, status: _status, ...rest }: KubernetesObject & { status?: unknown }) => rest;
  return !sameJson(omit(draft), omit(current));
}

/** A deleted object goes when nothing holds it any more. */
function isReleased(resource: Stored, draft: KubernetesObject): boolean {
  const { metadata } = draft;
  return (
    metadata.deletionTimestamp !== undefined &&
    !metadata.finalizers?.length &&
    !metadata.deletionGracePeriodSeconds &&
    !resource.storage.strategy.isHeld?.(draft)
  );
}

/** The draft that would be written, checked; its resourceVersion is the current one. */
function prepare(
  engine: Engine,
  resource: Stored,
  wanted: KubernetesObject,
  current: KubernetesObject,
  causes: readonly Cause[],
  scope: Scope,
  options: WriteOptions,
): { draft: KubernetesObject; errors: FieldErrors } {
  const { strategy } = resource.storage;
  const context = engine.context(options);
  const errors = new FieldErrors(causes);
  let draft = wanted;
  if (scope === 'status') {
    draft = takeStatus(resource, draft, current);
    strategy.prepareStatus?.(draft, current, context);
    strategy.validateStatus?.(draft, current, errors);
  } else if (scope === 'main') {
    takeMain(resource, draft, current);
    strategy.prepareUpdate?.(draft, current, context);
    if (strategy.countsGeneration && changesGeneration(draft, current)) {
      draft.metadata.generation = (current.metadata.generation ?? 0) + 1;
    }
    strategy.validate?.(draft, errors, context);
    strategy.validateUpdate?.(draft, current, errors);
  } else strategy.checkSubresource?.(options.subresource ?? '', draft, current, errors, context);
  checkFinalizers(draft, current, errors);
  validateMutableMeta(draft, errors);
  if (!errors.isEmpty) throw invalid(resource.served, current.metadata.name, errors.causes);
  return { draft, errors };
}

export async function change(
  engine: Engine,
  resource: Stored,
  key: string,
  edit: Edit,
  options: WriteOptions,
  scope: Scope = options.subresource === 'status' ? 'status' : 'main',
): Promise<KubernetesObject> {
  const { storage, served, view } = resource;
  const { strategy } = storage;
  const name = key.slice(key.indexOf('/') + 1);
  for (let tries = 1; ; tries++) {
    const current = storage.collection.get(key);
    if (!current) throw notFound(served, name);
    const shown = engine.catalog.shown(resource, current);
    const { object: wanted, causes, owned } = edit(shown);
    checkSameName(wanted, current);
    const pinned = wanted.metadata.resourceVersion;
    if (pinned && pinned !== current.metadata.resourceVersion) throw conflict(served, name);
    const managedFields = owned ? owned.by : ownershipOfChange(engine, resource, shown, wanted, options);
    const { draft, errors } = prepare(
      engine,
      resource,
      view ? view.toStored(wanted) : wanted,
      current,
      causes,
      scope,
      options,
    );
    if (managedFields) draft.metadata.managedFields = managedFields;
    else delete draft.metadata.managedFields;
    if (isUnchanged(draft, current, strategy)) return engine.catalog.shown(resource, current);

    const quota = scope === 'main' ? engine.quota.charge(storage, draft, current) : undefined;
    let reservation: Reservation | undefined;
    let isKept = false;
    try {
      if (scope === 'main') reservation = strategy.reserve?.(draft, current, errors);
      if (!errors.isEmpty) throw invalid(served, name, errors.causes);
      if (options.dryRun) return engine.catalog.shown(resource, deepFreeze(draft));
      const revision = Number(current.metadata.resourceVersion);
      const written = isReleased(resource, draft)
        ? await engine.remove(storage, key, deepFreeze(atRevision(draft, revision)))
        : await engine.write(storage, key, draft, revision);
      if (written) {
        isKept = true;
        return engine.catalog.shown(resource, written);
      }
    } finally {
      if (isKept) reservation?.keep();
      else reservation?.cancel();
      quota?.cancel();
    }
    if (tries >= maximumTries) throw conflict(served, name);
  }
}

/** Otherwise the draft shares with the current object what is the same in both. */
function isUnchanged(draft: KubernetesObject, current: KubernetesObject, strategy: Strategy): boolean {
  // A reservation still writes into the draft, and what is shared is frozen.
  if (strategy.reserve) return sameJson(draft, current);
  if (shareUnchanged(draft, current) === current) return true;
  // It gets a resourceVersion of its own.
  if (draft.metadata === current.metadata) draft.metadata = { ...current.metadata };
  return false;
}

function checkSameName(wanted: KubernetesObject, current: KubernetesObject): void {
  const { name, namespace } = wanted.metadata;
  if (name && name !== current.metadata.name) {
    throw badRequest(`the name of the object (${name}) does not match the name on the URL (${current.metadata.name})`);
  }
  if (namespace && namespace !== current.metadata.namespace) {
    throw badRequest('the namespace of the provided object does not match the namespace sent on the request');
  }
}
