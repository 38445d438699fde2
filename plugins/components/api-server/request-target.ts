/**
 * What a request's path names: a resource, one of its objects, a subresource. Path segments are decoded one by one after
 * the split, so that an encoded slash can never become a separator, and "." and ".." never mean a parent.
 */
import type { ServedResource, ServedSubresource } from '../../../kernel/contract/index.ts';
import { badRequest, noSuchPath } from './status.ts';

export interface ResourceTarget {
  readonly resource: ServedResource;
  readonly namespace: string | undefined;
  /** Undefined: the collection. */
  readonly name: string | undefined;
  readonly subresource: ServedSubresource | undefined;
}

/** Decoded path segments; a trailing slash is dropped. Throws NOT_FOUND or BAD_REQUEST for what can name nothing. */
export function pathSegments(path: string): readonly string[] {
  const raw = path.split('/');
  if (raw[0] !== '') throw noSuchPath();
  raw.shift();
  if (raw.length > 1 && raw.at(-1) === '') raw.pop();
  return raw.map((segment) => {
    if (segment === '' && raw.length > 1) throw noSuchPath();
    let decoded: string;
    try {
      decoded = decodeURIComponent(segment);
    } catch {
      throw badRequest(`the path segment ${JSON.stringify(segment)} is not valid percent-encoded UTF-8`);
    }
    if (decoded === '.' || decoded === '..') throw badRequest(`the path segment "${decoded}" is not allowed`);
    for (const character of decoded) {
      if (character === '/' || character === '\\' || character < ' ' || character === '\x7f')
        throw badRequest(`the path segment ${JSON.stringify(decoded)} holds a character that no name may have`);
    }
    return decoded;
  });
}

export type ResourceIndex = ReadonlyMap<string, ServedResource>;

const indexes = new WeakMap<readonly ServedResource[], ResourceIndex>();

/** Resources by "group/version/plural", made once for each set that the cluster hands out. */
export function indexResources(served: readonly ServedResource[]): ResourceIndex {
  let index = indexes.get(served);
  if (index === undefined) {
    index = new Map(served.map((entry) => [`${entry.group}/${entry.version}/${entry.resource}`, entry]));
    indexes.set(served, index);
  }
  return index;
}

/**
 * `segments` begins with "api" or "apis". Returns undefined for discovery paths (/api, /api/v1, /apis, /apis/G, /apis/G/V).
 */
export function parseTarget(segments: readonly string[], index: ResourceIndex): ResourceTarget | undefined {
  const isCore = segments[0] === 'api';
  const group = isCore ? '' : (segments[1] ?? '');
  const version = isCore ? segments[1] : segments[2];
  const rest = segments.slice(isCore ? 2 : 3);
  if (version === undefined || rest.length === 0) return undefined;
  const find = (plural: string): ServedResource => {
    const found = index.get(`${group}/${version}/${plural}`);
    if (found === undefined) throw noSuchPath();
    return found;
  };
  // /namespaces/N and /namespaces/N/status are the Namespace itself; with another plural behind it, a scope.
  const third = rest[2];
  if (rest[0] === 'namespaces' && third !== undefined) {
    const own = index.get(`${group}/${version}/namespaces`);
    const isOwnSubresource = rest.length === 3 && own?.subresources.some((entry) => entry.name === third);
    if (isOwnSubresource !== true) {
      const resource = find(third);
      if (!resource.namespaced) throw noSuchPath();
      return withSubresource(resource, rest[1], rest.slice(3));
    }
  }
  const resource = find(rest[0] ?? '');
  if (resource.namespaced && rest.length > 1) throw noSuchPath();
  return withSubresource(resource, undefined, rest.slice(1));
}

function withSubresource(
  resource: ServedResource,
  namespace: string | undefined,
  rest: readonly string[],
): ResourceTarget {
  const [name, subresourceName, ...more] = rest;
  if (more.length > 0) throw noSuchPath();
  if (subresourceName === undefined) return { resource, namespace, name, subresource: undefined };
  const subresource = resource.subresources.find((entry) => entry.name === subresourceName);
  if (subresource === undefined) throw noSuchPath();
  return { resource, namespace, name, subresource };
}

export function apiVersionOf(type: { readonly group: string; readonly version: string }): string {
  return type.group === '' ? type.version : `${type.group}/${type.version}`;
}
