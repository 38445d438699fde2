/** From what a client sent to a draft: the right kind, known fields only, right types, defaults filled in. */
import type { Cause, KubernetesObject, WriteOptions } from '../../../kernel/contract/index.ts';
import type { ManagedFieldsEntry } from '../../../kernel/contract/kubernetes.ts';
import { isObject, own, type JsonObject } from '../../../kernel/machinery/json-value.ts';
import { fillInDefaults } from '../../../kernel/machinery/schema/defaults.ts';
import { schemaOf } from '../../../kernel/machinery/schema/schema.ts';
import { checkShape } from '../../../kernel/machinery/schema/validate.ts';
import { badRequest, invalid } from './api-errors.ts';
import type { Resource } from './catalog.ts';
import type { Stored } from './engine.ts';
import { copyJson } from './state/frozen-json.ts';

export interface Shaped {
  /** A mutable draft. */
  readonly object: KubernetesObject;
  /** What the schema alone finds wrong; the strategy may find more. */
  readonly causes: readonly Cause[];
  /** Server-side apply has settled who owns which field. */
  readonly owned?: { readonly by: ManagedFieldsEntry[] | undefined };
}

/** Refuses an object of another kind or version than the resource's. */
export function checkKind(apiVersion: string, kind: string, object: KubernetesObject): void {
  if (typeof object !== 'object' || object === null || Array.isArray(object)) {
    throw badRequest(`expected an object of kind ${kind}`);
  }
  if (object.apiVersion && object.apiVersion !== apiVersion) {
    throw badRequest(
      `the API version in the data (${object.apiVersion}) does not match the expected API version (${apiVersion})`,
    );
  }
  if (object.kind && object.kind !== kind) {
    throw badRequest(`the kind in the data (${object.kind}) does not match the expected kind (${kind})`);
  }
}

function reportUnknown(kind: string, apiVersion: string, unknown: readonly string[], options: WriteOptions): void {
  if (unknown.length === 0 || (options.fieldValidation ?? 'Ignore') === 'Ignore') return;
  if (options.fieldValidation === 'Warn') {
    for (const field of unknown) options.warn?.(field);
    return;
  }
  throw badRequest(
    `${kind} in version "${apiVersion.slice(apiVersion.indexOf('/') + 1)}" cannot be handled as a ${kind}: strict decoding error: ${unknown.join(', ')}`,
  );
}

/** Any typed body, also of a subresource. */
function shapeBody(
  type: { readonly apiVersion: string; readonly kind: string; readonly schemaType: string | undefined },
  input: unknown,
  options: WriteOptions,
): Shaped {
  // With a schema, checking it makes the copy.
  const sent = (type.schemaType ? input : copyJson(input)) as KubernetesObject;
  checkKind(type.apiVersion, type.kind, sent);
  const { apiVersion: _apiVersion, kind: _kind, metadata, ...rest } = sent;
  const named = { apiVersion: type.apiVersion, kind: type.kind, metadata: metadata ?? {}, ...rest };
  if (!type.schemaType) return { object: named as KubernetesObject, causes: [] };
  const { object, causes, unknownFields } = checkShape(type.schemaType, named);
  reportUnknown(type.kind, type.apiVersion, unknownFields, options);
  // Rules and defaults may count on what is required being there.
  const isIncomplete = causes.some((cause) => cause.reason === 'FieldValueRequired');
  if (!isIncomplete) fillInDefaults(type.schemaType, object);
  const draft = object as unknown as KubernetesObject;
  draft.metadata ??= {} as KubernetesObject['metadata'];
  return { object: draft, causes };
}

/**
 * A patch of the status, which may touch metadata too: when all else is the stored object's own, it has been checked, and
 * `takeStatus` takes nothing of it. Undefined: it is not so, and `shape` has to look at everything.
 */
export function shapeStatus(
  resource: Stored,
  patched: unknown,
  shown: KubernetesObject,
  options: WriteOptions,
): Shaped | undefined {
  const { kind, schemaType } = resource.served;
  const schema = schemaType === undefined ? undefined : schemaOf(schemaType);
  if (!resource.storage.strategy.statusStandsAlone || resource.view || !schema || !isObject(patched)) return undefined;
  const { metadata, status, ...others } = patched;
  if (!isObject(metadata) || !isObject(status)) return undefined;
  const stored = shown as unknown as JsonObject;
  for (const key of Object.keys(others)) if (others[key] !== own(stored, key)) return undefined;
  const { apiVersion } = resource;
  const { object, causes, unknownFields } = checkShape(schema.key, { apiVersion, kind, metadata, status });
  const found = causes.filter(({ field }) => !Object.hasOwn(others, field));
  reportUnknown(kind, apiVersion, unknownFields, options);
  if (found.some(({ reason }) => reason === 'FieldValueRequired'))
    throw invalid(resource.served, shown.metadata.name, found);
  for (const name of ['metadata', 'status']) {
    const type = schema.byName.get(name)?.type;
    const part = object[name];
    if (type?.kind === 'ref' && isObject(part)) fillInDefaults(type.ref, part);
  }
  return { object: { ...others, ...object } as unknown as KubernetesObject, causes: found };
}

export function shape(resource: Resource, input: unknown, options: WriteOptions): Shaped {
  const { kind, schemaType } = resource.served;
  const shaped = shapeBody({ apiVersion: resource.apiVersion, kind, schemaType }, input, options);
  if (shaped.causes.some((cause) => cause.reason === 'FieldValueRequired')) {
    throw invalid(resource.served, shaped.object.metadata.name ?? '', shaped.causes);
  }
  // Always there in what the API answers, as the types of objects promise: a node without wishes has an empty spec.
  const hasSpec =
    schemaType !== undefined && schemaOf(schemaType)?.fields.some(({ name, struct }) => name === 'spec' && struct);
  const draft = shaped.object as KubernetesObject & { spec?: unknown };
  if (hasSpec) draft.spec ??= {};
  return shaped;
}

/** Like `shapeBody`, for bodies that have no rules beside their schema. */
export function bodyOf<T extends KubernetesObject>(
  type: { readonly group: string; readonly apiVersion: string; readonly kind: string; readonly schemaType: string },
  input: unknown,
  options: WriteOptions,
): T {
  const { object, causes } = shapeBody(type, input, options);
  if (causes.length > 0) {
    throw invalid({ group: type.group, resource: '', kind: type.kind }, object.metadata.name ?? '', causes);
  }
  return object as T;
}
