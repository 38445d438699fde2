/** What a default rule is, and the few words in which the rules are written. */
import { isObject, own, type JsonObject } from '../json-value.ts';

/** Fills in one object of one type, in place. The parent's rule has run before. */
export type Defaulter = (object: JsonObject) => void;

export function isUnset(object: JsonObject, key: string): boolean {
  const value = own(object, key);
  return value === undefined || value === null || value === '';
}

export function fill(object: JsonObject, values: JsonObject): void {
  for (const [key, value] of Object.entries(values)) if (isUnset(object, key)) object[key] = value;
}

/** The object in this field, made when it is absent. */
export function ensure(object: JsonObject, key: string): JsonObject {
  const value = own(object, key);
  if (isObject(value)) return value;
  const made: JsonObject = {};
  object[key] = made;
  return made;
}

/** The object in this field, or undefined. */
export function child(object: JsonObject | undefined, key: string): JsonObject | undefined {
  const value = object && own(object, key);
  return isObject(value) ? value : undefined;
}

/** The objects of the list in this field. */
export function children(object: JsonObject | undefined, key: string): JsonObject[] {
  const value = object && own(object, key);
  return Array.isArray(value) ? value.filter((item) => isObject(item)) : [];
}

export const hasItems = (value: unknown): boolean =>
  Array.isArray(value) ? value.length > 0 : isObject(value) && Object.keys(value).length > 0;
