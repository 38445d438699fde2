/**
 * Which slices to write so that a group has the wanted endpoints, touching as few as possible: every write of a slice goes
 * to every node. Endpoints stay in the slice where they are; new ones fill slices that change anyway, then the fullest
 * slice that holds them all, then new slices.
 */
import type { Endpoint, EndpointSlice } from '../../../kernel/contract/kubernetes.ts';
import { equalJson } from '../../../kernel/machinery/json-value.ts';
import type { EndpointGroup } from './wanted-endpoints.ts';

export interface SlicePlan {
  /** Endpoints of each new slice. */
  readonly create: readonly (readonly Endpoint[])[];
  readonly update: readonly { readonly slice: EndpointSlice; readonly endpoints: readonly Endpoint[] }[];
  readonly remove: readonly EndpointSlice[];
}

/** What makes two endpoints the same one, whatever its conditions. */
function identity({ addresses, targetRef }: Endpoint): string {
  return `${addresses.join()} ${targetRef?.uid ?? ''}`;
}

export function planSlices(group: EndpointGroup, existing: readonly EndpointSlice[], limit: number): SlicePlan {
  const rest = new Map(group.endpoints.map((endpoint) => [identity(endpoint), endpoint]));
  const kept = existing.map((slice) => keepWanted(slice, rest, limit));
  const added = [...rest.values()];
  fill(
    kept.filter((entry) => entry.isChanged),
    added,
    limit,
  );
  if (added.length > 0 && added.length < limit) {
    const fullest = kept
      .filter((entry) => !entry.isChanged && entry.endpoints.length + added.length <= limit)
      .toSorted((a, b) => b.endpoints.length - a.endpoints.length)
      .slice(0, 1);
    fill(fullest, added, limit);
  }
  const create: Endpoint[][] = [];
  while (added.length > 0) create.push(added.splice(0, limit));
  // An empty group keeps one empty slice.
  const needed = create.length + kept.filter((entry) => entry.endpoints.length > 0).length;
  let spare = needed === 0 ? 1 : 0;
  if (needed === 0 && kept.length === 0) create.push([]);
  const remove: EndpointSlice[] = [];
  const update: { slice: EndpointSlice; endpoints: readonly Endpoint[] }[] = [];
  for (const entry of kept) {
    if (entry.endpoints.length === 0 && spare-- <= 0) remove.push(entry.slice);
    else if (entry.isChanged) update.push({ slice: entry.slice, endpoints: entry.endpoints });
  }
  return { create, update, remove };
}

interface Kept {
  readonly slice: EndpointSlice;
  readonly endpoints: Endpoint[];
  isChanged: boolean;
}

/** The endpoints of this slice that are still wanted, as they should be now. Takes them out of `rest`. */
function keepWanted(slice: EndpointSlice, rest: Map<string, Endpoint>, limit: number): Kept {
  const before = slice.endpoints ?? [];
  const endpoints: Endpoint[] = [];
  let isChanged = false;
  for (const endpoint of before) {
    const id = identity(endpoint);
    const wanted = rest.get(id);
    if (wanted === undefined || endpoints.length >= limit) {
      isChanged = true;
      continue;
    }
    rest.delete(id);
    const isSame = equalJson(wanted, endpoint);
    endpoints.push(isSame ? endpoint : wanted);
    isChanged ||= !isSame;
  }
  return { slice, endpoints, isChanged };
}

function fill(entries: readonly Kept[], added: Endpoint[], limit: number): void {
  for (const entry of entries) {
    const taken = added.splice(0, limit - entry.endpoints.length);
    if (taken.length === 0) continue;
    entry.endpoints.push(...taken);
    entry.isChanged = true;
  }
}
