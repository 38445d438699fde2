/** The scale subresource: an autoscaling/v1 Scale that stands for spec.replicas of its parent. */
import type { KubernetesObject, WriteOptions } from '../../../../../kernel/contract/index.ts';
import type { Scale } from '../../../../../kernel/contract/kubernetes.ts';
import { invalid, unknownResource } from '../../api-errors.ts';
import type { Engine, Stored } from '../../engine.ts';
import { bodyOf } from '../../shape.ts';
import { copyJson, deepFreeze } from '../../state/frozen-json.ts';
import { FieldErrors } from '../../validation/field-errors.ts';
import { applyEdit, requireManager } from '../apply.ts';
import { change } from '../change.ts';
import { applyPatch } from '../patch.ts';
import type { Patch } from '../patch.ts';

interface Scalable extends KubernetesObject {
  spec: { replicas?: number };
  status?: { replicas?: number };
}

const scaleType = {
  group: 'autoscaling',
  apiVersion: 'autoscaling/v1',
  kind: 'Scale',
  schemaType: 'autoscaling/v1.Scale',
};

const made = new WeakMap<KubernetesObject, Scale>();

/** One Scale for each revision of the parent. */
export function scaleOf(resource: Stored, parent: KubernetesObject): Scale {
  const known = made.get(parent);
  if (known) return known;
  const { strategy } = resource.storage;
  if (!strategy.scale) throw unknownResource();
  const { name, namespace, uid, resourceVersion, creationTimestamp } = parent.metadata;
  const selector = strategy.scale.selector(parent);
  const scale: Scale = {
    apiVersion: 'autoscaling/v1',
    kind: 'Scale',
    metadata: { name, ...(namespace !== undefined && { namespace }), uid, resourceVersion, creationTimestamp },
    spec: { replicas: (parent as Scalable).spec.replicas ?? 0 },
    status: { replicas: (parent as Scalable).status?.replicas ?? 0, ...(selector && { selector }) },
  };
  made.set(parent, deepFreeze(scale));
  return scale;
}

async function setScale(
  engine: Engine,
  resource: Stored,
  key: string,
  wanted: (current: Scale) => Scale,
  options: WriteOptions,
): Promise<KubernetesObject> {
  const changed = await change(
    engine,
    resource,
    key,
    (shown) => {
      const draft = copyJson(shown) as Scalable;
      const scale = wanted(scaleOf(resource, shown));
      const replicas = scale.spec?.replicas ?? 0;
      const errors = new FieldErrors();
      if (scale.metadata?.name && scale.metadata.name !== shown.metadata.name) {
        errors.invalid(
          'metadata.name',
          scale.metadata.name,
          `does not match the name on the URL (${shown.metadata.name})`,
        );
      }
      errors.range('spec.replicas', replicas, 0, 2 ** 31 - 1);
      if (!errors.isEmpty) {
        throw invalid({ group: 'autoscaling', resource: 'scales', kind: 'Scale' }, shown.metadata.name, errors.causes);
      }
      draft.spec.replicas = replicas;
      if (scale.metadata?.resourceVersion) draft.metadata.resourceVersion = scale.metadata.resourceVersion;
      if (scale.metadata?.uid) draft.metadata.uid = scale.metadata.uid;
      return { object: draft, causes: [] };
    },
    options,
    'main',
  );
  return scaleOf(resource, changed);
}

export function updateScale(
  engine: Engine,
  resource: Stored,
  key: string,
  body: unknown,
  options: WriteOptions,
): Promise<KubernetesObject> {
  return setScale(engine, resource, key, () => bodyOf<Scale>(scaleType, body, options), options);
}

/** The manager owns spec.replicas of the parent, under the subresource's name. */
async function applyScale(
  engine: Engine,
  resource: Stored,
  key: string,
  patch: Patch,
  options: WriteOptions,
): Promise<KubernetesObject> {
  requireManager(options);
  const { metadata, spec } = bodyOf<Scale>(scaleType, patch.body, options);
  const replicas = spec?.replicas;
  const errors = new FieldErrors();
  if (replicas === undefined) errors.required('spec.replicas');
  else errors.range('spec.replicas', replicas, 0, 2 ** 31 - 1);
  if (!errors.isEmpty) {
    throw invalid({ group: 'autoscaling', resource: 'scales', kind: 'Scale' }, metadata?.name ?? '', errors.causes);
  }
  const { name, uid, resourceVersion } = metadata ?? {};
  const config = {
    apiVersion: resource.apiVersion,
    kind: resource.served.kind,
    metadata: { ...(name && { name }), ...(uid && { uid }), ...(resourceVersion && { resourceVersion }) },
    spec: { replicas },
  } as unknown as KubernetesObject;
  const edit = applyEdit(engine, resource, config, patch.force ?? false, options);
  return scaleOf(resource, await change(engine, resource, key, edit, options, 'main'));
}

export function patchScale(
  engine: Engine,
  resource: Stored,
  key: string,
  patch: Patch,
  options: WriteOptions,
): Promise<KubernetesObject> {
  if (patch.kind === 'apply') return applyScale(engine, resource, key, patch, options);
  const edit = (current: Scale) => bodyOf<Scale>(scaleType, applyPatch(current, patch, scaleType.schemaType), options);
  return setScale(engine, resource, key, edit, options);
}
