/**
 * Parts of objects, for readers who want no more: a thousand nodes that follow each other need addresses and ranges, not
 * each other's images and heartbeats. What is made of an object or a change is made once and shared by all its readers.
 */
import type { KubernetesObject, WatchEvent } from '../../../kernel/contract/index.ts';
import { setOwn } from '../../../kernel/machinery/json-value.ts';
import { badRequest } from './api-errors.ts';
import type { Change } from './state/collection.ts';
import { deepFreeze, sameJson } from './state/frozen-json.ts';

const maximumFields = 16;
const path = /^[A-Za-z][A-Za-z0-9]*(\.[A-Za-z][A-Za-z0-9]*){0,7}$/;
/** Sets of fields that are remembered: readers of one kind of program share theirs. */
const maximumKnown = 16;

type Part = Readonly<Record<string, unknown>>;

export interface Projection {
  /** Frozen, one for each object. */
  shown(object: KubernetesObject): KubernetesObject;
  /** True when the two look the same. */
  isSame(before: KubernetesObject, after: KubernetesObject): boolean;
  /** The event of a change as `make` makes it, made once. */
  event(
    change: Change,
    name: string,
    make: () => WatchEvent<KubernetesObject> | undefined,
  ): WatchEvent<KubernetesObject> | undefined;
}

const known = new Map<string, Projection>();

export function projectionOf(fields: readonly string[]): Projection {
  if (fields.length > maximumFields) throw badRequest(`expected at most ${maximumFields} fields, got ${fields.length}`);
  for (const field of fields)
    if (!path.test(field))
      throw badRequest(`expected the path of a field such as "spec.podCIDRs", got ${JSON.stringify(field)}`);
  const sorted = [...new Set(fields)].sort();
  const name = sorted.join(',');
  let projection = known.get(name);
  if (projection === undefined) {
    projection = makeProjection(sorted.map((field) => field.split('.')));
    const [oldest] = known.keys();
    if (known.size >= maximumKnown && oldest !== undefined) known.delete(oldest);
    known.set(name, projection);
  }
  return projection;
}

function makeProjection(fields: readonly (readonly string[])[]): Projection {
  const made = new WeakMap<KubernetesObject, KubernetesObject>();
  const events = new WeakMap<Change, Map<string, WatchEvent<KubernetesObject> | undefined>>();
  return {
    shown(object) {
      let result = made.get(object);
      if (result === undefined) made.set(object, (result = partsOf(object, fields)));
      return result;
    },
    isSame: (before, after) =>
      before.metadata.uid === after.metadata.uid &&
      fields.every((field) => sameJson(valueAt(before, field), valueAt(after, field))),
    event(change, eventName, make) {
      let ofChange = events.get(change);
      if (ofChange === undefined) events.set(change, (ofChange = new Map()));
      if (!ofChange.has(eventName)) ofChange.set(eventName, make());
      return ofChange.get(eventName);
    },
  };
}

const isPart = (value: unknown): value is Part => typeof value === 'object' && value !== null && !Array.isArray(value);

function valueAt(object: object, field: readonly string[]): unknown {
  let value: unknown = object;
  for (const name of field) {
    if (!isPart(value) || !Object.hasOwn(value, name)) return undefined;
    value = value[name];
  }
  return value;
}

function partsOf(object: KubernetesObject, fields: readonly (readonly string[])[]): KubernetesObject {
  const { apiVersion, kind, metadata } = object;
  const { name, namespace, uid, resourceVersion } = metadata;
  const result: Record<string, unknown> = {
    ...{ apiVersion, kind },
    metadata: { name, ...(namespace !== undefined && { namespace }), uid, resourceVersion },
  };
  for (const field of fields) {
    const value = valueAt(object, field);
    if (value !== undefined) place(result, field, value);
  }
  return deepFreeze(result) as unknown as KubernetesObject;
}

function place(into: Record<string, unknown>, field: readonly string[], value: unknown): void {
  let part = into;
  for (const name of field.slice(0, -1)) {
    let next = Object.hasOwn(part, name) ? part[name] : undefined;
    // A wider field ("spec" beside "spec.podCIDRs") has brought it already: it is the object's own, and frozen.
    if (isPart(next) && Object.isFrozen(next)) return;
    if (!isPart(next)) setOwn(part, name, (next = {}));
    part = next as Record<string, unknown>;
  }
  setOwn(part, field.at(-1)!, value);
}
