/** Deployments, ReplicaSets, StatefulSets, DaemonSets, ReplicationControllers: what makes pods from a template. */
import type {
  DaemonSet,
  Deployment,
  PodTemplateSpec,
  ReplicaSet,
  ReplicationController,
  RollingUpdateDaemonSet,
  StatefulSet,
} from '../../../../kernel/contract/kubernetes.ts';
import { labelSelector, mapSelector } from '../../../../kernel/machinery/selectors.ts';
import { copyJson, sameJson } from '../state/frozen-json.ts';
import type { FieldErrors } from '../validation/field-errors.ts';
import { validateLabels } from '../validation/object-meta.ts';
import { validatePodSpec } from '../validation/pod-spec.ts';
import { validateWorkloadSelector } from '../validation/selector.ts';
import type { Strategy } from './strategy.ts';

/** `policies`: restart policies that this kind of workload can live with. */
export function validateTemplate(
  template: PodTemplateSpec | undefined,
  field: string,
  policies: readonly string[],
  errors: FieldErrors,
  moreVolumes: readonly string[] = [],
): void {
  if (!template?.spec) {
    errors.required(`${field}.spec.containers`);
    return;
  }
  validateLabels(`${field}.labels`, template.metadata?.labels, errors);
  validatePodSpec(template.spec, `${field}.spec`, errors, moreVolumes);
  if (template.spec.restartPolicy) errors.oneOf(`${field}.spec.restartPolicy`, template.spec.restartPolicy, policies);
  if (template.spec.ephemeralContainers?.length) {
    errors.forbidden(`${field}.spec.ephemeralContainers`, 'ephemeral containers not allowed in pod template');
  }
}

function validateCounts(
  spec: { readonly replicas?: number; readonly minReadySeconds?: number; readonly revisionHistoryLimit?: number },
  errors: FieldErrors,
): void {
  errors.nonNegative('spec.replicas', spec.replicas);
  errors.nonNegative('spec.minReadySeconds', spec.minReadySeconds);
  errors.nonNegative('spec.revisionHistoryLimit', spec.revisionHistoryLimit);
}

function selectorIsImmutable<T extends { spec: { selector?: object } }>(
  object: T,
  current: T,
  errors: FieldErrors,
): void {
  if (!sameJson(object.spec.selector, current.spec.selector)) {
    errors.invalid('spec.selector', object.spec.selector ?? null, 'field is immutable');
  }
}

/** A number of pods or a share of them; undefined when it is neither. */
function share(value: number | string | undefined): number | undefined {
  if (typeof value === 'number') return value;
  const match = /^(\d+)%$/.exec(value ?? '');
  return match ? Number(match[1]) : undefined;
}

function validateShare(field: string, value: number | string | undefined, errors: FieldErrors): void {
  if (value === undefined) return;
  const number = share(value);
  if (number === undefined) {
    errors.invalid(
      field,
      value,
      "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')",
    );
  } else if (number < 0) errors.invalid(field, value, 'must be greater than or equal to 0');
  else if (field.endsWith('maxUnavailable') && typeof value === 'string' && number > 100) {
    errors.invalid(field, value, 'must not be greater than 100%');
  }
}

function validateRolling(
  field: string,
  rolling: { readonly maxUnavailable?: number | string; readonly maxSurge?: number | string } | undefined,
  errors: FieldErrors,
): void {
  if (!rolling) return;
  const { maxUnavailable, maxSurge } = rolling;
  validateShare(`${field}.maxUnavailable`, maxUnavailable, errors);
  validateShare(`${field}.maxSurge`, maxSurge, errors);
  if (share(maxUnavailable) === 0 && share(maxSurge) === 0) {
    errors.invalid(`${field}.maxUnavailable`, maxUnavailable, 'may not be 0 when `maxSurge` is 0');
  }
}

/** By the surge or by what may be missing: a node has one pod more, or one less, and not both. */
function validateDaemonRolling(rolling: RollingUpdateDaemonSet | undefined, errors: FieldErrors): void {
  if (!rolling) return;
  const field = 'spec.updateStrategy.rollingUpdate';
  const { maxUnavailable, maxSurge } = rolling;
  validateShare(`${field}.maxUnavailable`, maxUnavailable, errors);
  validateShare(`${field}.maxSurge`, maxSurge, errors);
  const [missing, more] = [share(maxUnavailable), share(maxSurge)];
  if (missing === 0 && more === 0) errors.required(`${field}.maxUnavailable`, 'cannot be 0 when maxSurge is 0');
  else if (missing && more)
    errors.invalid(`${field}.maxSurge`, maxSurge, 'may not be set when maxUnavailable is non-zero');
}

function validateStatefulRolling({ spec }: StatefulSet, errors: FieldErrors): void {
  const { type, rollingUpdate } = spec.updateStrategy ?? {};
  errors.oneOf('spec.updateStrategy.type', type, ['OnDelete', 'RollingUpdate']);
  if (!rollingUpdate) return;
  const field = 'spec.updateStrategy.rollingUpdate';
  if (type === 'OnDelete') errors.invalid(field, rollingUpdate, "only allowed for updateStrategy 'RollingUpdate'");
  errors.nonNegative(`${field}.partition`, rollingUpdate.partition);
  const { maxUnavailable } = rollingUpdate;
  validateShare(`${field}.maxUnavailable`, maxUnavailable, errors);
  if (share(maxUnavailable) === 0) errors.invalid(`${field}.maxUnavailable`, maxUnavailable, 'cannot be 0');
}

const replicaFields = { fieldNames: ['status.replicas'] } as const;

export const deployment: Strategy<Deployment> = {
  countsGeneration: true,
  initialStatus: () => ({}),
  validate({ spec }, errors) {
    validateCounts(spec, errors);
    validateWorkloadSelector(spec.selector, spec.template, errors);
    validateTemplate(spec.template, 'spec.template', ['Always'], errors);
    const { type, rollingUpdate } = spec.strategy ?? {};
    errors.oneOf('spec.strategy.type', type, ['Recreate', 'RollingUpdate']);
    if (type === 'Recreate' && rollingUpdate) {
      errors.forbidden('spec.strategy.rollingUpdate', "may not be specified when strategy `type` is 'Recreate'");
    } else validateRolling('spec.strategy.rollingUpdate', rollingUpdate, errors);
    errors.nonNegative('spec.progressDeadlineSeconds', spec.progressDeadlineSeconds);
    if (spec.progressDeadlineSeconds !== undefined && spec.progressDeadlineSeconds <= (spec.minReadySeconds ?? 0)) {
      errors.invalid(
        'spec.progressDeadlineSeconds',
        spec.progressDeadlineSeconds,
        'must be greater than minReadySeconds',
      );
    }
  },
  validateUpdate: selectorIsImmutable,
  scale: { selector: (object) => labelSelector((object as Deployment).spec.selector).toString() },
};

export const replicaSet: Strategy<ReplicaSet> = {
  countsGeneration: true,
  initialStatus: () => ({ replicas: 0 }),
  validate({ spec }, errors) {
    validateCounts(spec, errors);
    validateWorkloadSelector(spec.selector, spec.template, errors);
    validateTemplate(spec.template, 'spec.template', ['Always'], errors);
  },
  validateUpdate: selectorIsImmutable,
  scale: { selector: (object) => labelSelector((object as ReplicaSet).spec.selector).toString() },
  ...replicaFields,
  field: ({ status }) => String(status?.replicas ?? 0),
};

const statefulSetMutable = [
  'replicas',
  'ordinals',
  'template',
  'updateStrategy',
  'revisionHistoryLimit',
  'persistentVolumeClaimRetentionPolicy',
  'minReadySeconds',
];

export const statefulSet: Strategy<StatefulSet> = {
  countsGeneration: true,
  initialStatus: () => ({ replicas: 0, availableReplicas: 0 }),
  validate(object, errors) {
    const { spec } = object;
    validateCounts(spec, errors);
    validateWorkloadSelector(spec.selector, spec.template, errors);
    // Each pod gets a volume for each claim that is made for it.
    const claims = (spec.volumeClaimTemplates ?? []).map(({ metadata }) => metadata?.name ?? '');
    validateTemplate(spec.template, 'spec.template', ['Always'], errors, claims);
    errors.oneOf('spec.podManagementPolicy', spec.podManagementPolicy, ['OrderedReady', 'Parallel']);
    validateStatefulRolling(object, errors);
    for (const when of ['whenDeleted', 'whenScaled'] as const) {
      const policy = spec.persistentVolumeClaimRetentionPolicy?.[when];
      errors.oneOf(`spec.persistentVolumeClaimRetentionPolicy.${when}`, policy, ['Delete', 'Retain']);
    }
    errors.nonNegative('spec.ordinals.start', spec.ordinals?.start);
  },
  validateUpdate(object, current, errors) {
    const draft = copyJson(object.spec) as unknown as Record<string, unknown>;
    const old = current.spec as unknown as Record<string, unknown>;
    for (const name of statefulSetMutable) {
      if (old[name] === undefined) delete draft[name];
      else draft[name] = old[name];
    }
    if (!sameJson(draft, old)) {
      errors.forbidden(
        'spec',
        "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden",
      );
    }
  },
  scale: { selector: (object) => labelSelector((object as StatefulSet).spec.selector).toString() },
};

export const daemonSet: Strategy<DaemonSet> = {
  countsGeneration: true,
  initialStatus: () => ({
    currentNumberScheduled: 0,
    numberMisscheduled: 0,
    desiredNumberScheduled: 0,
    numberReady: 0,
  }),
  validate({ spec }, errors) {
    validateCounts(spec, errors);
    validateWorkloadSelector(spec.selector, spec.template, errors);
    validateTemplate(spec.template, 'spec.template', ['Always'], errors);
    errors.oneOf('spec.updateStrategy.type', spec.updateStrategy?.type, ['OnDelete', 'RollingUpdate']);
    validateDaemonRolling(spec.updateStrategy?.rollingUpdate, errors);
  },
  validateUpdate: selectorIsImmutable,
};

export const replicationController: Strategy<ReplicationController> = {
  countsGeneration: true,
  defaultPropagation: 'Orphan',
  initialStatus: () => ({ replicas: 0 }),
  validate({ spec }, errors) {
    validateCounts(spec, errors);
    validateLabels('spec.selector', spec.selector, errors);
    if (!Object.keys(spec.selector ?? {}).length) errors.required('spec.selector');
    else if (!mapSelector(spec.selector).matches(spec.template?.metadata?.labels)) {
      errors.invalid(
        'spec.template.metadata.labels',
        spec.template?.metadata?.labels ?? {},
        '`selector` does not match template `labels`',
      );
    }
    validateTemplate(spec.template, 'spec.template', ['Always'], errors);
  },
  scale: { selector: (object) => mapSelector((object as ReplicationController).spec.selector).toString() },
  ...replicaFields,
  field: ({ status }) => String(status?.replicas ?? 0),
};
