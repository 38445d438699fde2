/**
 * Server-side apply: who set which field, what an applier no longer names goes, what two appliers want differently is a
 * conflict. Pure: objects in, object with managedFields out.
 *
 * Give objects whose shape has been checked (quantities and times in canonical form), or equal values look different.
 */
import { PintleError, type Cause } from '../../contract/index.ts';
import { equalJson, isObject, own, setOwn, type JsonObject } from '../json-value.ts';
import { checkDepth } from '../patch-limits.ts';
import { schemaOf } from '../schema/schema.ts';
import {
  difference,
  fieldElement,
  intersection,
  isEmptySet,
  leaves,
  printPath,
  setOfPaths,
  union,
  without,
  type FieldSet,
} from './field-set.ts';
import {
  capUpdaters,
  decodeManagedFields,
  encodeManagedFields,
  identityKey,
  type ManagedEntry,
  type ManagedFields,
  type ManagerIdentity,
} from './managed-fields.ts';
import { rootShape, type Shape } from './shape.ts';
import {
  compare,
  fieldsOf,
  merge,
  removeFields,
  unionOf,
  withNamedFields,
  type Comparison,
} from './typed-operations.ts';

export interface TrackOptions {
  /** Key into the API table; undefined for a custom resource. */
  readonly schemaType: string | undefined;
  readonly manager: string;
  readonly apiVersion: string;
  /** "status", "scale"; undefined for the object itself. */
  readonly subresource?: string | undefined;
  /** RFC 3339, for the entry of this manager. */
  readonly now: string;
}
export interface ApplyOptions extends TrackOptions {
  /** Take over fields that others own with other values. */
  readonly force: boolean;
}

const metadata = fieldElement('metadata');
/** Belong to nobody: identity, and what the server writes. */
const unowned = setOfPaths([
  [fieldElement('apiVersion')],
  [fieldElement('kind')],
  [metadata],
  ...[
    'name',
    'namespace',
    'creationTimestamp',
    'selfLink',
    'uid',
    'generation',
    'managedFields',
    'resourceVersion',
  ].map((name) => [metadata, fieldElement(name)]),
]);

const lastAppliedAnnotation = 'kubectl.kubernetes.io/last-applied-configuration';

/** What a request to this subresource cannot set. */
function resetBy(subresource: string | undefined): FieldSet {
  if (subresource === 'status') return setOfPaths([[fieldElement('spec')], [metadata]]);
  return subresource === undefined || subresource === '' ? setOfPaths([[fieldElement('status')]]) : setOfPaths([]);
}

function bare(object: JsonObject): JsonObject {
  const meta = own(object, 'metadata');
  if (!isObject(meta) || !Object.hasOwn(meta, 'managedFields')) return object;
  const { managedFields: _, ...rest } = meta;
  return { ...object, metadata: rest };
}

const managedFieldsOf = (object: JsonObject | undefined): unknown => {
  const meta = object && own(object, 'metadata');
  return isObject(meta) ? own(meta, 'managedFields') : undefined;
};

function withManaged(object: JsonObject, managed: ManagedFields): JsonObject {
  const entries = encodeManagedFields(managed);
  const { managedFields: _, ...meta } = (own(object, 'metadata') ?? {}) as JsonObject;
  return { ...object, metadata: entries.length > 0 ? { ...meta, managedFields: entries } : meta };
}

/** An object before its creation: only what is always there, objects without fields and lists that are null. */
function blank(schemaType: string | undefined): JsonObject {
  const schema = schemaType === undefined ? undefined : schemaOf(schemaType);
  if (!schema) return { metadata: {} };
  const object: JsonObject = {};
  for (const field of schema.fields) {
    if (field.struct && field.type.kind === 'ref') object[field.name] = blank(field.type.ref);
    else if (field.always && (field.type.kind === 'list' || field.type.kind === 'map')) object[field.name] = null;
  }
  return object;
}

function filtered(comparison: Comparison, ignored: FieldSet): Comparison {
  return {
    added: without(comparison.added, ignored),
    modified: without(comparison.modified, ignored),
    removed: without(comparison.removed, ignored),
  };
}

function printManager({ manager, operation, apiVersion, subresource }: ManagerIdentity): string {
  const name = `${JSON.stringify(manager)}${subresource === '' ? '' : ` with subresource ${JSON.stringify(subresource)}`}`;
  return operation === 'Update' ? `${name} using ${apiVersion}` : name;
}

interface Conflict {
  readonly owner: ManagedEntry;
  readonly fields: FieldSet;
}

function conflictError(conflicts: readonly Conflict[]): PintleError {
  const sorted = conflicts
    .map(({ owner, fields }) => ({ name: printManager(owner), paths: leaves(fields).map(printPath) }))
    .sort((left, right) => (left.name < right.name ? -1 : 1));
  const causes: Cause[] = sorted.flatMap(({ name, paths }) =>
    paths.map((field) => ({ reason: 'FieldManagerConflict', message: `conflict with ${name}`, field })),
  );
  const text =
    causes.length === 1
      ? `1 conflict: ${causes[0]!.message}: ${causes[0]!.field}`
      : `${causes.length} conflicts: ${sorted.map(({ name, paths }) => [`conflicts with ${name}:`, ...paths.map((path) => `- ${path}`)].join('\n')).join('\n')}`;
  return new PintleError('CONFLICT', `Apply failed with ${text}`, { details: { causes } });
}

/** Takes from everyone but `self` what this change sets or removes. Returns what others own and this change sets. */
function disown(managed: ManagedFields, self: string, change: Comparison): Conflict[] {
  const conflicts: Conflict[] = [];
  const set = union(change.modified, change.added);
  for (const [key, owner] of managed) {
    if (key === self) continue;
    const fields = intersection(owner.fields, set);
    if (!isEmptySet(fields)) conflicts.push({ owner, fields });
    managed.set(key, { ...owner, fields: difference(difference(owner.fields, fields), change.removed) });
  }
  return conflicts;
}

function dropEmpty(managed: ManagedFields): void {
  for (const [key, { fields }] of managed) if (isEmptySet(fields)) managed.delete(key);
}

function identityOf(options: TrackOptions, operation: 'Apply' | 'Update'): ManagerIdentity {
  return {
    manager: options.manager || 'unknown',
    operation,
    apiVersion: options.apiVersion,
    subresource: options.subresource ?? '',
  };
}

function track(
  before: JsonObject,
  after: JsonObject,
  managed: ManagedFields,
  identity: ManagerIdentity,
  now: string,
  shape: Shape,
): void {
  const change = filtered(compare(before, after, shape), resetBy(identity.subresource));
  disown(managed, '', change);
  const fields = difference(union(change.modified, change.added), unowned);
  if (!isEmptySet(fields)) {
    const key = identityKey(identity);
    const previous = managed.get(key);
    managed.set(key, { ...identity, time: now, fields: previous ? union(previous.fields, fields) : fields });
  }
  dropEmpty(managed);
  capUpdaters(managed);
}

/**
 * `next` with managedFields that say what this create (no `live`), update or patch set. Follows what `next` itself says in
 * managedFields, then what `live` says; an empty list in `next` of an object that had one clears it and ends the tracking.
 */
export function trackUpdate<T extends object>(live: object | undefined, next: T, options: TrackOptions): T {
  const shape = rootShape(options.schemaType);
  const given = managedFieldsOf(next as JsonObject);
  const isCleared = Array.isArray(given) && given.every((entry) => isObject(entry) && Object.keys(entry).length === 0);
  let managed: ManagedFields;
  try {
    managed = decodeManagedFields(given ?? managedFieldsOf(live as JsonObject | undefined));
  } catch {
    managed = decodeManagedFields(managedFieldsOf(live as JsonObject | undefined));
  }
  if (live !== undefined && (isCleared || managed.size === 0)) return withManaged(next as JsonObject, new Map()) as T;
  const before = live === undefined ? blank(options.schemaType) : bare(live as JsonObject);
  track(before, bare(next as JsonObject), managed, identityOf(options, 'Update'), options.now, shape);
  return withManaged(next as JsonObject, managed) as T;
}

/** Removes what the applier named last time, does not name now, and nobody else names. */
function prune(merged: JsonObject, managed: ManagedFields, last: FieldSet | undefined, shape: Shape): JsonObject {
  if (!last || isEmptySet(last)) return merged;
  const named = (set: FieldSet): FieldSet => withNamedFields(set, shape);
  const remove = (set: FieldSet): JsonObject => (removeFields(merged, set, shape) ?? {}) as JsonObject;
  const present = named(fieldsOf(merged, shape));
  const owned = named(unionOf([...managed.values()].map(({ fields }) => fields)));
  const stripped = named(fieldsOf(remove(named(last)), shape));
  // Others' fields come back, then whatever went along with a removed parent without ever having been applied.
  const restored = remove(difference(present, union(stripped, owned)));
  return remove(intersection(difference(present, named(fieldsOf(restored, shape))), named(last)));
}

/** Fields that client-side apply set and that still have the value it gave: kubectl may take them over. */
function fromLastApplied(live: JsonObject, shape: Shape): FieldSet {
  const meta = own(live, 'metadata');
  const annotations = isObject(meta) ? own(meta, 'annotations') : undefined;
  const text = isObject(annotations) ? own(annotations, lastAppliedAnnotation) : undefined;
  if (typeof text !== 'string') return setOfPaths([]);
  try {
    const applied: unknown = JSON.parse(text);
    if (!isObject(applied)) return setOfPaths([]);
    const change = compare(applied, live, shape);
    return difference(fieldsOf(applied, shape), unionOf([change.added, change.modified, change.removed]));
  } catch {
    return setOfPaths([]);
  }
}

/** Fields that lost all they had. */
function withoutNulls<T>(value: T): T {
  if (Array.isArray(value)) return value.map((item) => withoutNulls(item)) as T;
  if (!isObject(value)) return value;
  const copy: JsonObject = {};
  for (const [key, child] of Object.entries(value)) if (child !== null) setOwn(copy, key, withoutNulls(child));
  return copy as T;
}

export interface Applied<T> {
  readonly object: T;
  /** False: the object says what it said before; nothing needs to be written. */
  readonly changed: boolean;
}

/**
 * `live` undefined: the object is created. Throws CONFLICT (details.causes name field and owner) unless `force`,
 * BAD_REQUEST for a config that has managedFields.
 */
export function applyPatch<T extends object>(live: T | undefined, config: object, options: ApplyOptions): Applied<T> {
  const shape = rootShape(options.schemaType);
  const wanted = config as JsonObject;
  checkDepth(wanted, 'the applied configuration');
  if (managedFieldsOf(wanted) !== undefined)
    throw new PintleError(
      'BAD_REQUEST',
      'metadata.managedFields must be nil: remove it from the applied configuration',
    );
  const before = live === undefined ? blank(options.schemaType) : bare(live as JsonObject);
  const managed = decodeManagedFields(managedFieldsOf(live as JsonObject | undefined));
  if (live !== undefined && managed.size === 0) {
    const first = identityOf({ ...options, manager: 'before-first-apply', subresource: undefined }, 'Update');
    track(blank(options.schemaType), before, managed, first, options.now, shape);
  }
  const identity = identityOf(options, 'Apply');
  const key = identityKey(identity);
  const last = managed.get(key);
  const ignored = resetBy(options.subresource);
  managed.set(key, { ...identity, time: last?.time, fields: without(fieldsOf(wanted, shape), ignored) });
  const merged = merge(before, wanted, shape) as JsonObject;
  const object = prune(merged, managed, last?.fields, shape);
  const change = filtered(compare(before, object, shape), ignored);
  const conflicts = disown(managed, key, change);
  if (conflicts.length > 0 && !options.force && !isAllowed(conflicts, before, options, shape))
    throw conflictError(conflicts);
  // A created object starts from its blank; its kind comes first, as everywhere.
  const { apiVersion, kind, ...rest } = withoutNulls(object);
  const final: JsonObject = { apiVersion, kind, ...rest };
  const isSame = live !== undefined && equalJson(before, final);
  const mine = managed.get(key)!;
  const ownedNow = difference(mine.fields, unowned);
  managed.set(key, { ...mine, fields: ownedNow, time: isSame ? mine.time : options.now });
  dropEmpty(managed);
  const result = withManaged(final, managed);
  const changed = live === undefined || !equalJson(live, result);
  return { object: (changed ? result : live) as T, changed };
}

function isAllowed(conflicts: readonly Conflict[], live: JsonObject, options: ApplyOptions, shape: Shape): boolean {
  if (options.manager !== 'kubectl') return false;
  const allowed = fromLastApplied(live, shape);
  return conflicts.every(({ fields }) => isEmptySet(difference(setOfPaths(leaves(fields)), allowed)));
}
