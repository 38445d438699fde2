/** The Cluster interface over HTTP. Objects that come out are this process's own copies. */
import {
  isPintleError,
  type CallOptions,
  type Cluster,
  type KubernetesObject,
  type ListOptions,
  type NewObject,
  type ObjectList,
  type PatchKind,
  type PintleError,
  type ResourceType,
  type WriteOptions,
} from '../../../kernel/contract/index.ts';
import type { Answer, HttpClient } from './http-client.ts';
import {
  deleteBody,
  listParameters,
  resourcePath,
  watchParameters,
  withQuery,
  writeParameters,
} from './request-path.ts';
import { statusError } from './status-error.ts';
import { watchEvents } from './watch-events.ts';

/** client-go's page: large lists come in pieces that neither side must hold as one text. */
const pageSize = 500;

const patchTypes: Readonly<Record<PatchKind, string>> = {
  json: 'application/json-patch+json',
  merge: 'application/merge-patch+json',
  strategic: 'application/strategic-merge-patch+json',
  apply: 'application/apply-patch+yaml',
};

interface WireList<T> {
  readonly metadata?: {
    readonly resourceVersion?: string;
    readonly continue?: string;
    readonly remainingItemCount?: number;
  };
  readonly items?: readonly T[] | null;
}

export function remoteCluster(client: HttpClient, serveNode: Cluster['serveNode']): Cluster {
  const page = async <T extends KubernetesObject>(
    type: ResourceType<T>,
    options: ListOptions,
  ): Promise<ObjectList<T>> => {
    const path = withQuery(resourcePath(type, options.namespace), listParameters(options));
    return listOf(type, (await client.call({ method: 'GET', path, signal: options.signal })).body as WireList<T>);
  };
  const create: Cluster['create'] = async (type, object, options) => {
    const { parent, subresource } = options ?? {};
    const base = resourcePath(type, parent?.namespace ?? object.metadata.namespace, parent?.name, subresource);
    const body = parent === undefined ? withType(type, object) : object;
    return written(
      await client.call({
        method: 'POST',
        path: withQuery(base, writeParameters(options)),
        body: JSON.stringify(body),
        signal: options?.signal,
      }),
      options,
    );
  };
  return {
    async get(type, key, options) {
      const path = withQuery(resourcePath(type, key.namespace, key.name, options?.subresource), {
        resourceVersion: options?.resourceVersion,
      });
      return (await client.call({ method: 'GET', path, signal: options?.signal })).body as never;
    },
    async list<T extends KubernetesObject>(type: ResourceType<T>, options: ListOptions = {}) {
      if (options.limit !== undefined || options.continue !== undefined) return page(type, options);
      try {
        return await allPages(page, type, options);
      } catch (error) {
        // The pages took longer than the server keeps their revision: ask for everything at once.
        if (isPintleError(error, 'EXPIRED')) return page(type, options);
        throw error;
      }
    },
    watch: (type, options, signal) =>
      watchEvents(
        client,
        { method: 'GET', path: withQuery(resourcePath(type, options.namespace), watchParameters(options)) },
        signal,
      ),
    create,
    createEach: createEach(client, create),
    async update(type, object, options) {
      const base = resourcePath(type, object.metadata.namespace, object.metadata.name, options?.subresource);
      const body = options?.subresource === undefined ? withType(type, object) : object;
      return written(
        await client.call({
          method: 'PUT',
          path: withQuery(base, writeParameters(options)),
          body: JSON.stringify(body),
          signal: options?.signal,
        }),
        options,
      );
    },
    async patch(type, key, patch, options) {
      const base = resourcePath(type, key.namespace, key.name, options?.subresource);
      const path = withQuery(base, { ...writeParameters(options), force: patch.force });
      return written(
        await client.call({
          method: 'PATCH',
          path,
          body: JSON.stringify(patch.body),
          headers: { 'content-type': patchTypes[patch.kind] },
          signal: options?.signal,
        }),
        options,
      );
    },
    async delete(type, key, options) {
      const path = withQuery(
        resourcePath(type, key.namespace, key.name, options?.subresource),
        writeParameters(options),
      );
      // The API answers with a bare Status for most kinds; Pintle's server gives the object to who prefers it (RFC 7240).
      const answer = await client.call({
        method: 'DELETE',
        path,
        body: deleteBody(options),
        headers: { prefer: 'return=representation' },
        signal: options?.signal,
      });
      warnings(answer, options);
      const body = answer.body as KubernetesObject & { readonly details?: { readonly uid?: string } };
      if (body.kind !== 'Status') {
        const header = answer.headers['pintle-gone'];
        const gone = header === undefined ? body.metadata.deletionTimestamp === undefined : header === 'true';
        return { object: body as never, gone };
      }
      const object = withType(type, { metadata: { name: key.name, namespace: key.namespace, uid: body.details?.uid } });
      return { object: object as never, gone: true };
    },
    async deleteCollection<T extends KubernetesObject>(
      type: ResourceType<T>,
      options: Parameters<Cluster['deleteCollection']>[1] = {},
    ) {
      const path = withQuery(resourcePath(type, options.namespace), {
        ...listParameters(options),
        ...writeParameters(options),
      });
      const answer = await client.call({ method: 'DELETE', path, body: deleteBody(options), signal: options.signal });
      warnings(answer, options);
      return listOf(type, answer.body as WireList<T>);
    },
    serveNode,
  };
}

/** In one request as a list, which Pintle's server takes; another server refuses it, and is then asked one by one. */
function createEach(client: HttpClient, create: Cluster['create']): NonNullable<Cluster['createEach']> {
  let takesLists = true;
  const inOne = async (type: ResourceType, objects: readonly NewObject<KubernetesObject>[], options?: CallOptions) => {
    const base = resourcePath(type, objects[0]?.metadata.namespace);
    const { apiVersion } = withType(type, {});
    const answer = await client.call({
      method: 'POST',
      path: withQuery(base, { ...writeParameters(undefined), 'pintle-each': true }),
      body: JSON.stringify({ apiVersion, kind: `${type.kind}List`, items: objects }),
      signal: options?.signal,
    });
    const { items } = answer.body as { readonly items: readonly { readonly status: string; readonly code: number }[] };
    return items.map((item) => (item.status === 'Success' ? undefined : statusError(item, item.code, `POST ${base}`)));
  };
  return async <T extends KubernetesObject>(
    type: ResourceType<T>,
    objects: readonly NewObject<T>[],
    options?: CallOptions,
  ) => {
    if (takesLists && objects.length > 1)
      try {
        return await inOne(type, objects, options);
      } catch (error) {
        if (!isPintleError(error, 'BAD_REQUEST')) throw error;
        takesLists = false;
      }
    const one = async (object: NewObject<T>): Promise<PintleError | undefined> => {
      try {
        await create(type, object, options);
        return undefined;
      } catch (error) {
        if (!isPintleError(error)) throw error;
        return error;
      }
    };
    return Promise.all(objects.map(one));
  };
}

async function allPages<T extends KubernetesObject>(
  page: (type: ResourceType<T>, options: ListOptions) => Promise<ObjectList<T>>,
  type: ResourceType<T>,
  options: ListOptions,
): Promise<ObjectList<T>> {
  // "Exact" has no pages of its own revision after the first; the API forbids the match beside a continue token.
  const first = await page(type, { ...options, limit: pageSize });
  const items = [...first.items];
  let token = first.continue;
  while (token !== undefined) {
    const { resourceVersion: _version, resourceVersionMatch: _match, ...selectors } = options;
    const next = await page(type, { ...selectors, limit: pageSize, continue: token });
    for (const item of next.items) items.push(item);
    token = next.continue;
  }
  return { items, resourceVersion: first.resourceVersion };
}

/** Items of a foreign server's list lack their type. */
function listOf<T extends KubernetesObject>(type: ResourceType<T>, wire: WireList<T>): ObjectList<T> {
  const items = wire.items ?? [];
  const { resourceVersion = '', continue: token, remainingItemCount } = wire.metadata ?? {};
  return {
    items: items.every((item) => item.kind !== undefined) ? items : items.map((item) => withType(type, item) as T),
    resourceVersion,
    continue: token === '' ? undefined : token,
    remainingItemCount,
  };
}

function withType(type: ResourceType, object: object) {
  return { apiVersion: type.group === '' ? type.version : `${type.group}/${type.version}`, kind: type.kind, ...object };
}

function written<T>(answer: Answer, options: WriteOptions | undefined): T {
  warnings(answer, options);
  return answer.body as T;
}

function warnings(answer: Answer, options: WriteOptions | undefined): void {
  const { warn } = options ?? {};
  const header = answer.headers['warning'];
  if (warn === undefined || header === undefined) return;
  for (const match of String(header).matchAll(/299 \S+ "((?:[^"\\]|\\.)*)"/g))
    warn((match[1] ?? '').replace(/\\(.)/g, '$1'));
}
