/**
 * JSON bytes of objects, each made once for all who read it within a while: an object of the cluster is frozen, and the
 * same revision is the same JavaScript object for every reader.
 *
 * - What passes by, an answer or a change in a watch, is wanted by others at about the same time, and then by nobody: the
 *   latest few of them are kept.
 * - What a list holds is mostly there still when the next list is asked for: kept for as long as lists go on asking for it,
 *   up to a number of bytes. The history keeps objects, so their bytes have to be let go by time.
 */
const passingBytes = 2 ** 20;
const restMs = 15_000;
const maximumListedBytes = 64 * 2 ** 20;

/** Two generations of each: what nobody asked for since the last turn but one is gone. */
let passing = new Map<object, Buffer>();
let passed = new Map<object, Buffer>();
let passingNow = 0;
let listed = new WeakMap<object, Buffer>();
let listedBefore = new WeakMap<object, Buffer>();
let listedBytes = 0;
let timer: NodeJS.Timeout | undefined;

/** What no list has asked for since the last time is forgotten. */
export function forgetEncoded(): void {
  listedBefore = listed;
  listed = new WeakMap();
  clearTimeout(timer);
  // Once more after the last list, for what is in `listedBefore` now.
  timer = listedBytes === 0 ? undefined : setTimeout(forgetEncoded, restMs).unref();
  listedBytes = 0;
}

export function encodeObject(object: object): Buffer {
  if (!Object.isFrozen(object)) return Buffer.from(JSON.stringify(object));
  return knownBytes(object) ?? keepPassing(object, Buffer.from(JSON.stringify(object)));
}

function knownBytes(object: object): Buffer | undefined {
  return passing.get(object) ?? passed.get(object) ?? listed.get(object) ?? listedBefore.get(object);
}

function keepPassing(object: object, bytes: Buffer): Buffer {
  passing.set(object, bytes);
  passingNow += bytes.length;
  if (passingNow > passingBytes) {
    passed = passing;
    passing = new Map();
    passingNow = 0;
  }
  return bytes;
}

function encodeListed(object: object): Buffer {
  if (!Object.isFrozen(object)) return Buffer.from(JSON.stringify(object));
  let bytes = listed.get(object);
  if (bytes === undefined) {
    bytes = knownBytes(object) ?? Buffer.from(JSON.stringify(object));
    listed.set(object, bytes);
    listedBytes += bytes.length;
    if (listedBytes > maximumListedBytes) forgetEncoded();
    else timer ??= setTimeout(forgetEncoded, restMs).unref();
  }
  return bytes;
}

const comma = Buffer.from(',');

export interface ListHead {
  readonly kind: string;
  readonly apiVersion: string;
  readonly resourceVersion: string;
  readonly continue?: string | undefined;
  readonly remainingItemCount?: number | undefined;
}

export function listMeta(head: Omit<ListHead, 'kind' | 'apiVersion'>): Record<string, unknown> {
  return {
    resourceVersion: head.resourceVersion,
    ...(head.continue === undefined || head.continue === '' ? {} : { continue: head.continue }),
    ...(head.remainingItemCount === undefined ? {} : { remainingItemCount: head.remainingItemCount }),
  };
}

export function encodeList(head: ListHead, items: readonly object[]): Buffer {
  const opening = JSON.stringify({ kind: head.kind, apiVersion: head.apiVersion, metadata: listMeta(head) });
  const parts: Buffer[] = [Buffer.from(`${opening.slice(0, -1)},"items":[`)];
  items.forEach((item, index) => {
    if (index > 0) parts.push(comma);
    parts.push(encodeListed(item));
  });
  parts.push(Buffer.from(']}\n'));
  return Buffer.concat(parts);
}
