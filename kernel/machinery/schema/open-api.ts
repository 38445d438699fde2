/**
 * OpenAPI v3 as kubectl reads it: an index of group versions, and for each a document with the paths (which query
 * parameters a write takes) and the schemas (merge keys for apply, fields for explain). Made on demand, kept as long as
 * the list of resources lives.
 */
import { createHash } from 'node:crypto';
import type { ServedResource, ServedSubresource } from '../../contract/index.ts';
import { joinApiVersion, kindType } from './kinds.ts';
import { apiRelease } from './schema.ts';
import { ComponentSet, isKnownType, reference, type OpenApiObject } from './open-api-schemas.ts';

export interface GroupVersion {
  readonly group: string;
  readonly version: string;
}

/** "api/v1", "apis/apps/v1" */
export function openApiPath({ group, version }: GroupVersion): string {
  return group === '' ? `api/${version}` : `apis/${group}/${version}`;
}

/** Changes when the document does: clients cache by it. */
export function openApiHash(groupVersion: GroupVersion, resources: readonly ServedResource[]): string {
  const hash = createHash('sha256').update(apiRelease());
  hash.update(JSON.stringify(resources.filter((each) => isOf(groupVersion, each))));
  return hash.digest('hex').slice(0, 32).toUpperCase();
}

/** The answer to GET /openapi/v3. */
export function openApiIndex(groupVersions: readonly GroupVersion[], resources: readonly ServedResource[]): object {
  const paths: OpenApiObject = {};
  for (const each of groupVersions) {
    const path = openApiPath(each);
    paths[path] = { serverRelativeURL: `/openapi/v3/${path}?hash=${openApiHash(each, resources)}` };
  }
  return { paths };
}

const isOf = (wanted: GroupVersion, resource: ServedResource): boolean =>
  resource.group === wanted.group && resource.version === wanted.version;

const query = (name: string, type: 'string' | 'boolean' | 'integer'): OpenApiObject => ({
  name,
  in: 'query',
  schema: { type, uniqueItems: true },
});
const writeParameters = [
  query('dryRun', 'string'),
  query('fieldManager', 'string'),
  query('fieldValidation', 'string'),
];
const listParameters = [
  query('allowWatchBookmarks', 'boolean'),
  query('continue', 'string'),
  query('fieldSelector', 'string'),
  query('labelSelector', 'string'),
  query('limit', 'integer'),
  query('resourceVersion', 'string'),
  query('resourceVersionMatch', 'string'),
  query('sendInitialEvents', 'boolean'),
  query('timeoutSeconds', 'integer'),
  query('watch', 'boolean'),
];
const deleteParameters = [
  query('dryRun', 'string'),
  query('gracePeriodSeconds', 'integer'),
  query('orphanDependents', 'boolean'),
  query('propagationPolicy', 'string'),
];
const parameters: Readonly<Record<string, readonly OpenApiObject[]>> = {
  list: listParameters,
  post: writeParameters,
  put: writeParameters,
  patch: [...writeParameters, query('force', 'boolean')],
  delete: deleteParameters,
  deletecollection: [...deleteParameters, ...listParameters],
};

const patchTypes = [
  'application/apply-patch+yaml',
  'application/json-patch+json',
  'application/merge-patch+json',
  'application/strategic-merge-patch+json',
];
const mediaTypes = ['application/json', 'application/yaml'];

/** From a verb of discovery to the method of a path and the action that Kubernetes names it. */
const collectionVerbs: readonly (readonly [verb: string, method: string, action: string])[] = [
  ['list', 'get', 'list'],
  ['create', 'post', 'post'],
  ['deletecollection', 'delete', 'deletecollection'],
];
const itemVerbs: readonly (readonly [verb: string, method: string, action: string])[] = [
  ['get', 'get', 'get'],
  ['update', 'put', 'put'],
  ['patch', 'patch', 'patch'],
  ['delete', 'delete', 'delete'],
];
const subresourceVerbs = [...itemVerbs, ['create', 'post', 'post'] as const];

const pathParameter = (name: string): OpenApiObject => ({
  name,
  in: 'path',
  required: true,
  schema: { type: 'string', uniqueItems: true },
});
const pascal = (text: string): string =>
  text.replaceAll(/(?:^|[^A-Za-z0-9])([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());

interface Subject {
  readonly kind: { readonly group: string; readonly version: string; readonly kind: string };
  /** Component of the object, and of the answer to `list`. */
  readonly component: string;
  readonly list: string;
}

class DocumentBuilder {
  readonly #components = new ComponentSet();
  readonly #paths: OpenApiObject = {};
  readonly #groupVersion: GroupVersion;
  readonly #tag: string;

  constructor(groupVersion: GroupVersion) {
    this.#groupVersion = groupVersion;
    this.#tag = `${groupVersion.group.split('.')[0] || 'core'}_${groupVersion.version}`;
  }

  build(): object {
    return {
      openapi: '3.0.0',
      info: { title: 'Pintle', version: apiRelease() },
      paths: this.#paths,
      components: { schemas: this.#components.schemas },
    };
  }

  resource(resource: ServedResource): void {
    const { group, version, kind, namespaced } = resource;
    const component = this.#component(resource.schemaType, { group, version, kind });
    const listType = resource.schemaType === undefined ? undefined : `${resource.schemaType}List`;
    const list = listType !== undefined && isKnownType(listType) ? this.#components.add(listType) : component;
    const subject: Subject = { kind: { group, version, kind }, component, list };
    const base = `/${openApiPath(this.#groupVersion)}`;
    const collection = namespaced
      ? `${base}/namespaces/{namespace}/${resource.resource}`
      : `${base}/${resource.resource}`;
    const scope = namespaced ? [pathParameter('namespace')] : [];
    this.#path(collection, scope, collectionVerbs, resource.verbs, subject, resource.resource);
    this.#path(
      `${collection}/{name}`,
      [...scope, pathParameter('name')],
      itemVerbs,
      resource.verbs,
      subject,
      resource.resource,
    );
    if (namespaced && resource.verbs.includes('list'))
      this.#path(
        `${base}/${resource.resource}`,
        [],
        collectionVerbs,
        ['list'],
        subject,
        `${resource.resource}ForAllNamespaces`,
      );
    for (const sub of resource.subresources)
      this.#subresource(`${collection}/{name}/${sub.name}`, scope, sub, resource);
  }

  #subresource(path: string, scope: readonly OpenApiObject[], sub: ServedSubresource, parent: ServedResource): void {
    const kind = { group: sub.group, version: sub.version, kind: sub.kind };
    const type = kindType(joinApiVersion(sub.group, sub.version), sub.kind);
    const component = this.#component(type, kind);
    const all = [...scope, pathParameter('name')];
    this.#path(
      path,
      all,
      subresourceVerbs,
      sub.verbs,
      { kind, component, list: component },
      `${parent.resource}-${sub.name}`,
    );
  }

  #component(type: string | undefined, kind: Subject['kind']): string {
    if (type !== undefined && isKnownType(type)) return this.#components.add(type);
    const reversed = kind.group === '' ? 'core' : kind.group.split('.').reverse().join('.');
    return this.#components.addOpaque(`${reversed}.${kind.version}.${kind.kind}`, kind);
  }

  #path(
    path: string,
    own: readonly OpenApiObject[],
    known: readonly (readonly [verb: string, method: string, action: string])[],
    verbs: readonly string[],
    subject: Subject,
    name: string,
  ): void {
    const item: OpenApiObject = {};
    for (const [verb, method, action] of known) {
      if (verbs.includes(verb)) item[method] = this.#operation(action, subject, name);
    }
    if (Object.keys(item).length === 0) return;
    this.#paths[path] = { ...item, parameters: [...own, query('pretty', 'string')] };
  }

  #operation(action: string, subject: Subject, name: string): OpenApiObject {
    const answer =
      action === 'list'
        ? subject.list
        : action.startsWith('delete')
          ? this.#components.add('meta/v1.Status')
          : subject.component;
    const content = Object.fromEntries(mediaTypes.map((type) => [type, { schema: reference(answer) }]));
    const body = this.#body(action, subject);
    return {
      operationId: `${action}${pascal(this.#tag)}${pascal(name)}`,
      tags: [this.#tag],
      ...(parameters[action] && { parameters: parameters[action] }),
      ...(body && { requestBody: body }),
      responses: {
        [action === 'post' ? '201' : '200']: { description: 'OK', content },
        '401': { description: 'Unauthorized' },
      },
      'x-kubernetes-action': action,
      'x-kubernetes-group-version-kind': subject.kind,
    };
  }

  #body(action: string, subject: Subject): OpenApiObject | undefined {
    if (action === 'get' || action === 'list') return undefined;
    if (action === 'patch') {
      const patch = this.#components.addPlain('io.k8s.apimachinery.pkg.apis.meta.v1.Patch', { type: 'object' });
      return {
        required: true,
        content: Object.fromEntries(patchTypes.map((type) => [type, { schema: reference(patch) }])),
      };
    }
    const isDelete = action.startsWith('delete');
    const component = isDelete ? this.#components.add('meta/v1.DeleteOptions') : subject.component;
    return { ...(!isDelete && { required: true }), content: { '*/*': { schema: reference(component) } } };
  }
}

const documents = new WeakMap<readonly ServedResource[], Map<string, object>>();

/** The answer to GET /openapi/v3/apis/GROUP/VERSION; undefined when no resource is of this group version. */
export function openApiDocument(groupVersion: GroupVersion, resources: readonly ServedResource[]): object | undefined {
  const path = openApiPath(groupVersion);
  let known = documents.get(resources);
  if (!known) documents.set(resources, (known = new Map()));
  const cached = known.get(path);
  if (cached) return cached;
  const own = resources.filter((each) => isOf(groupVersion, each));
  if (own.length === 0) return undefined;
  const builder = new DocumentBuilder(groupVersion);
  for (const resource of own) builder.resource(resource);
  const document = builder.build();
  known.set(path, document);
  return document;
}
