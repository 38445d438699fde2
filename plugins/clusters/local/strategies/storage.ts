/**
 * Persistent volumes, claims and storage classes, with what Kubernetes' admission plugins do to them: DefaultStorageClass,
 * StorageObjectInUseProtection, PersistentVolumeClaimResize.
 */
import type { KubernetesObject } from '../../../../kernel/contract/index.ts';
import type { PersistentVolume, PersistentVolumeClaim, StorageClass } from '../../../../kernel/contract/kubernetes.ts';
import { parseQuantity } from '../../../../kernel/machinery/quantity.ts';
import { resources } from '../../../../kernel/machinery/resources.ts';
import { classNameOf, defaultClass } from '../../../../kernel/machinery/volumes/claims.ts';
import { claimProtection, volumeProtection } from '../../../../kernel/machinery/volumes/names.ts';
import { forbidden } from '../api-errors.ts';
import { sameJson } from '../state/frozen-json.ts';
import type { FieldErrors } from '../validation/field-errors.ts';
import { validateSelector } from '../validation/selector.ts';
import { admitClaimLimits } from './limit-range.ts';
import type { Strategy, StrategyContext } from './strategy.ts';

const accessModes = ['ReadOnlyMany', 'ReadWriteMany', 'ReadWriteOnce', 'ReadWriteOncePod'];
const volumeModes = ['Block', 'Filesystem'];

function protect({ metadata }: KubernetesObject, finalizer: string): void {
  metadata.finalizers = [...new Set([...(metadata.finalizers ?? []), finalizer])];
}

function validateAccessModes(modes: readonly string[] | undefined, errors: FieldErrors): void {
  if (!modes?.length) errors.required('spec.accessModes', 'at least 1 access mode is required');
  for (const mode of modes ?? []) errors.oneOf('spec.accessModes', mode, accessModes);
  if (modes?.includes('ReadWriteOncePod') && modes.length > 1)
    errors.forbidden('spec.accessModes', 'may not use ReadWriteOncePod with other access modes');
}

/** Whether the class of a bound claim lets it grow is asked when it wants to. */
function admitResize(claim: PersistentVolumeClaim, current: PersistentVolumeClaim, context: StrategyContext): void {
  const size = claim.spec?.resources?.requests?.['storage'];
  const before = current.spec.resources?.requests?.['storage'];
  if (size === undefined || before === undefined || parseQuantity(size) <= parseQuantity(before)) return;
  const refuse = (why: string) => forbidden(resources.persistentVolumeClaims, claim.metadata.name, why);
  if (!current.spec.volumeName || current.status?.phase !== 'Bound')
    throw refuse('Only bound persistent volume claims can be expanded');
  const name = classNameOf(current);
  const found = name ? context.find(resources.storageClasses, { name }) : undefined;
  if (found?.allowVolumeExpansion !== true) {
    throw refuse(
      'only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize',
    );
  }
}

export const persistentVolumeClaim: Strategy<PersistentVolumeClaim> = {
  initialStatus: () => ({ phase: 'Pending' }),
  prepareCreate(claim, context) {
    protect(claim, claimProtection);
    admitClaimLimits(claim, context);
    if (!claim.spec || classNameOf(claim) !== undefined) return;
    const name = defaultClass(context.all(resources.storageClasses))?.metadata.name;
    if (name !== undefined) claim.spec.storageClassName = name;
  },
  prepareUpdate: admitResize,
  validate({ spec }, errors) {
    validateAccessModes(spec.accessModes, errors);
    errors.oneOf('spec.volumeMode', spec.volumeMode, volumeModes);
    const storage = spec.resources?.requests?.['storage'];
    if (storage === undefined) errors.required('spec.resources[storage]');
    else if (parseQuantity(storage) <= 0)
      errors.invalid('spec.resources[storage]', storage, 'must be greater than zero');
    validateSelector(spec.selector, 'spec.selector', errors);
  },
  validateUpdate({ spec }, { spec: old }, errors) {
    const fixed = ({
      resources: _r,
      volumeAttributesClassName: _v,
      volumeName: _n,
      storageClassName: _s,
      ...rest
    }: typeof spec) => rest;
    const isBoundAnew = old.volumeName && spec.volumeName !== old.volumeName;
    const isMoved = old.storageClassName !== undefined && spec.storageClassName !== old.storageClassName;
    if (!sameJson(fixed(spec), fixed(old)) || isBoundAnew || isMoved) {
      errors.forbidden(
        'spec',
        'spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims',
      );
    }
    const [size, before] = [spec.resources?.requests?.['storage'], old.resources?.requests?.['storage']];
    if (size !== undefined && before !== undefined && parseQuantity(size) < parseQuantity(before)) {
      errors.forbidden('spec.resources.requests.storage', 'field can not be less than status.capacity');
    }
  },
};

const volumeBasics = new Set([
  'capacity',
  'accessModes',
  'claimRef',
  'persistentVolumeReclaimPolicy',
  'storageClassName',
  'mountOptions',
  'volumeMode',
  'nodeAffinity',
  'volumeAttributesClassName',
]);

function volumeSources(spec: PersistentVolume['spec']): [string, unknown][] {
  return Object.entries(spec).filter(([name, value]) => !volumeBasics.has(name) && value !== undefined);
}

export const persistentVolume: Strategy<PersistentVolume> = {
  initialStatus: () => ({ phase: 'Pending' }),
  prepareCreate: (volume) => protect(volume, volumeProtection),
  validate({ spec }, errors) {
    validateAccessModes(spec.accessModes, errors);
    errors.oneOf('spec.volumeMode', spec.volumeMode, volumeModes);
    const storage = spec.capacity?.['storage'];
    if (storage === undefined) errors.required('spec.capacity');
    else if (parseQuantity(storage) <= 0)
      errors.invalid('spec.capacity[storage]', storage, 'must be greater than zero');
    if (spec.local && !spec.nodeAffinity?.required)
      errors.required('spec.nodeAffinity', 'Local volume requires node affinity');
    for (const [name, path] of [
      ['hostPath', spec.hostPath?.path],
      ['local', spec.local?.path],
    ] as const) {
      if (!spec[name]) continue;
      if (!path) errors.required(`spec.${name}.path`);
      else if (path.split('/').includes('..')) errors.invalid(`spec.${name}.path`, path, "must not contain '..'");
    }
    if (spec.nodeAffinity?.required && !spec.nodeAffinity.required.nodeSelectorTerms?.length)
      errors.required('spec.nodeAffinity.required.nodeSelectorTerms', 'must have at least one node selector term');
    const [source, ...more] = volumeSources(spec);
    if (!source) errors.required('spec', 'must specify a volume type');
    for (const [name] of more) errors.forbidden(`spec.${name}`, 'may not specify more than 1 volume type');
    errors.oneOf('spec.persistentVolumeReclaimPolicy', spec.persistentVolumeReclaimPolicy, [
      'Delete',
      'Recycle',
      'Retain',
    ]);
  },
  validateUpdate({ spec }, { spec: old }, errors) {
    if (!sameJson(Object.fromEntries(volumeSources(spec)), Object.fromEntries(volumeSources(old)))) {
      errors.forbidden('spec.persistentvolumesource', 'spec.persistentvolumesource is immutable after creation');
    }
    if (old.nodeAffinity && !sameJson(spec.nodeAffinity, old.nodeAffinity))
      errors.invalid('spec.nodeAffinity', spec.nodeAffinity ?? null, 'field is immutable');
    if (spec.volumeMode !== old.volumeMode)
      errors.invalid('spec.volumeMode', spec.volumeMode ?? null, 'field is immutable');
  },
};

export const storageClass: Strategy<StorageClass> = {
  validate(object, errors) {
    if (!object.provisioner) errors.required('provisioner');
    errors.oneOf('reclaimPolicy', object.reclaimPolicy, ['Delete', 'Retain']);
    errors.oneOf('volumeBindingMode', object.volumeBindingMode, ['Immediate', 'WaitForFirstConsumer']);
  },
  validateUpdate(object, current, errors) {
    for (const name of ['parameters', 'provisioner', 'reclaimPolicy', 'volumeBindingMode'] as const) {
      if (!sameJson(object[name], current[name])) errors.forbidden(name, 'updates to ' + name + ' are forbidden.');
    }
  },
};
