/** Lists: of now, of a kept revision, page by page from one pinned revision. */
import type { KubernetesObject, ListOptions, ObjectList } from '../../../kernel/contract/index.ts';
import { PintleError } from '../../../kernel/contract/index.ts';
import { badRequest } from './api-errors.ts';
import type { Resource, Storage } from './catalog.ts';
import { scanSelected, select } from './selection.ts';
import type { Selection } from './selection.ts';
import type { ObjectTree } from './state/collection.ts';
import type { State } from './state/state.ts';

/** How long a list waits for a resourceVersion that is in the future here. */
const futureMs = 3_000;

interface ContinueToken {
  /** The pinned revision; -1: whatever is now (the client accepted an inconsistent list). */
  readonly revision: number;
  /** Where to go on, without the selection's prefix. */
  readonly start: string;
}

function encodeToken(token: ContinueToken): string {
  return Buffer.from(JSON.stringify({ v: 'meta.k8s.io/v1', rv: token.revision, start: token.start })).toString(
    'base64url',
  );
}

function decodeToken(text: string): ContinueToken {
  try {
    const token = JSON.parse(Buffer.from(text, 'base64url').toString()) as {
      v?: unknown;
      rv?: unknown;
      start?: unknown;
    };
    if (token.v === 'meta.k8s.io/v1' && Number.isSafeInteger(token.rv) && typeof token.start === 'string') {
      return { revision: token.rv as number, start: token.start };
    }
  } catch {
    // Falls through: not one of our tokens.
  }
  throw badRequest('continue key is not valid: expected a token from an earlier answer of this server');
}

/** A resourceVersion parameter as a number; undefined for none. */
export function parseRevision(text: string | undefined): number | undefined {
  if (text === undefined || text === '') return undefined;
  if (!/^\d{1,15}$/.test(text))
    throw badRequest(`Invalid value for resourceVersion: "${text}": expected a decimal integer`);
  return Number(text);
}

function expiredList(revision: number, start: string | undefined): PintleError {
  if (start === undefined) {
    return new PintleError('EXPIRED', `The resourceVersion for the provided list is too old: ${revision}`);
  }
  return new PintleError(
    'EXPIRED',
    'The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.',
    { details: { continue: encodeToken({ revision: -1, start }) } },
  );
}

interface Snapshot {
  readonly tree: ObjectTree;
  readonly revision: number;
  readonly start: string;
}

async function snapshot(state: State, storage: Storage, options: ListOptions, selection: Selection): Promise<Snapshot> {
  const { collection } = storage;
  const asked = parseRevision(options.resourceVersion);
  const match = options.resourceVersionMatch;
  if (match !== undefined && match !== 'Exact' && match !== 'NotOlderThan') {
    throw badRequest(`resourceVersionMatch: expected Exact or NotOlderThan, got ${JSON.stringify(match)}`);
  }
  if (options.continue) {
    if (asked !== undefined && asked !== 0) {
      throw badRequest('specifying resource version is not allowed when using continue');
    }
    if (match) throw badRequest('resourceVersionMatch is forbidden for continue');
    const token = decodeToken(options.continue);
    const start = selection.prefix + token.start;
    if (token.revision < 0) return { tree: collection.tree, revision: state.revision, start };
    if (token.revision > state.revision) await state.reach(token.revision, futureMs);
    const tree = collection.treeAt(token.revision);
    if (!tree) throw expiredList(token.revision, token.start);
    return { tree, revision: token.revision, start };
  }
  if (match && asked === undefined)
    throw badRequest('resourceVersionMatch is forbidden unless resourceVersion is provided');
  if (match === 'Exact' && asked === 0)
    throw badRequest('resourceVersionMatch "Exact" is forbidden for resourceVersion "0"');
  if (asked === undefined) await state.fresh();
  else if (asked > state.revision) await state.reach(asked, futureMs);
  // A limit with a resourceVersion and no match means that very revision: how the API has always read it.
  const isExact = match === 'Exact' || (match === undefined && options.limit !== undefined && options.limit > 0);
  if (asked && isExact) {
    const tree = collection.treeAt(asked);
    if (!tree) throw expiredList(asked, undefined);
    return { tree, revision: asked, start: selection.prefix };
  }
  return { tree: collection.tree, revision: state.revision, start: selection.prefix };
}

export async function list(
  state: State,
  resource: Resource,
  storage: Storage,
  options: ListOptions,
): Promise<ObjectList<KubernetesObject>> {
  const selection = select(resource, options);
  const { tree, revision, start } = await snapshot(state, storage, options, selection);
  const limit = options.limit && options.limit > 0 ? options.limit : Number.POSITIVE_INFINITY;
  const items: KubernetesObject[] = [];
  let last = '';
  let isCut = false;
  const { prefix } = selection;
  if (selection.onlyKey !== undefined) {
    const object = selection.onlyKey >= start ? tree.get(selection.onlyKey) : undefined;
    if (object && selection.matches(object)) items.push(selection.shown(object));
  } else {
    scanSelected(storage.collection, tree, selection, start, (key, object) => {
      if (!selection.isEverything && !selection.matches(object)) return true;
      if (items.length >= limit) {
        isCut = true;
        return false;
      }
      items.push(selection.shown(object));
      last = key;
      return true;
    });
  }
  if (!isCut) return { items, resourceVersion: String(revision) };
  const next = `${last}\0`;
  const rest: { remainingItemCount?: number } = {};
  if (selection.isEverything) {
    // "0" is the character after "/", so that this is the end of everything under "namespace/".
    const end = prefix ? tree.rank(`${prefix.slice(0, -1)}0`) : tree.size;
    rest.remainingItemCount = end - tree.rank(next);
  }
  return {
    items,
    resourceVersion: String(revision),
    continue: encodeToken({ revision, start: next.slice(prefix.length) }),
    ...rest,
  };
}
