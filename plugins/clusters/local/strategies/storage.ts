/** Persistent volumes, claims and storage classes. */
import type { PersistentVolume, PersistentVolumeClaim, StorageClass } from '../../../../kernel/contract/kubernetes.ts';
import { parseQuantity } from '../../../../kernel/machinery/quantity.ts';
import { sameJson } from '../state/frozen-json.ts';
import { validateSelector } from '../validation/selector.ts';
import type { Strategy } from './strategy.ts';

const accessModes = ['ReadOnlyMany', 'ReadWriteMany', 'ReadWriteOnce', 'ReadWriteOncePod'];

export const persistentVolumeClaim: Strategy<PersistentVolumeClaim> = {
  initialStatus: () => ({ phase: 'Pending' }),
  validate({ spec }, errors) {
    if (!spec.accessModes?.length) errors.required('spec.accessModes', 'at least 1 access mode is required');
    for (const mode of spec.accessModes ?? []) errors.oneOf('spec.accessModes', mode, accessModes);
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
  validate({ spec }, errors) {
    if (!spec.accessModes?.length) errors.required('spec.accessModes');
    for (const mode of spec.accessModes ?? []) errors.oneOf('spec.accessModes', mode, accessModes);
    if (spec.capacity?.['storage'] === undefined) errors.required('spec.capacity');
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
    if (spec.volumeMode !== old.volumeMode)
      errors.invalid('spec.volumeMode', spec.volumeMode ?? null, 'field is immutable');
  },
};

export const storageClass: Strategy<StorageClass> = {
  validate(object, errors) {
    if (!object.provisioner) errors.required('provisioner');
    errors.oneOf('reclaimPolicy', object.reclaimPolicy, ['Delete', 'Retain']);
  },
  validateUpdate(object, current, errors) {
    for (const name of ['parameters', 'provisioner', 'reclaimPolicy', 'volumeBindingMode'] as const) {
      if (!sameJson(object[name], current[name])) errors.forbidden(name, 'updates to ' + name + ' are forbidden.');
    }
  },
};
