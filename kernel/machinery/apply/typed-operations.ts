/** Merge, compare and prune of objects by their shape, and the set of fields that an object has. */
import { cloneJson, equalJson, isObject, own, setOwn, type JsonObject } from '../json-value.ts';
import {
  childOf,
  emptySet,
  fieldElement,
  fieldSet,
  isEmptySet,
  union,
  type FieldSet,
  type PathElement,
} from './field-set.ts';
import { elementOf, elementsOf, resolve, type ListShape, type Shape } from './shape.ts';

interface Presence {
  /** The path of the value itself is in the set. */
  readonly self: boolean;
  readonly below: FieldSet;
}

/** All fields of a value. */
export function fieldsOf(value: unknown, shape: Shape): FieldSet {
  return presence(value, shape).below;
}

function presence(value: unknown, unresolved: Shape): Presence {
  const shape = resolve(unresolved, value);
  if (shape.kind === 'leaf') return { self: true, below: emptySet };
  const members: PathElement[] = [];
  const children: [PathElement, FieldSet][] = [];
  if (shape.kind === 'list') {
    for (const [element, items] of elementsOf(shape, value)) {
      members.push(element);
      if (items.length === 1) children.push([element, presence(items[0], shape.item).below]);
    }
  } else if (isObject(value)) {
    for (const [key, child] of Object.entries(value)) {
      const element = fieldElement(key);
      const { self, below } = presence(child, shape.child(key));
      const isBare = child === null || (isObject(child) && Object.keys(child).length === 0);
      if (self || isBare || !shape.hasField(key)) members.push(element);
      children.push([element, below]);
    }
  }
  return { self: false, below: fieldSet(members, children) };
}

export interface Comparison {
  readonly added: FieldSet;
  readonly modified: FieldSet;
  readonly removed: FieldSet;
}
type Kind = keyof Comparison;
const none: Comparison = { added: emptySet, modified: emptySet, removed: emptySet };
const kinds: readonly Kind[] = ['added', 'modified', 'removed'];

const isBlank = (value: unknown): boolean =>
  value === undefined ||
  value === null ||
  (Array.isArray(value) ? value.length === 0 : isObject(value) && Object.keys(value).length === 0);

interface Difference {
  readonly self: Kind | undefined;
  readonly below: Comparison;
}
const unchanged: Difference = { self: undefined, below: none };

/** What has to be said of the path of a pair of values itself, and of the paths below it. */
function difference(before: unknown, after: unknown, unresolved: Shape): Difference {
  // Most of an object stays as it is.
  if (before !== undefined && after !== undefined && equalJson(before, after)) return unchanged;
  const shape = resolve(unresolved, before, after);
  const presenceChange: Kind | undefined = before === undefined ? 'added' : after === undefined ? 'removed' : undefined;
  if (shape.kind === 'leaf' || (isBlank(before) && isBlank(after))) {
    return { self: presenceChange ?? 'modified', below: none };
  }
  const members: Record<Kind, PathElement[]> = { added: [], modified: [], removed: [] };
  const children: Record<Kind, [PathElement, FieldSet][]> = { added: [], modified: [], removed: [] };
  const note = (element: PathElement, left: unknown, right: unknown, child: Shape): void => {
    const found = difference(left, right, child);
    if (found.self) members[found.self].push(element);
    for (const kind of kinds) if (!isEmptySet(found.below[kind])) children[kind].push([element, found.below[kind]]);
  };
  if (shape.kind === 'list') {
    const [left, right] = [elementsOf(shape, before), elementsOf(shape, after)];
    for (const element of new Set([...left.keys(), ...right.keys()])) {
      const [mine, theirs] = [left.get(element) ?? [], right.get(element) ?? []];
      if (mine.length <= 1 && theirs.length <= 1) note(element, mine[0], theirs[0], shape.item);
      else if (!equalJson(mine, theirs))
        members[mine.length === 0 ? 'added' : theirs.length === 0 ? 'removed' : 'modified'].push(element);
    }
  } else {
    const [left, right] = [isObject(before) ? before : {}, isObject(after) ? after : {}];
    for (const key of new Set([...Object.keys(left), ...Object.keys(right)]))
      note(fieldElement(key), own(left, key), own(right, key), shape.child(key));
  }
  const below: Comparison = {
    added: fieldSet(members.added, children.added),
    modified: fieldSet(members.modified, children.modified),
    removed: fieldSet(members.removed, children.removed),
  };
  return { self: presenceChange, below };
}

export function compare(before: JsonObject, after: JsonObject, shape: Shape): Comparison {
  return difference(before, after, shape).below;
}

/** `config` over `live`: its leaves win, fields and list elements of both stay. */
export function merge(live: unknown, config: unknown, unresolved: Shape): unknown {
  if (live === undefined || config === undefined) return cloneJson(config ?? live);
  const shape = resolve(unresolved, live, config);
  if (shape.kind === 'leaf' || (isBlank(live) && isBlank(config))) return cloneJson(config);
  if (shape.kind === 'list') return mergeList(live as unknown[], config as unknown[], shape);
  const [left, right] = [(live ?? {}) as JsonObject, (config ?? {}) as JsonObject];
  const merged: JsonObject = {};
  for (const key of new Set([...Object.keys(left), ...Object.keys(right)]))
    setOwn(merged, key, merge(own(left, key), own(right, key), shape.child(key)));
  return merged;
}

/** The order of `config` for what it names; what only `live` has keeps its place between. */
function mergeList(live: unknown[], config: unknown[], shape: ListShape): unknown[] {
  const [left, right] = [elementsOf(shape, live), elementsOf(shape, config)];
  const names = (live ?? []).map((item) => elementOf(shape, item));
  const wanted = [...right.keys()];
  const shared = wanted.filter((name) => left.has(name));
  const merged: unknown[] = [];
  const done = new Set<PathElement>();
  let nextShared = 0;
  const take = (name: PathElement): void => {
    const mine = left.get(name);
    merged.push(merge(mine?.length === 1 ? mine[0] : undefined, right.get(name)![0], shape.item));
    done.add(name);
    if (shared[nextShared] === name) nextShared++;
  };
  let at = 0;
  let next = 0;
  while (at < names.length || next < wanted.length) {
    const name = names[at];
    if (name !== undefined && next < wanted.length) {
      if (name === wanted[next]) {
        take(name);
        at++;
        next++;
        continue;
      }
      if (right.has(name) && shared[nextShared] !== undefined && shared[nextShared] !== name) {
        at++;
        continue;
      }
    }
    if (name !== undefined && !right.has(name)) {
      merged.push(cloneJson(live[at]));
      at++;
      continue;
    }
    if (name !== undefined && done.has(name)) at++;
    if (next < wanted.length) take(wanted[next++]!);
  }
  return merged;
}

/**
 * The value without these fields. An object or list of which nothing is left is null, not absent: its own path was not
 * removed, and may be owned.
 */
export function removeFields(value: unknown, removed: FieldSet, unresolved: Shape): unknown {
  const shape = resolve(unresolved, value);
  if (shape.kind === 'leaf' || isBlank(value)) return value;
  const keep = (element: PathElement, child: unknown, childShape: Shape): unknown => {
    if (removed.members.has(element)) return undefined;
    const below = childOf(removed, element);
    return isEmptySet(below) ? child : removeFields(child, below, childShape);
  };
  if (shape.kind === 'list') {
    const items = (value as unknown[])
      .map((item) => keep(elementOf(shape, item), item, shape.item))
      .filter((item) => item !== undefined);
    return items.length > 0 ? items : null;
  }
  const rest: JsonObject = {};
  for (const [key, child] of Object.entries(value as JsonObject)) {
    const kept = keep(fieldElement(key), child, shape.child(key));
    if (kept !== undefined) setOwn(rest, key, kept);
  }
  return Object.keys(rest).length > 0 ? rest : null;
}

/** The set with every field of a type that leads to a member, so that an object which loses all its fields goes too. */
export function withNamedFields(set: FieldSet, shape: Shape): FieldSet {
  const members = [...set.members];
  const children: [PathElement, FieldSet][] = [];
  for (const [element, child] of set.children) {
    const name = element.startsWith('f:') ? element.slice(2) : undefined;
    if (name !== undefined && shape.kind === 'map' && shape.hasField(name)) members.push(element);
    const below: Shape =
      name !== undefined && shape.kind === 'map'
        ? shape.child(name)
        : element.startsWith('k:') && shape.kind === 'list'
          ? shape.item
          : { kind: 'leaf' };
    children.push([element, withNamedFields(child, below)]);
  }
  return fieldSet(members, children);
}

export const unionOf = (sets: Iterable<FieldSet>): FieldSet => [...sets].reduce(union, emptySet);
