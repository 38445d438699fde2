/** Server-side apply: merges what one manager wants into what is there, or creates it. */
import { isPintleError } from '../../../../kernel/contract/index.ts';
import type { KubernetesObject, ObjectKey, WriteOptions } from '../../../../kernel/contract/index.ts';
import { applyPatch } from '../../../../kernel/machinery/apply/apply.ts';
import { checkShape } from '../../../../kernel/machinery/schema/validate.ts';
import { badRequest, conflict, invalid, notFound } from '../api-errors.ts';
import type { Engine, Stored } from '../engine.ts';
import { checkKind, shape } from '../shape.ts';
import type { Shaped } from '../shape.ts';
import { copyJson } from '../state/frozen-json.ts';
import { change } from './change.ts';
import type { Edit, Scope } from './change.ts';
import { create } from './create.ts';
import { trackOptions } from './ownership.ts';
import type { Patch } from './patch.ts';

/** Create and delete may take turns between our look and our write; more often than this is no accident. */
const maximumTries = 8;

/** What the manager wants, in canonical form, without defaults: a field that it does not name is not its own. */
function configOf(resource: Stored, key: ObjectKey, body: unknown): KubernetesObject {
  const sent = copyJson(body) as KubernetesObject;
  const { apiVersion, served } = resource;
  checkKind(apiVersion, served.kind, sent);
  const metadata: unknown = sent.metadata ?? {};
  if (typeof metadata !== 'object' || Array.isArray(metadata)) throw badRequest('metadata must be an object');
  const { name = key.name, namespace } = metadata as Partial<KubernetesObject['metadata']>;
  if (name !== key.name) {
    throw badRequest(`the name of the object (${name}) does not match the name on the URL (${key.name})`);
  }
  if (namespace && namespace !== key.namespace) {
    throw badRequest('the namespace of the provided object does not match the namespace sent on the request');
  }
  const place = served.namespaced ? { namespace: key.namespace } : {};
  const named = { ...sent, apiVersion, kind: served.kind, metadata: { ...metadata, name, ...place } };
  if (!served.schemaType) return named as KubernetesObject;
  const { object, unknownFields } = checkShape(served.schemaType, named);
  if (unknownFields.length > 0) {
    // Nobody can own what has no place in the type: refused whatever the field validation.
    const fields = unknownFields.map((text) => `.${/"(.*)"/.exec(text)?.[1] ?? text}: field not declared in schema`);
    const full = key.namespace ? `${key.namespace}/${name}` : `/${name}`;
    throw badRequest(
      `failed to create typed patch object (${full}; ${apiVersion}, Kind=${served.kind}): ${fields.join(', ')}`,
    );
  }
  return object as unknown as KubernetesObject;
}

export function requireManager(options: WriteOptions): void {
  if (options.fieldManager) return;
  throw invalid({ group: 'meta.k8s.io', resource: '', kind: 'PatchOptions' }, '', [
    { reason: 'FieldValueRequired', field: 'fieldManager', message: 'Required value: is required for apply patch' },
  ]);
}

/** The edit that merges `config` into the current object, with its managedFields. */
export function applyEdit(
  engine: Engine,
  resource: Stored,
  config: KubernetesObject,
  force: boolean,
  options: WriteOptions,
): Edit {
  return (shown): Shaped => {
    const track = { ...trackOptions(engine, resource, options), force };
    const { object } = applyPatch(shown, config, track);
    const shaped = shape(resource, object, { fieldValidation: 'Ignore' });
    return { ...shaped, owned: { by: object.metadata.managedFields } };
  };
}

/** `edit`: makes of the merge what the subresource wants. */
export async function apply(
  engine: Engine,
  resource: Stored,
  key: ObjectKey,
  patch: Patch,
  options: WriteOptions,
  target: { readonly scope: Scope | undefined; readonly edit: (edit: Edit) => Edit },
): Promise<KubernetesObject> {
  requireManager(options);
  const config = configOf(resource, key, patch.body);
  const force = patch.force ?? false;
  const path = engine.key(resource, key);
  for (let tries = 1; ; tries++) {
    const exists = resource.storage.collection.get(path) !== undefined;
    try {
      if (exists) {
        const edit = target.edit(applyEdit(engine, resource, config, force, options));
        return await change(engine, resource, path, edit, options, target.scope);
      }
      if (options.subresource) throw notFound(resource.served, key.name);
      return await createApplied(engine, resource, config, force, options);
    } catch (error) {
      const isRace = isPintleError(error, exists ? 'NOT_FOUND' : 'ALREADY_EXISTS');
      if (!isRace || options.subresource || tries >= maximumTries) throw error;
    }
  }
}

function createApplied(
  engine: Engine,
  resource: Stored,
  config: KubernetesObject,
  force: boolean,
  options: WriteOptions,
): Promise<KubernetesObject> {
  const { uid, name, resourceVersion } = config.metadata;
  if (uid || resourceVersion) {
    const pinned = uid ? `uid ${uid}` : `resourceVersion ${resourceVersion}`;
    throw conflict(resource.served, name, `the applied object specifies ${pinned}, and no existing object was found`);
  }
  const { object } = applyPatch<KubernetesObject>(undefined, config, {
    ...trackOptions(engine, resource, options),
    force,
  });
  return create(engine, resource, object, options, { by: object.metadata.managedFields });
}
