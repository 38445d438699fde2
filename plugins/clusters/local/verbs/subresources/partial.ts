/** Subresources whose body is the parent itself, of which they take one part: the rest of the body is ignored. */
import type { KubernetesObject } from '../../../../../kernel/contract/index.ts';
import type {
  CertificateSigningRequest,
  Container,
  EphemeralContainer,
  Namespace,
  Pod,
} from '../../../../../kernel/contract/kubernetes.ts';
import { invalid } from '../../api-errors.ts';
import type { Stored } from '../../engine.ts';
import { copyJson, sameJson } from '../../state/frozen-json.ts';
import { FieldErrors } from '../../validation/field-errors.ts';
import { labelFaults } from '../../validation/names.ts';

/** Puts the part of `wanted` into a copy of `current`. */
export type PartialMerge = (resource: Stored, wanted: KubernetesObject, current: KubernetesObject) => KubernetesObject;

function base<T extends KubernetesObject>(wanted: KubernetesObject, current: KubernetesObject): T {
  const draft = copyJson(current) as T;
  if (wanted.metadata.resourceVersion) draft.metadata.resourceVersion = wanted.metadata.resourceVersion;
  if (wanted.metadata.uid) draft.metadata.uid = wanted.metadata.uid;
  return draft;
}

function bumpGeneration(draft: KubernetesObject, isChanged: boolean): void {
  if (isChanged && draft.metadata.generation !== undefined) draft.metadata.generation++;
}

const finalize: PartialMerge = (_resource, wanted, current) => {
  const draft = base<Namespace>(wanted, current);
  const { finalizers } = (wanted as Namespace).spec ?? {};
  draft.spec = { ...draft.spec };
  if (finalizers?.length) draft.spec.finalizers = finalizers;
  else delete draft.spec.finalizers;
  return draft;
};

const approval: PartialMerge = (_resource, wanted, current) => {
  const draft = base<CertificateSigningRequest>(wanted, current);
  const { conditions } = (wanted as CertificateSigningRequest).status ?? {};
  draft.status = { ...draft.status };
  if (conditions?.length) draft.status.conditions = conditions;
  else delete draft.status.conditions;
  return draft;
};

function checkEphemeral(pod: Pod, wanted: readonly EphemeralContainer[], errors: FieldErrors): void {
  const old = pod.spec.ephemeralContainers ?? [];
  for (const [index, before] of old.entries()) {
    if (!wanted[index] || wanted[index].name !== before.name) {
      errors.forbidden('spec.ephemeralContainers', 'existing ephemeral containers may not be removed');
    } else if (!sameJson(wanted[index], before)) {
      errors.forbidden(
        `spec.ephemeralContainers[${index}]`,
        `existing ephemeral containers "${before.name}" may not be changed`,
      );
    }
  }
  const names = new Set(
    [...pod.spec.containers, ...(pod.spec.initContainers ?? [])].map((container) => container.name),
  );
  for (const [index, container] of wanted.entries()) {
    const field = `spec.ephemeralContainers[${index}]`;
    if (!container.name) errors.required(`${field}.name`);
    else if (names.has(container.name)) errors.duplicate(`${field}.name`, container.name);
    else errors.faults(`${field}.name`, container.name, labelFaults(container.name));
    names.add(container.name);
    if (!container.image) errors.required(`${field}.image`);
    for (const name of [
      'ports',
      'livenessProbe',
      'readinessProbe',
      'startupProbe',
      'lifecycle',
      'resources',
    ] as const) {
      const value = container[name];
      if (value !== undefined && Object.keys(value).length > 0) {
        errors.forbidden(`${field}.${name}`, 'cannot be set for an Ephemeral Container');
      }
    }
    const target = container.targetContainerName;
    if (target && !pod.spec.containers.some((other) => other.name === target)) {
      errors.notFound(`${field}.targetContainerName`, target);
    }
  }
}

const ephemeralContainers: PartialMerge = (resource, wanted, current) => {
  const draft = base<Pod>(wanted, current);
  const list = (wanted as Pod).spec?.ephemeralContainers ?? [];
  const errors = new FieldErrors();
  checkEphemeral(current as Pod, list, errors);
  if (!errors.isEmpty) throw invalid(resource.served, current.metadata.name, errors.causes);
  if (list.length > 0) draft.spec.ephemeralContainers = list;
  bumpGeneration(draft, !sameJson(draft.spec, (current as Pod).spec));
  return draft;
};

/** Only resources and resizePolicy of containers that exist; what the node makes of it is its own. */
const resize: PartialMerge = (_resource, wanted, current) => {
  const draft = base<Pod>(wanted, current);
  const take = (containers: readonly Container[] | undefined, from: readonly Container[] | undefined) => {
    for (const container of containers ?? []) {
      const other = from?.find(({ name }) => name === container.name);
      if (other?.resources) container.resources = other.resources;
      if (other?.resizePolicy) container.resizePolicy = other.resizePolicy;
    }
  };
  take(draft.spec.containers, (wanted as Pod).spec?.containers);
  take(draft.spec.initContainers, (wanted as Pod).spec?.initContainers);
  bumpGeneration(draft, !sameJson(draft.spec, (current as Pod).spec));
  return draft;
};

export const partialSubresources: Readonly<Record<string, PartialMerge>> = {
  'core/namespaces/finalize': finalize,
  'core/pods/ephemeralcontainers': ephemeralContainers,
  'core/pods/resize': resize,
  'certificates.k8s.io/certificatesigningrequests/approval': approval,
};
