/**
 * How an object lies in the store: JSON, without its resourceVersion, which is the revision of the entry itself.
 */
import { PintleError } from '../../../../kernel/contract/index.ts';
import type { KubernetesObject } from '../../../../kernel/contract/index.ts';
import { deepFreeze } from './frozen-json.ts';

/** Kubernetes' limit for a request body; a stored object is never larger. */
const maximumBytes = 3 * 1024 * 1024;

const decoder = new TextDecoder();

export function encodeObject(object: KubernetesObject): Uint8Array {
  const version = object.metadata.resourceVersion;
  object.metadata.resourceVersion = undefined as never;
  const bytes = Buffer.from(JSON.stringify(object));
  object.metadata.resourceVersion = version;
  if (bytes.length > maximumBytes) {
    throw new PintleError('TOO_LARGE', `Request entity too large: limit is ${maximumBytes}`, {
      details: { kind: object.kind, name: object.metadata.name },
    });
  }
  return bytes;
}

export function decodeObject(bytes: Uint8Array, revision: number): KubernetesObject {
  const object = JSON.parse(decoder.decode(bytes)) as KubernetesObject;
  object.metadata.resourceVersion = String(revision);
  return deepFreeze(object);
}
