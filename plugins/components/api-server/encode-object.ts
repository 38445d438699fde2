/**
 * JSON bytes of objects, each made once: an object of the cluster is frozen, and the same revision is the same JavaScript
 * object for every reader, so its bytes are kept as long as it lives and shared by all lists and watches.
 */
const encoded = new WeakMap<object, Buffer>();

export function encodeObject(object: object): Buffer {
  if (!Object.isFrozen(object)) return Buffer.from(JSON.stringify(object));
  let bytes = encoded.get(object);
  if (bytes === undefined) {
    bytes = Buffer.from(JSON.stringify(object));
    encoded.set(object, bytes);
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
