/** What every object's metadata must satisfy, when it is created and when it is changed. */
import type { KubernetesObject } from '../../../../kernel/contract/index.ts';
import { labelKeyFaults, labelValueFaults } from '../../../../kernel/machinery/label-syntax.ts';
import type { FieldErrors } from './field-errors.ts';
import { labelFaults, nameFaults } from './names.ts';
import type { NameRule } from './names.ts';

const maximumAnnotationBytes = 256 * 1024;
/** Finalizers without a domain that Kubernetes itself knows. */
const knownFinalizers = new Set(['kubernetes', 'orphan', 'foregroundDeletion']);

export function validateLabels(
  field: string,
  labels: Readonly<Record<string, string>> | undefined,
  errors: FieldErrors,
): void {
  if (!labels) return;
  for (const [key, value] of Object.entries(labels)) {
    errors.faults(field, key, labelKeyFaults(key));
    errors.faults(field, value, labelValueFaults(value));
  }
}

function validateAnnotations(annotations: Readonly<Record<string, string>> | undefined, errors: FieldErrors): void {
  if (!annotations) return;
  let total = 0;
  for (const [key, value] of Object.entries(annotations)) {
    errors.faults('metadata.annotations', key, labelKeyFaults(key.toLowerCase()));
    total += Buffer.byteLength(key) + Buffer.byteLength(value);
  }
  if (total > maximumAnnotationBytes) errors.tooLong('metadata.annotations', maximumAnnotationBytes);
}

function validateFinalizers(finalizers: readonly string[] | undefined, errors: FieldErrors): void {
  for (const [index, finalizer] of (finalizers ?? []).entries()) {
    const field = `metadata.finalizers[${index}]`;
    const faults = labelKeyFaults(finalizer);
    errors.faults('metadata.finalizers', finalizer, faults);
    if (faults.length === 0 && !finalizer.includes('/') && !knownFinalizers.has(finalizer)) {
      errors.invalid(field, finalizer, 'name is neither a standard finalizer name nor is it fully qualified');
    }
  }
  if (finalizers?.includes('orphan') && finalizers.includes('foregroundDeletion')) {
    errors.invalid('metadata.finalizers', finalizers, 'finalizer orphan and foregroundDeletion cannot be both set');
  }
}

function validateOwners(object: KubernetesObject, errors: FieldErrors): void {
  const owners = object.metadata.ownerReferences;
  if (!owners) return;
  let controller: string | undefined;
  for (const [index, owner] of owners.entries()) {
    const field = `metadata.ownerReferences[${index}]`;
    if (!owner.apiVersion) errors.invalid(`${field}.apiVersion`, owner.apiVersion, 'version must not be empty');
    if (!owner.kind) errors.invalid(`${field}.kind`, owner.kind, 'must not be empty');
    if (!owner.name) errors.invalid(`${field}.name`, owner.name, 'must not be empty');
    if (!owner.uid) errors.invalid(`${field}.uid`, owner.uid, 'must not be empty');
    if (!owner.controller) continue;
    if (controller !== undefined) {
      errors.invalid(
        'metadata.ownerReferences',
        owner.name,
        `Only one reference can have Controller set to true. Found "true" in references for ${controller} and ${owner.name}`,
      );
    }
    controller = owner.name;
  }
}

export function validateMeta(object: KubernetesObject, rule: NameRule, namespaced: boolean, errors: FieldErrors): void {
  const { metadata } = object;
  if (metadata.generateName) {
    // A generated name may end in anything, so that only the beginning is checked.
    errors.faults(
      'metadata.generateName',
      metadata.generateName,
      nameFaults[rule](`${metadata.generateName.slice(0, 58)}x`),
    );
  }
  if (!metadata.name) errors.required('metadata.name', 'name or generateName is required');
  else errors.faults('metadata.name', metadata.name, nameFaults[rule](metadata.name));
  if (namespaced) {
    if (!metadata.namespace) errors.required('metadata.namespace');
    else errors.faults('metadata.namespace', metadata.namespace, labelFaults(metadata.namespace));
  } else if (metadata.namespace) errors.forbidden('metadata.namespace', 'not allowed on this type');
  validateMutableMeta(object, errors);
}

/** What can be wrong after a change, too. */
export function validateMutableMeta(object: KubernetesObject, errors: FieldErrors): void {
  validateLabels('metadata.labels', object.metadata.labels, errors);
  validateAnnotations(object.metadata.annotations, errors);
  validateFinalizers(object.metadata.finalizers, errors);
  validateOwners(object, errors);
}
