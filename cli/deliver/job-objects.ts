/** What a delivered job is to the cluster: a Deployment and a Service of its name. Server-side apply keeps others' fields. */
import { createHash } from 'node:crypto';
import type {
  Deployment,
  DeploymentSpec,
  PodTemplateSpec,
  ReplicaSet,
  Service,
} from '../../kernel/contract/kubernetes.ts';
import type { NewObject } from '../../kernel/contract/index.ts';
import type { Code } from './code.ts';

export const fieldManager = 'pintle-deliver';
export const managedLabels = { 'app.kubernetes.io/managed-by': fieldManager } as const;
export const jobLabel = 'pintle.dev/job';
/** On the Deployment: which delivery it is at; another delivery meanwhile shows by it. */
export const deliveryAnnotation = 'pintle.dev/delivery';
/** On a ReplicaSet: this revision was rolled out whole once. */
export const stoodAnnotation = 'pintle.dev/stood';
const codeAnnotation = 'pintle.dev/code';
const causeAnnotation = 'kubernetes.io/change-cause';
const codeFolder = '/code';

export interface Job {
  readonly namespace: string;
  readonly name: string;
}

export interface Delivery extends Job {
  readonly image: string;
  readonly code: Code | undefined;
  /** Empty: the image's own. */
  readonly command: readonly string[];
  readonly port: number | undefined;
}

const labelsOf = (job: Job): Record<string, string> => ({ ...managedLabels, [jobLabel]: job.name });

export function podTemplate(delivery: Delivery): PodTemplateSpec {
  const { code, port, command } = delivery;
  return {
    metadata: {
      labels: { [jobLabel]: delivery.name },
      ...(code === undefined ? {} : { annotations: { [codeAnnotation]: code.id } }),
    },
    spec: {
      containers: [
        {
          name: 'main',
          image: delivery.image,
          ...(command.length === 0 ? {} : { command: [...command] }),
          ...(code === undefined
            ? {}
            : { workingDir: codeFolder, volumeMounts: [{ name: 'code', mountPath: codeFolder, readOnly: true }] }),
          ...(port === undefined
            ? {}
            : { ports: [{ containerPort: port }], readinessProbe: { tcpSocket: { port }, periodSeconds: 1 } }),
        },
      ],
      ...(code === undefined ? {} : { volumes: [{ name: 'code', projected: { sources: [...code.sources] } }] }),
    },
  };
}

/** A Deployment that never has fewer ready pods than asked for while it rolls. */
export function jobDeployment(
  job: Job,
  template: PodTemplateSpec,
  options: { readonly replicas: number; readonly timeoutSeconds: number; readonly cause: string },
): NewObject<Deployment> {
  const spec: DeploymentSpec = {
    replicas: options.replicas,
    progressDeadlineSeconds: options.timeoutSeconds,
    revisionHistoryLimit: 10,
    selector: { matchLabels: { [jobLabel]: job.name } },
    strategy: { type: 'RollingUpdate', rollingUpdate: { maxUnavailable: 0, maxSurge: 1 } },
    template,
  };
  return {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: {
      namespace: job.namespace,
      name: job.name,
      labels: labelsOf(job),
      annotations: { [deliveryAnnotation]: deliveryId(template), [causeAnnotation]: options.cause },
    },
    spec,
  };
}

export function jobService(job: Job, port: number, expose: boolean): NewObject<Service> {
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { namespace: job.namespace, name: job.name, labels: labelsOf(job) },
    spec: {
      type: expose ? 'NodePort' : 'ClusterIP',
      selector: { [jobLabel]: job.name },
      ports: [{ port, targetPort: port }],
    },
  };
}

export const deliveryId = (template: PodTemplateSpec): string =>
  createHash('sha256').update(JSON.stringify(template)).digest('hex').slice(0, 12);

export interface Revision {
  readonly revision: number;
  readonly image: string;
  readonly code: string | undefined;
  readonly cause: string;
  readonly created: string;
  readonly ready: number;
  /** It was rolled out whole once. */
  readonly stood: boolean;
  readonly template: PodTemplateSpec;
}

/** Oldest first. */
export function revisionsOf(deployment: Deployment, replicaSets: readonly ReplicaSet[]): readonly Revision[] {
  return replicaSets
    .filter((each) => isRevisionOf(each, deployment))
    .map((each) => ({
      revision: revisionOf(each),
      image: each.spec.template?.spec?.containers[0]?.image ?? '',
      code: each.spec.template?.metadata?.annotations?.[codeAnnotation],
      cause: each.metadata.annotations?.[causeAnnotation] ?? '',
      created: each.metadata.creationTimestamp ?? '',
      ready: each.status?.readyReplicas ?? 0,
      stood: hasStood(each),
      template: withoutHash(each.spec.template!),
    }))
    .sort((a, b) => a.revision - b.revision);
}

export const revisionOf = (object: Deployment | ReplicaSet): number =>
  Number(object.metadata.annotations?.['deployment.kubernetes.io/revision'] ?? 0);

export const isRevisionOf = (set: ReplicaSet, deployment: Deployment): boolean =>
  set.metadata.ownerReferences?.some((owner) => owner.uid === deployment.metadata.uid) ?? false;

export const hasStood = (set: ReplicaSet): boolean => set.metadata.annotations?.[stoodAnnotation] === 'true';

/** The names of ConfigMaps that hold the code of a template. */
export const codeMapsOf = (template: PodTemplateSpec | undefined): readonly string[] =>
  (template?.spec?.volumes ?? []).flatMap(
    (volume) => volume.projected?.sources?.flatMap((source) => source.configMap?.name ?? []) ?? [],
  );

function withoutHash(template: PodTemplateSpec): PodTemplateSpec {
  const { 'pod-template-hash': _hash, ...labels } = template.metadata?.labels ?? {};
  return { ...template, metadata: { ...template.metadata, labels } };
}
