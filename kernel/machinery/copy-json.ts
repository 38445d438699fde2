/** Copies of what callers hand in: what JSON carries of it, and nothing else. Every own key is data, `__proto__` too. */
import { PintleError } from '../contract/index.ts';
import { setOwn } from './json-value.ts';

/** Deeper than any real manifest, and shallow enough for every recursive walk over an object. */
const maximumDepth = 256;

/** A deep, mutable copy. Keys without a value are left out; what JSON cannot carry is refused. */
export function copyJson<T>(value: T): T {
  return copy(value, 0) as T;
}

function copy(value: unknown, depth: number): unknown {
  if (typeof value !== 'object' || value === null) {
    if (typeof value === 'number' && !Number.isFinite(value)) throw unusable(`the number ${value}`);
    if (typeof value === 'function' || typeof value === 'symbol' || typeof value === 'bigint') {
      throw unusable(`a ${typeof value}`);
    }
    return value;
  }
  if (depth >= maximumDepth) {
    throw new PintleError('BAD_REQUEST', `The object is nested more than ${maximumDepth} levels deep.`);
  }
  if (Array.isArray(value)) {
    const list: unknown[] = [];
    // Holes and undefined become null, as JSON.stringify has it.
    for (const part of value) list.push(copy(part ?? null, depth + 1));
    return list;
  }
  if (value instanceof Date) return value.toJSON();
  const result: Record<string, unknown> = {};
  for (const key of Object.keys(value)) {
    const part = (value as Record<string, unknown>)[key];
    if (part !== undefined) setOwn(result, key, copy(part, depth + 1));
  }
  return result;
}

function unusable(what: string): PintleError {
  return new PintleError('BAD_REQUEST', `The object holds ${what}, which JSON cannot carry.`);
}
