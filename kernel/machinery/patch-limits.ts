/** What a patch may cost: bounds shared by all kinds of patches. */
import { PintleError } from '../contract/index.ts';
import { isWithinDepth } from './json-value.ts';

/** Nesting that is still a Kubernetes object; keeps recursion far from the end of the stack. */
export const maxJsonDepth = 256;
/** As Kubernetes has it. */
export const maxPatchOperations = 10_000;
/** Characters of the result's JSON: the API's limit on a request body. */
export const maxResultLength = 3 * 1024 * 1024;

export function checkDepth(value: unknown, what: string): void {
  if (!isWithinDepth(value, maxJsonDepth))
    throw new PintleError('BAD_REQUEST', `${what} is nested deeper than ${maxJsonDepth} levels: flatten it`);
}

/** A lower bound of the length of the value's JSON; stops counting when it passes `limit`. Iterative. */
export function jsonLength(value: unknown, limit: number): number {
  const pending: unknown[] = [value];
  let length = 0;
  while (pending.length > 0 && length <= limit) {
    const item = pending.pop();
    if (typeof item === 'string') length += item.length + 2;
    else if (typeof item !== 'object' || item === null) length += 1;
    else if (Array.isArray(item)) {
      length += item.length + 1;
      for (const child of item) pending.push(child);
    } else {
      length += 2;
      for (const key of Object.keys(item)) {
        length += key.length + 4;
        pending.push((item as Record<string, unknown>)[key]);
      }
    }
  }
  return length;
}

export function checkResultSize(value: unknown): void {
  if (jsonLength(value, maxResultLength) > maxResultLength)
    throw new PintleError(
      'TOO_LARGE',
      `the patched object is larger than ${maxResultLength} bytes: patch less, or store the data elsewhere`,
    );
}
