/**
 * Sets of fields of an object, as managedFields keeps them (FieldsV1). A set is a tree; an element of a path is written
 * as on the wire: `f:name` a field or map key, `k:{"name":"a"}` a list element by its keys, `v:"x"` a list element by its
 * value. A path may be in the set with or without fields below it.
 */
import { PintleError } from '../../contract/index.ts';
import { isObject, setOwn, type JsonObject } from '../json-value.ts';

export type PathElement = string;

export interface FieldSet {
  /** Elements whose path is in the set. */
  readonly members: ReadonlySet<PathElement>;
  /** Elements with something in the set below them. */
  readonly children: ReadonlyMap<PathElement, FieldSet>;
}

export const emptySet: FieldSet = Object.freeze({ members: new Set<string>(), children: new Map<string, FieldSet>() });

export const isEmptySet = (set: FieldSet): boolean => set.members.size === 0 && set.children.size === 0;

function make(members: Iterable<PathElement>, children: Iterable<readonly [PathElement, FieldSet]>): FieldSet {
  const below = new Map<PathElement, FieldSet>();
  for (const [element, child] of children) if (!isEmptySet(child)) below.set(element, child);
  const here = new Set(members);
  return here.size === 0 && below.size === 0 ? emptySet : { members: here, children: below };
}
export { make as fieldSet };

const childOf = (set: FieldSet, element: PathElement): FieldSet => set.children.get(element) ?? emptySet;
export { childOf };

export function union(left: FieldSet, right: FieldSet): FieldSet {
  if (isEmptySet(left)) return right;
  if (isEmptySet(right)) return left;
  const elements = new Set([...left.children.keys(), ...right.children.keys()]);
  return make(
    [...left.members, ...right.members],
    [...elements].map((element) => [element, union(childOf(left, element), childOf(right, element))]),
  );
}

export function intersection(left: FieldSet, right: FieldSet): FieldSet {
  return make(
    [...left.members].filter((element) => right.members.has(element)),
    [...left.children].map(([element, child]) => [element, intersection(child, childOf(right, element))]),
  );
}

/** What is in `left` and not in `right`; a path in `right` says nothing of the paths below it. */
export function difference(left: FieldSet, right: FieldSet): FieldSet {
  if (isEmptySet(right)) return left;
  return make(
    [...left.members].filter((element) => !right.members.has(element)),
    [...left.children].map(([element, child]) => [element, difference(child, childOf(right, element))]),
  );
}

/** Like difference, and a path in `right` takes all below it away. */
export function without(left: FieldSet, right: FieldSet): FieldSet {
  return make(
    [...left.members].filter((element) => !right.members.has(element)),
    [...left.children]
      .filter(([element]) => !right.members.has(element))
      .map(([element, child]) => [element, without(child, childOf(right, element))]),
  );
}

/** Paths with nothing below them, in order: at each level first those that end there. */
export function leaves(set: FieldSet): PathElement[][] {
  const paths: PathElement[][] = [...set.members]
    .filter((element) => !set.children.has(element))
    .sort()
    .map((element) => [element]);
  for (const element of [...set.children.keys()].sort())
    for (const path of leaves(childOf(set, element))) paths.push([element, ...path]);
  return paths;
}

export function setOfPaths(paths: readonly (readonly PathElement[])[]): FieldSet {
  return paths.reduce<FieldSet>((set, path) => union(set, setOfPath(path)), emptySet);
}
function setOfPath([first, ...rest]: readonly PathElement[]): FieldSet {
  if (first === undefined) return emptySet;
  return rest.length === 0 ? make([first], []) : make([], [[first, setOfPath(rest)]]);
}

export const fieldElement = (name: string): PathElement => `f:${name}`;
export const valueElement = (value: unknown): PathElement => `v:${JSON.stringify(value)}`;
export function keyElement(keys: readonly (readonly [name: string, value: unknown])[]): PathElement {
  const sorted = [...keys].sort(([left], [right]) => (left < right ? -1 : left > right ? 1 : 0));
  return `k:{${sorted.map(([name, value]) => `${JSON.stringify(name)}:${JSON.stringify(value ?? null)}`).join(',')}}`;
}

/** FieldsV1 JSON, keys in order. */
export function encodeFieldSet(set: FieldSet): JsonObject {
  const fields: JsonObject = {};
  for (const element of [...new Set([...set.members, ...set.children.keys()])].sort()) {
    const child = set.children.get(element);
    const below = child ? encodeFieldSet(child) : {};
    setOwn(fields, element, child && set.members.has(element) ? { '.': {}, ...below } : below);
  }
  return fields;
}

const invalid = (element: string): PintleError =>
  new PintleError(
    'BAD_REQUEST',
    `managedFields has the path element ${JSON.stringify(element)}: expected f:NAME, k:{KEYS}, v:VALUE or i:INDEX`,
  );

/** The one spelling of an element, so that equal elements are equal strings. */
function canonicalElement(element: string): PathElement {
  const kind = element.slice(0, 2);
  if (kind === 'f:' || kind === 'i:') return element;
  if (kind !== 'k:' && kind !== 'v:') throw invalid(element);
  let value: unknown;
  try {
    value = JSON.parse(element.slice(2));
  } catch {
    throw invalid(element);
  }
  if (kind === 'v:') return valueElement(value);
  if (!isObject(value)) throw invalid(element);
  return keyElement(Object.entries(value));
}

export function decodeFieldSet(fields: unknown): FieldSet {
  if (!isObject(fields)) throw new PintleError('BAD_REQUEST', 'fieldsV1 of managedFields must be an object');
  const members: PathElement[] = [];
  const children: [PathElement, FieldSet][] = [];
  for (const [key, value] of Object.entries(fields)) {
    if (key === '.') continue;
    const element = canonicalElement(key);
    if (!isObject(value) || Object.keys(value).length === 0 || Object.hasOwn(value, '.')) members.push(element);
    if (isObject(value)) children.push([element, decodeFieldSet(value)]);
  }
  return make(members, children);
}

/** As conflicts show it: .spec.containers[name="a"].image */
export function printPath(path: readonly PathElement[]): string {
  return path
    .map((element) => {
      const rest = element.slice(2);
      if (element.startsWith('f:')) return `.${rest}`;
      if (element.startsWith('v:')) return `[=${rest}]`;
      if (element.startsWith('i:')) return `[${rest}]`;
      const keys = Object.entries(JSON.parse(rest) as JsonObject);
      return `[${keys.map(([name, value]) => `${name}=${JSON.stringify(value)}`).join(',')}]`;
    })
    .join('');
}
