/** Plain JSON values: freezing, comparing and sharing them. Every own key is data, `__proto__` too. */
import { setOwn } from '../../../../kernel/machinery/json-value.ts';

export { copyJson } from '../../../../kernel/machinery/copy-json.ts';

export function deepFreeze<T>(value: T): T {
  if (typeof value !== 'object' || value === null || Object.isFrozen(value)) return value;
  Object.freeze(value);
  for (const key of Object.keys(value)) {
    const part = (value as Record<string, unknown>)[key];
    if (typeof part === 'object' && part !== null) deepFreeze(part);
  }
  return value;
}

/** Equal as JSON: an absent key and an undefined one are the same. */
export function sameJson(left: unknown, right: unknown): boolean {
  if (left === right) return true;
  if (typeof left !== 'object' || typeof right !== 'object' || left === null || right === null) return false;
  if (Array.isArray(left) !== Array.isArray(right)) return false;
  if (Array.isArray(left) && Array.isArray(right)) {
    return left.length === right.length && left.every((part, index) => sameJson(part, right[index]));
  }
  const a = left as Record<string, unknown>;
  const b = right as Record<string, unknown>;
  let count = 0;
  for (const key of Object.keys(a)) {
    if (a[key] === undefined) continue;
    count++;
    if (!Object.hasOwn(b, key) || !sameJson(a[key], b[key])) return false;
  }
  for (const key of Object.keys(b)) if (b[key] !== undefined) count--;
  return count === 0;
}

/**
 * `next` with every part that equals its counterpart in `former` replaced by it; `former` itself when all of it is equal. So
 * the history keeps what a change has changed, not a whole copy of an object for each change. Parts of lists are found by
 * their distance from the start or from the end: one that was added or taken away does not hide the others. `next` is changed.
 */
export function shareUnchanged<T>(next: T, former: T): T {
  return share(next, former) as T;
}

function share(next: unknown, former: unknown): unknown {
  if (typeof next !== 'object' || next === null || typeof former !== 'object' || former === null) return next;
  if (next === former || Object.isFrozen(next)) return sameJson(next, former) ? former : next;
  if (Array.isArray(next)) return Array.isArray(former) ? shareList(next, former) : next;
  return Array.isArray(former) ? next : shareParts(next as Parts, former as Parts);
}

type Parts = Record<string, unknown>;

function shareParts(next: Parts, former: Parts): Parts {
  let isSame = true;
  let count = 0;
  for (const key of Object.keys(next)) {
    const part = next[key];
    if (part === undefined) continue;
    count++;
    if (!Object.hasOwn(former, key)) {
      isSame = false;
      continue;
    }
    const shared = share(part, former[key]);
    if (shared !== part) setOwn(next, key, shared);
    isSame &&= shared === former[key];
  }
  if (!isSame) return next;
  for (const key of Object.keys(former)) if (former[key] !== undefined) count--;
  return count === 0 ? former : next;
}

function shareList(next: unknown[], former: readonly unknown[]): readonly unknown[] {
  let start = 0;
  for (const shortest = Math.min(next.length, former.length); start < shortest; start++) {
    const shared = (next[start] = share(next[start], former[start]));
    if (shared !== former[start]) break;
  }
  if (start === next.length && start === former.length) return former;
  const shift = former.length - next.length;
  let end = next.length - 1;
  for (; end >= start && end + shift >= start; end--) {
    const shared = (next[end] = share(next[end], former[end + shift]));
    if (shared !== former[end + shift]) break;
  }
  // Between the two the places may still agree: several that changed where they stood.
  for (let at = start + 1; at < end && shift === 0; at++) next[at] = share(next[at], former[at]);
  return next;
}
