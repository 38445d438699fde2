/** RFC 7386 JSON merge patch. */
import { PintleError } from '../contract/index.ts';
import { cloneJson, isObject, own, setOwn, type JsonObject } from './json-value.ts';
import { checkDepth, checkResultSize } from './patch-limits.ts';

/** What nobody can change need not be copied. */
const kept = (value: unknown): unknown => (Object.isFrozen(value) ? value : cloneJson(value));

function merge(target: unknown, patch: unknown): unknown {
  if (!isObject(patch)) return cloneJson(patch);
  const result: JsonObject = {};
  if (isObject(target)) {
    for (const key of Object.keys(target)) {
      if (!Object.hasOwn(patch, key)) setOwn(result, key, kept(target[key]));
      else if (patch[key] !== null) setOwn(result, key, merge(target[key], patch[key]));
    }
  }
  for (const key of Object.keys(patch)) {
    const value = patch[key];
    if (value !== null && !Object.hasOwn(result, key)) setOwn(result, key, merge(undefined, value));
  }
  return result;
}

/**
 * Both are objects. Throws BAD_REQUEST for a patch that is none, TOO_LARGE for a result beyond the API's limit. Parts of a
 * frozen document that the patch does not name are the result's too, as they are.
 */
export function mergePatch<T>(document: T, patch: unknown): T {
  if (!isObject(patch))
    throw new PintleError(
      'BAD_REQUEST',
      'a merge patch must be a JSON object such as {"metadata":{"labels":{"a":"b"}}}',
    );
  checkDepth(patch, 'the merge patch');
  const result = merge(document, patch);
  checkResultSize(result);
  return result as T;
}

/** The merge patch that makes `after` of `before`. Exact as long as `after` has no nulls. */
export function mergePatchBetween(before: JsonObject, after: JsonObject): JsonObject {
  const patch: JsonObject = {};
  for (const key of Object.keys(before)) if (!Object.hasOwn(after, key)) setOwn(patch, key, null);
  for (const key of Object.keys(after)) {
    const [left, right] = [own(before, key), after[key]];
    if (isObject(left) && isObject(right)) {
      const inner = mergePatchBetween(left, right);
      if (Object.keys(inner).length > 0) setOwn(patch, key, inner);
    } else if (!Object.hasOwn(before, key) || JSON.stringify(left) !== JSON.stringify(right)) {
      setOwn(patch, key, cloneJson(right));
    }
  }
  return patch;
}
