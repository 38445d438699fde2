/** The order of a merged list: as the patch (or its $setElementOrder) says, with the server's own elements between. */
import { isObject, own, type JsonObject } from './json-value.ts';
import type { PintleError } from '../contract/index.ts';

export type Identity = (item: JsonObject) => string;

/** What names an element: the values of these keys; an absent one counts as its default. */
export function identify(keys: readonly string[], defaultOf: (key: string) => unknown): Identity {
  return (item) => JSON.stringify(keys.map((key) => own(item, key) ?? defaultOf(key) ?? null));
}

function nameOf(item: unknown, mergeKey: string | undefined): string {
  return isObject(item) && mergeKey !== undefined ? JSON.stringify(own(item, mergeKey) ?? null) : JSON.stringify(item);
}

/** The first of each, in order. */
export function deduplicate(items: readonly unknown[]): unknown[] {
  return [...new Set(items)];
}

/** Where each name first stands. */
function positions(items: readonly unknown[], mergeKey: string | undefined): ReadonlyMap<string, number> {
  const found = new Map<string, number>();
  for (const [index, item] of items.entries()) {
    const name = nameOf(item, mergeKey);
    if (!found.has(name)) found.set(name, index);
  }
  return found;
}

function sortBy(
  items: readonly unknown[],
  order: ReadonlyMap<string, number>,
  mergeKey: string | undefined,
): unknown[] {
  const place = (item: unknown): number => order.get(nameOf(item, mergeKey)) ?? Number.MAX_SAFE_INTEGER;
  return [...items].sort((left, right) => place(left) - place(right));
}

/**
 * `merged` split into what `order` names (in that order) and the rest (in the order of `live`), then interleaved: an
 * element of the rest goes before the first ordered one that stood behind it in `live`.
 */
export function applyElementOrder(
  merged: readonly unknown[],
  order: readonly unknown[],
  live: readonly unknown[],
  mergeKey: string | undefined,
): unknown[] {
  const wanted = positions(order, mergeKey);
  const lived = positions(live, mergeKey);
  const isWanted = (item: unknown): boolean => wanted.has(nameOf(item, mergeKey));
  const ordered = sortBy(merged.filter(isWanted), wanted, mergeKey);
  const rest = sortBy(
    merged.filter((item) => !isWanted(item)),
    lived,
    mergeKey,
  );
  const result: unknown[] = [];
  let next = 0;
  for (const item of ordered) {
    const place = lived.get(nameOf(item, mergeKey));
    while (next < rest.length && place !== undefined) {
      const other = lived.get(nameOf(rest[next], mergeKey));
      if (other === undefined || other >= place) break;
      result.push(rest[next++]);
    }
    result.push(item);
  }
  return [...result, ...rest.slice(next)];
}

/** The elements of a patch list must come in the order that $setElementOrder gives. */
export function checkElementOrder(
  patch: readonly unknown[],
  order: readonly unknown[],
  mergeKey: string | undefined,
  fault: () => PintleError,
): void {
  let at = 0;
  for (const item of patch) {
    if (isObject(item) && (own(item, '$patch') === 'delete' || own(item, '$patch') === 'replace')) continue;
    const name = nameOf(item, mergeKey);
    while (at < order.length && nameOf(order[at], mergeKey) !== name) at++;
    if (at++ >= order.length) throw fault();
  }
}
