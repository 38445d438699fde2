/**
 * JSON bytes of objects, each made once for all who read it within a while: an object of the cluster is frozen, and the
 * same revision is the same JavaScript object for every reader. What nobody has asked for lately is let go, so that the
 * history, which keeps the objects, does not keep their bytes as well.
 */
const restMs = 15_000;
const maximumFreshBytes = 64 * 2 ** 20;

let fresh = new WeakMap<object, Buffer>();
let former = new WeakMap<object, Buffer>();
let freshBytes = 0;
let timer: NodeJS.Timeout | undefined;

/** What has not been read since the last time is forgotten. */
export function forgetEncoded(): void {
  former = fresh;
  fresh = new WeakMap();
  clearTimeout(timer);
  // Once more after the last write, for what is in `former` now.
  timer = freshBytes === 0 ? undefined : setTimeout(forgetEncoded, restMs).unref();
  freshBytes = 0;
}

export function encodeObject(object: object): Buffer {
  if (!Object.isFrozen(object)) return Buffer.from(JSON.stringify(object));
  let bytes = fresh.get(object);
  if (bytes === undefined) {
    bytes = former.get(object) ?? Buffer.from(JSON.stringify(object));
    fresh.set(object, bytes);
    freshBytes += bytes.length;
    if (freshBytes > maximumFreshBytes) forgetEncoded();
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
    parts.push(encodeObject(item));
  });
  parts.push(Buffer.from(']}\n'));
  return Buffer.concat(parts);
}
