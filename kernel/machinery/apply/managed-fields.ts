/** metadata.managedFields as a map from who to what, and back. */
import type { ManagedFieldsEntry } from '../../contract/kubernetes.ts';
import { isObject, type JsonObject } from '../json-value.ts';
import { decodeFieldSet, emptySet, encodeFieldSet, isEmptySet, union, type FieldSet } from './field-set.ts';

export interface ManagerIdentity {
  readonly manager: string;
  readonly operation: 'Apply' | 'Update';
  readonly apiVersion: string;
  readonly subresource: string;
}
export interface ManagedEntry extends ManagerIdentity {
  readonly time: string | undefined;
  readonly fields: FieldSet;
}
export type ManagedFields = Map<string, ManagedEntry>;

/** One entry for each of these; an applier keeps its entry when it moves to another version. */
export function identityKey({ manager, operation, apiVersion, subresource }: ManagerIdentity): string {
  return JSON.stringify([operation, manager, subresource, operation === 'Update' ? apiVersion : '']);
}

/** Sets and the frozen JSON that says the same: objects of the API are frozen and shared, and most entries never change. */
const decoded = new WeakMap<object, FieldSet>();
const encoded = new WeakMap<FieldSet, JsonObject>();

function decode(fields: unknown): FieldSet {
  if (!isObject(fields) || !Object.isFrozen(fields)) return decodeFieldSet(fields);
  let set = decoded.get(fields);
  if (!set) {
    set = decodeFieldSet(fields);
    decoded.set(fields, set);
    encoded.set(set, fields);
  }
  return set;
}

/** Throws BAD_REQUEST for fields that cannot be read. */
export function decodeManagedFields(entries: unknown): ManagedFields {
  const managed: ManagedFields = new Map();
  for (const raw of Array.isArray(entries) ? (entries as unknown[]) : []) {
    if (!isObject(raw) || Object.keys(raw).length === 0) continue;
    const entry = raw as ManagedFieldsEntry & JsonObject;
    const identity: ManagerIdentity = {
      manager: entry.manager ?? '',
      operation: entry.operation === 'Apply' ? 'Apply' : 'Update',
      apiVersion: entry.apiVersion ?? '',
      subresource: entry.subresource ?? '',
    };
    const key = identityKey(identity);
    const fields = entry.fieldsV1 === undefined ? emptySet : decode(entry.fieldsV1);
    const known = managed.get(key);
    managed.set(key, { ...identity, time: entry.time, fields: known ? union(known.fields, fields) : fields });
  }
  return managed;
}

const order = ({ operation, time, manager, apiVersion, subresource }: ManagedEntry): string =>
  [operation, time ?? '', manager, apiVersion, subresource].join('\0');

export function encodeManagedFields(managed: ManagedFields): ManagedFieldsEntry[] {
  return [...managed.values()]
    .filter(({ fields }) => !isEmptySet(fields))
    .sort((left, right) => (order(left) < order(right) ? -1 : 1))
    .map(({ manager, operation, apiVersion, subresource, time, fields }) => ({
      manager,
      operation,
      apiVersion,
      ...(time !== undefined && { time }),
      fieldsType: 'FieldsV1',
      fieldsV1: encoded.get(fields) ?? encodeFieldSet(fields),
      ...(subresource !== '' && { subresource }),
    }));
}

/** Ten updaters are kept apart; the oldest of more become one. */
const maxUpdaters = 10;
export function capUpdaters(managed: ManagedFields): void {
  const updaters = [...managed].filter(([, entry]) => entry.operation === 'Update');
  updaters.sort(([, left], [, right]) => (order(left) < order(right) ? -1 : 1));
  const surplus = updaters.length - maxUpdaters;
  if (surplus <= 0) return;
  for (const [key, entry] of updaters.slice(0, surplus + 1)) {
    managed.delete(key);
    const ancient: ManagerIdentity = {
      manager: 'ancient-changes',
      operation: 'Update',
      apiVersion: entry.apiVersion,
      subresource: '',
    };
    const bucket = managed.get(identityKey(ancient));
    managed.set(identityKey(ancient), {
      ...ancient,
      time: entry.time,
      fields: bucket ? union(bucket.fields, entry.fields) : entry.fields,
    });
  }
}
