/**
 * JSON trees that came from outside. `__proto__` is an ordinary key in them: it is read only when it is an own property
 * and written with defineProperty, so that no document can reach Object.prototype.
 */
export type JsonObject = { [key: string]: unknown };

export function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** The own property, or undefined. */
export function own(object: JsonObject, key: string): unknown {
  return Object.hasOwn(object, key) ? object[key] : undefined;
}

export function setOwn(object: JsonObject, key: string, value: unknown): void {
  if (key === '__proto__')
    Object.defineProperty(object, key, { value, enumerable: true, configurable: true, writable: true });
  else object[key] = value;
}

/** A deep copy; thaws frozen objects. Much faster than structuredClone, and keeps `__proto__` as data. */
export function cloneJson<T>(value: T): T {
  if (typeof value !== 'object' || value === null) return value;
  if (Array.isArray(value)) return value.map((item) => cloneJson(item)) as T;
  const copy: JsonObject = {};
  for (const key of Object.keys(value)) setOwn(copy, key, cloneJson((value as JsonObject)[key]));
  return copy as T;
}

/** Equal as JSON: the order of keys does not matter, the order of lists does. */
export function equalJson(left: unknown, right: unknown): boolean {
  if (left === right) return true;
  if (Array.isArray(left)) {
    return (
      Array.isArray(right) && left.length === right.length && left.every((item, index) => equalJson(item, right[index]))
    );
  }
  if (!isObject(left) || !isObject(right)) return false;
  const keys = Object.keys(left);
  return (
    keys.length === Object.keys(right).length &&
    keys.every((key) => Object.hasOwn(right, key) && equalJson(left[key], right[key]))
  );
}

/** True when no value lies deeper than `limit` levels: as deep as that it goes itself, so that it is safe on any input. */
export function isWithinDepth(value: unknown, limit: number): boolean {
  if (typeof value !== 'object' || value === null) return limit >= 0;
  if (limit < 0) return false;
  if (Array.isArray(value)) {
    for (const item of value) if (!isWithinDepth(item, limit - 1)) return false;
    return true;
  }
  for (const key of Object.keys(value)) if (!isWithinDepth((value as JsonObject)[key], limit - 1)) return false;
  return true;
}
