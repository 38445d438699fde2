/** The verbs on resources: from a parsed request to a call of the cluster, and its answer in the form asked for. */
import type {
  Cluster,
  ClusterServer,
  Logger,
  ObjectKey,
  PatchKind,
  ServedResource,
} from '../../../kernel/contract/index.ts';
import { isPintleError } from '../../../kernel/contract/index.ts';
import { assertAllowed, resourceAccess } from './authorization.ts';
import { createEach, wantsEach } from './create-each.ts';
import { decodeBody, decodeJson, mediaTypeOf, unsupportedMediaType } from './decode-body.ts';
import { decodeObject, heedProblems, isHeeded } from './decode-object.ts';
import type { Exchange } from './http-exchange.ts';
import { linkSignals } from './linked-signal.ts';
import { negotiate } from './negotiation.ts';
import {
  collectionOptions,
  deleteOptions,
  forceOf,
  getOptions,
  invalidOptions,
  writeOptions,
} from './query-options.ts';
import { logUnexpected } from './log-unexpected.ts';
import { readBody } from './read-body.ts';
import type { ResourceTarget } from './request-target.ts';
import { sendJson, sendList, sendObject } from './send-answer.ts';
import { badRequest, createdStatus, deletedStatus, methodNotAllowed } from './status.ts';
import { includeObjectOf } from './table.ts';
import type { WatchBacklog } from './watch-backlog.ts';
import { streamWatch } from './watch-stream.ts';

export interface ResourceContext {
  readonly cluster: Cluster;
  readonly log: Logger;
  readonly now: () => number;
  readonly bodyTimeoutMs: number;
  /** Aborts when the server stops: watches end then. */
  readonly stopping: AbortSignal;
  readonly server: ClusterServer;
  readonly watchBacklog: WatchBacklog;
  readonly onWatchEvents: (resource: ServedResource, count: number) => void;
}

/** Lower-case API verb of a request, before it is known whether the resource has it. */
export function verbOf(method: string, target: ResourceTarget, query: URLSearchParams): string {
  const isCollection = target.name === undefined;
  switch (method) {
    case 'GET': {
      if (!isCollection) return 'get';
      const watch = query.get('watch');
      return watch === null || watch === '0' || watch.toLowerCase() === 'false' ? 'list' : 'watch';
    }
    case 'POST':
      return 'create';
    case 'PUT':
      return 'update';
    case 'PATCH':
      return 'patch';
    case 'DELETE':
      return isCollection ? 'deletecollection' : 'delete';
    default:
      return method.toLowerCase();
  }
}

export async function handleResource(
  exchange: Exchange,
  target: ResourceTarget,
  verb: string,
  context: ResourceContext,
): Promise<void> {
  const { resource, subresource, name, namespace } = target;
  const verbs = subresource === undefined ? resource.verbs : subresource.verbs;
  if (!verbs.includes(verb)) throw methodNotAllowed();
  // A namespaced object is named within a namespace; only reading goes across all of them.
  const isAcross = resource.namespaced && namespace === undefined;
  if (isAcross && verb !== 'list' && verb !== 'watch') throw methodNotAllowed();
  const hasName = name !== undefined;
  const needsName = subresource !== undefined || !['list', 'watch', 'create', 'deletecollection'].includes(verb);
  if (hasName !== needsName) throw methodNotAllowed();
  const key: ObjectKey = { namespace: resource.namespaced ? namespace : undefined, name: name ?? '' };
  switch (verb) {
    case 'get':
      return getOne(exchange, target, key, context);
    case 'list':
      return listAll(exchange, target, context);
    case 'watch':
      return watchAll(exchange, target, context);
    case 'create':
      return createOne(exchange, target, key, context);
    case 'update':
      return updateOne(exchange, target, key, context);
    case 'patch':
      return patchOne(exchange, target, key, context);
    case 'delete':
      return deleteOne(exchange, target, key, context);
    case 'deletecollection':
      return deleteAll(exchange, target, context);
    default:
      throw methodNotAllowed();
  }
}

async function getOne(
  exchange: Exchange,
  { resource, subresource }: ResourceTarget,
  key: ObjectKey,
  { cluster, now }: ResourceContext,
): Promise<void> {
  const output = negotiate(exchange.request.headers.accept);
  const object = await cluster.get(resource, key, {
    ...getOptions(exchange.query),
    subresource: subresource?.name,
    user: exchange.user,
  });
  await sendObject(exchange, 200, object, { resource, output, now: now() });
}

async function listAll(
  exchange: Exchange,
  { resource, namespace }: ResourceTarget,
  { cluster, now }: ResourceContext,
): Promise<void> {
  const output = negotiate(exchange.request.headers.accept);
  const { list } = collectionOptions(exchange.query);
  // Columns are made from whole objects.
  const fields = output.as === 'object' ? list.fields : undefined;
  const answer = await cluster.list(resource, { ...list, fields, namespace, user: exchange.user });
  await sendList(exchange, answer, { resource, output, now: now() });
}

async function watchAll(
  exchange: Exchange,
  { resource, namespace }: ResourceTarget,
  context: ResourceContext,
): Promise<void> {
  const output = negotiate(exchange.request.headers.accept);
  const { stream } = collectionOptions(exchange.query);
  const include = includeObjectOf(exchange.query);
  const ending = linkSignals(exchange.signal, context.stopping);
  // Clients that name no time get one between 30 and 60 minutes, so that they do not all come back at once.
  const timeoutSeconds = stream.timeoutSeconds ?? 1800 + Math.floor(Math.random() * 1800);
  try {
    const events = context.cluster.watch(
      resource,
      {
        ...stream,
        fields: output.as === 'object' ? stream.fields : undefined,
        ...{ timeoutSeconds, namespace, user: exchange.user },
      },
      ending.signal,
    );
    await streamWatch(exchange, events, {
      type: resource,
      output,
      include,
      now: context.now,
      backlog: context.watchBacklog,
      onEvents: (count) => context.onWatchEvents(resource, count),
      onFailure: (error) => logUnexpected(error, `watch failed: ${exchange.path}`, context.log),
    });
  } finally {
    ending.unlink();
  }
}

async function createOne(
  exchange: Exchange,
  target: ResourceTarget,
  key: ObjectKey,
  context: ResourceContext,
): Promise<void> {
  const { resource, subresource } = target;
  const { cluster, now } = context;
  const output = negotiate(exchange.request.headers.accept);
  const write = writeOptions(exchange.query, 'CreateOptions');
  const bytes = await readBody(exchange.request, { timeoutMs: context.bodyTimeoutMs });
  if (subresource === undefined && wantsEach(exchange.query))
    return createEach(exchange, target, bytes, write, context);
  const expected = subresource ?? resource;
  const object = await decodeObject(
    exchange,
    bytes,
    {
      group: expected.group,
      version: expected.version,
      kind: expected.kind,
      namespace: key.namespace,
      name: undefined,
    },
    write.fieldValidation,
  );
  if (subresource !== undefined) {
    // The body of a subresource names its parent, or nothing.
    const given = object.metadata.name;
    if (given !== undefined && given !== '' && given !== key.name && subresource.kind !== 'TokenRequest')
      throw badRequest(`the name of the object (${given}) does not match the name on the URL (${key.name})`);
  }
  const created = await cluster.create(resource, object, {
    ...write,
    user: exchange.user,
    warn: exchange.warn,
    ...(subresource === undefined ? {} : { subresource: subresource.name, parent: key }),
  });
  if (subresource !== undefined && (subresource.kind === 'Binding' || subresource.kind === 'Eviction'))
    return sendJson(exchange, 201, createdStatus);
  await sendObject(exchange, 201, created, { resource, output, now: now() });
}

async function updateOne(
  exchange: Exchange,
  { resource, subresource }: ResourceTarget,
  key: ObjectKey,
  { cluster, now, bodyTimeoutMs }: ResourceContext,
): Promise<void> {
  const output = negotiate(exchange.request.headers.accept);
  const write = writeOptions(exchange.query, 'UpdateOptions');
  const bytes = await readBody(exchange.request, { timeoutMs: bodyTimeoutMs });
  const expected = subresource ?? resource;
  const object = await decodeObject(
    exchange,
    bytes,
    { group: expected.group, version: expected.version, kind: expected.kind, namespace: key.namespace, name: key.name },
    write.fieldValidation,
  );
  const updated = await cluster.update(resource, object, {
    ...write,
    fieldManager: write.fieldManager ?? clientName(exchange),
    subresource: subresource?.name,
    user: exchange.user,
    warn: exchange.warn,
  });
  await sendObject(exchange, 200, updated, { resource, output, now: now() });
}

const patchKinds: Readonly<Record<string, PatchKind>> = {
  'application/json-patch+json': 'json',
  'application/merge-patch+json': 'merge',
  'application/strategic-merge-patch+json': 'strategic',
  'application/apply-patch+yaml': 'apply',
};

async function patchOne(
  exchange: Exchange,
  { resource, subresource }: ResourceTarget,
  key: ObjectKey,
  { cluster, server, now, bodyTimeoutMs }: ResourceContext,
): Promise<void> {
  const output = negotiate(exchange.request.headers.accept);
  const mediaType = mediaTypeOf(exchange.request.headers['content-type']);
  const kind = Object.hasOwn(patchKinds, mediaType) ? patchKinds[mediaType] : undefined;
  if (kind === undefined) throw unsupportedMediaType(Object.keys(patchKinds));
  const write = writeOptions(exchange.query, 'PatchOptions');
  const force = forceOf(exchange.query);
  if (kind === 'apply' && write.fieldManager === undefined)
    throw invalidOptions('PatchOptions', [
      { reason: 'FieldValueRequired', field: 'fieldManager', message: 'Required value: is required for apply patch' },
    ]);
  if (kind !== 'apply' && force !== undefined)
    throw invalidOptions('PatchOptions', [
      { reason: 'FieldValueForbidden', field: 'force', message: 'Forbidden: may not be specified for non-apply patch' },
    ]);
  const bytes = await readBody(exchange.request, { timeoutMs: bodyTimeoutMs });
  const text = bytes.toString();
  // kubectl sends JSON under the apply media type; only what is not JSON needs the YAML parser.
  const isYaml = kind === 'apply' && !/^\s*\{/.test(text);
  const { value, strictProblems } = isYaml
    ? await decodeBody(bytes, 'application/yaml', resource.kind)
    : decodeJson(text, resource.kind, isHeeded(write.fieldValidation));
  if (kind === 'json' ? !Array.isArray(value) : typeof value !== 'object' || value === null || Array.isArray(value))
    throw badRequest(
      `the body of a ${mediaType} patch must be ${kind === 'json' ? 'a list of operations' : 'an object'}`,
    );
  heedProblems(exchange, strictProblems, write.fieldValidation, subresource ?? resource);
  const existed = kind !== 'apply' || subresource !== undefined || (await exists(cluster, resource, key));
  // Applying what is not there makes it, and that is another right.
  if (!existed && exchange.user !== undefined)
    assertAllowed(
      server,
      exchange.user,
      resourceAccess({ resource, subresource, namespace: key.namespace, name: key.name }, 'create', exchange.query),
    );
  const patched = await cluster.patch(
    resource,
    key,
    { kind, body: value, force },
    {
      ...write,
      fieldManager: write.fieldManager ?? clientName(exchange),
      subresource: subresource?.name,
      user: exchange.user,
      warn: exchange.warn,
    },
  );
  await sendObject(exchange, existed ? 200 : 201, patched, { resource, output, now: now() });
}

/** "kubectl" of "kubectl/v1.33.0 (linux/amd64)": owns what a client changes that names no field manager. */
function clientName(exchange: Exchange): string | undefined {
  const name = (exchange.request.headers['user-agent'] ?? '').split('/')[0]?.replaceAll(/[^\x20-\x7e]/g, '');
  return name === undefined || name === '' ? undefined : name.slice(0, 128);
}

async function exists(cluster: Cluster, resource: ServedResource, key: ObjectKey): Promise<boolean> {
  try {
    await cluster.get(resource, key);
    return true;
  } catch (error) {
    if (isPintleError(error, 'NOT_FOUND')) return false;
    throw error;
  }
}

/** Kinds whose delete answers with the object itself even when it is gone, as kube-apiserver does. */
const returnedWhenGone = new Set([
  '/pods',
  '/services',
  '/serviceaccounts',
  '/podtemplates',
  '/persistentvolumes',
  '/persistentvolumeclaims',
  '/resourcequotas',
  'storage.k8s.io/storageclasses',
  'storage.k8s.io/csidrivers',
  'storage.k8s.io/csinodes',
  'storage.k8s.io/volumeattachments',
]);

async function deleteOne(
  exchange: Exchange,
  { resource }: ResourceTarget,
  key: ObjectKey,
  { cluster, now, bodyTimeoutMs }: ResourceContext,
): Promise<void> {
  const output = negotiate(exchange.request.headers.accept);
  const options = deleteOptions(exchange.query, await optionsBody(exchange, bodyTimeoutMs));
  const { object, gone } = await cluster.delete(resource, key, {
    ...options,
    user: exchange.user,
    warn: exchange.warn,
  });
  // RFC 7240; cluster `remote` asks so, to learn what the answer's form alone does not tell.
  const prefersObject = String(exchange.request.headers['prefer'] ?? '').includes('return=representation');
  if (prefersObject) exchange.response.setHeader('pintle-gone', String(gone));
  if (!gone || prefersObject || returnedWhenGone.has(`${resource.group}/${resource.resource}`))
    return sendObject(exchange, 200, object, { resource, output, now: now() });
  const uid = object.metadata.uid;
  await sendJson(
    exchange,
    200,
    deletedStatus({
      name: key.name,
      ...(resource.group === '' ? {} : { group: resource.group }),
      kind: resource.resource,
      ...(uid === undefined ? {} : { uid }),
    }),
  );
}

async function deleteAll(
  exchange: Exchange,
  { resource, namespace }: ResourceTarget,
  { cluster, now, bodyTimeoutMs }: ResourceContext,
): Promise<void> {
  const output = negotiate(exchange.request.headers.accept);
  const { list } = collectionOptions(exchange.query);
  const options = deleteOptions(exchange.query, await optionsBody(exchange, bodyTimeoutMs));
  const answer = await cluster.deleteCollection(resource, {
    ...list,
    ...options,
    namespace,
    user: exchange.user,
    warn: exchange.warn,
  });
  await sendList(exchange, answer, { resource, output, now: now() });
}

async function optionsBody(exchange: Exchange, timeoutMs: number): Promise<unknown> {
  const bytes = await readBody(exchange.request, { timeoutMs });
  if (bytes.length === 0) return undefined;
  const { value } = await decodeBody(
    bytes,
    mediaTypeOf(exchange.request.headers['content-type']),
    'DeleteOptions',
    false,
  );
  return value ?? undefined;
}
