/** From what a client sent to a draft: the right kind, known fields only, right types, defaults filled in. */
import type { KubernetesObject, WriteOptions } from '../../../kernel/contract/index.ts';
import { badRequest } from './api-errors.ts';
import type { Resource } from './catalog.ts';
import { copyJson } from './state/frozen-json.ts';

/** Refuses an object of another kind or version than the resource's; fills both in when they are missing. */
export function checkKind(apiVersion: string, kind: string, object: KubernetesObject): void {
  if (object.apiVersion && object.apiVersion !== apiVersion) {
    throw badRequest(
      `the API version in the data (${object.apiVersion}) does not match the expected API version (${apiVersion})`,
    );
  }
  if (object.kind && object.kind !== kind) {
    throw badRequest(`the kind in the data (${object.kind}) does not match the expected kind (${kind})`);
  }
}

export function shape(resource: Resource, input: unknown, options: WriteOptions): KubernetesObject {
  void options;
  if (typeof input !== 'object' || input === null || Array.isArray(input)) throw badRequest('expected an object');
  const object = copyJson(input) as KubernetesObject;
  checkKind(resource.apiVersion, resource.served.kind, object);
  return { ...object, apiVersion: resource.apiVersion, kind: resource.served.kind, metadata: object.metadata ?? {} };
}
