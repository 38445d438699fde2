/**
 * Gives what did not change the very objects of the last time, as an agent does whose informers hand out the same objects
 * until they change. What comes from another process is new all through, and a plugin would have to look at all of it. Pure.
 */
export function keepUnchanged<T>(before: unknown, after: T): T {
  if (Object.is(before, after)) return after;
  if (Array.isArray(before) && Array.isArray(after)) return keepList(before, after) as T;
  if (!isRecord(before) || !isRecord(after)) return after;
  const keys = Object.keys(after);
  let isSame = keys.length === Object.keys(before).length;
  const kept: Record<string, unknown> = {};
  for (const key of keys) {
    kept[key] = keepUnchanged(before[key], after[key]);
    isSame &&= key in before && Object.is(kept[key], before[key]);
  }
  return (isSame ? before : kept) as T;
}

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** Members keep their objects also behind one that came or went. */
function keepList(before: readonly unknown[], after: readonly unknown[]): readonly unknown[] {
  const shift = before.length - after.length;
  let isAligned = true;
  const kept = after.map((value, index) => {
    const same = keepUnchanged(before[index], value);
    if (isAligned && Object.is(same, before[index])) return same;
    isAligned = false;
    const moved = keepUnchanged(before[index + shift], value);
    return Object.is(moved, before[index + shift]) ? moved : same;
  });
  return shift === 0 && kept.every((value, index) => Object.is(value, before[index])) ? before : kept;
}
