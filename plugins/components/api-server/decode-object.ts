/** The object of a create or update: its kind, name and namespace must be what the path says, in the API's own words. */
import type { KubernetesObject, WriteOptions } from '../../../kernel/contract/index.ts';
import { decodeBody, mediaTypeOf } from './decode-body.ts';
import type { Exchange } from './http-exchange.ts';
import { apiVersionOf } from './request-target.ts';
import { badRequest } from './status.ts';

export interface ExpectedObject {
  readonly group: string;
  readonly version: string;
  readonly kind: string;
  /** Undefined: cluster-scoped. */
  readonly namespace: string | undefined;
  /** Undefined: any (create). */
  readonly name: string | undefined;
}

/** Versions that are not served any more and whose bodies mean the same: kubectl 1.20 evicts with this one. */
const formerVersions: Readonly<Record<string, string>> = { 'policy/v1 Eviction': 'policy/v1beta1' };

export async function decodeObject(
  exchange: Exchange,
  bytes: Buffer,
  expected: ExpectedObject,
  validation: WriteOptions['fieldValidation'],
): Promise<KubernetesObject> {
  const { value, strictProblems } = await decodeBody(
    bytes,
    mediaTypeOf(exchange.request.headers['content-type']),
    expected.kind,
    isHeeded(validation),
  );
  const object = plainObject(value, expected);
  heedProblems(exchange, strictProblems, validation, expected);
  return asExpected(object, expected);
}

/**
 * Several in one body, as the list of their kind, each by itself: what is no such object is an error in its place.
 * Duplicate keys are not looked for: who sends lists is a program.
 */
export async function decodeEach(
  exchange: Exchange,
  bytes: Buffer,
  expected: ExpectedObject,
): Promise<readonly (() => KubernetesObject)[]> {
  const listKind = { ...expected, kind: `${expected.kind}List` };
  const mediaType = mediaTypeOf(exchange.request.headers['content-type']);
  const { value } = await decodeBody(bytes, mediaType, listKind.kind, false);
  const { kind, items } = plainObject(value, listKind);
  if (kind !== listKind.kind || !Array.isArray(items))
    throw badRequest(`the object provided is unrecognized (must be of type ${listKind.kind}): it has no items`);
  return items.map((item: unknown) => () => asExpected(plainObject(item, expected), expected));
}

function plainObject(value: unknown, expected: ExpectedObject): Record<string, unknown> {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  throw badRequest(`the object provided is unrecognized (must be of type ${expected.kind}): the body is not an object`);
}

function asExpected(object: Record<string, unknown>, expected: ExpectedObject): KubernetesObject {
  const apiVersion = apiVersionOf(expected);
  const givenVersion = object['apiVersion'] ?? '';
  const givenKind = object['kind'] ?? '';
  if (typeof givenVersion !== 'string' || typeof givenKind !== 'string')
    throw badRequest(
      `the object provided is unrecognized (must be of type ${expected.kind}): apiVersion and kind must be strings`,
    );
  const isFormer = givenVersion === formerVersions[`${apiVersion} ${expected.kind}`];
  if (givenVersion !== '' && givenVersion !== apiVersion && !isFormer)
    throw badRequest(
      `the API version in the data (${givenVersion}) does not match the expected API version (${apiVersion})`,
    );
  if (givenKind !== '' && givenKind !== expected.kind)
    throw badRequest(
      `${givenKind} in version ${JSON.stringify(apiVersion)} cannot be handled as a ${expected.kind}: the kinds differ`,
    );
  const metadata = metadataOf(object, expected);
  return { ...object, apiVersion, kind: expected.kind, metadata } as unknown as KubernetesObject;
}

/** False: whoever asks wants to hear of no problems. */
export function isHeeded(validation: WriteOptions['fieldValidation']): boolean {
  return validation !== undefined && validation !== 'Ignore';
}

export function heedProblems(
  exchange: Exchange,
  problems: readonly string[],
  validation: WriteOptions['fieldValidation'],
  type: { readonly kind: string; readonly version: string },
): void {
  if (problems.length === 0 || !isHeeded(validation)) return;
  if (validation === 'Strict')
    throw badRequest(
      `${type.kind} in version ${JSON.stringify(type.version)} cannot be handled as a ${type.kind}: strict decoding error: ${problems.join(', ')}`,
    );
  for (const problem of problems) exchange.warn(problem);
}

function metadataOf(object: Record<string, unknown>, expected: ExpectedObject): Record<string, unknown> {
  const given = object['metadata'] ?? {};
  if (typeof given !== 'object' || Array.isArray(given))
    throw badRequest(
      `${expected.kind} in version ${JSON.stringify(expected.version)} cannot be handled as a ${expected.kind}: metadata must be an object`,
    );
  const metadata = { ...(given as Record<string, unknown>) };
  for (const key of ['name', 'namespace', 'generateName']) {
    const value = metadata[key];
    if (value === null) delete metadata[key];
    else if (value !== undefined && typeof value !== 'string')
      throw badRequest(
        `${expected.kind} in version ${JSON.stringify(expected.version)} cannot be handled as a ${expected.kind}: metadata.${key} must be a string`,
      );
  }
  if (expected.namespace === undefined) delete metadata['namespace'];
  else {
    const namespace = metadata['namespace'] ?? '';
    if (namespace !== '' && namespace !== expected.namespace)
      throw badRequest(
        `the namespace of the provided object does not match the namespace sent on the request: the object has ${JSON.stringify(namespace)}, the path ${JSON.stringify(expected.namespace)}`,
      );
    metadata['namespace'] = expected.namespace;
  }
  if (expected.name !== undefined && metadata['name'] !== expected.name)
    throw badRequest(
      `the name of the object (${(metadata['name'] as string | undefined) ?? ''}) does not match the name on the URL (${expected.name})`,
    );
  return metadata;
}
