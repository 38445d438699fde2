/** The pod of a Job: of an Indexed one with its index in name, host name, label, annotation and environment. */
import type { NewObject } from '../../../kernel/contract/index.ts';
import type { Container, EnvVar, Job, Pod } from '../../../kernel/contract/kubernetes.ts';
import { podOfTemplate } from '../../../kernel/machinery/replicas/pod-of-template.ts';
import { failureCountKey, ignoredFailureCountKey, indexKey, trackingFinalizer } from './job-names.ts';

/** Failures of the pods that had this index before. */
export interface IndexHistory {
  readonly failures: number;
  readonly ignored: number;
}

const indexVariable = 'JOB_COMPLETION_INDEX';

export function jobPod(job: Job, index?: number, history?: IndexHistory): NewObject<Pod> {
  const pod = podOfTemplate(job, job.spec.template);
  const finalizers = [...(pod.metadata.finalizers ?? []), trackingFinalizer];
  if (index === undefined) return { ...pod, metadata: { ...pod.metadata, finalizers } };
  const text = String(index);
  const counts = history === undefined ? {} : indexAnnotations(history);
  const { containers, initContainers } = pod.spec;
  return {
    ...pod,
    metadata: {
      ...pod.metadata,
      finalizers,
      generateName: `${job.metadata.name}-${text}-`,
      labels: { ...pod.metadata.labels, [indexKey]: text },
      annotations: { ...pod.metadata.annotations, [indexKey]: text, ...counts },
    },
    spec: {
      ...pod.spec,
      hostname: pod.spec.hostname ?? hostname(job.metadata.name, text),
      containers: containers.map(withIndex),
      ...(initContainers === undefined ? {} : { initContainers: initContainers.map(withIndex) }),
    },
  };
}

function indexAnnotations({ failures, ignored }: IndexHistory): Record<string, string> {
  return {
    [failureCountKey]: String(failures),
    ...(ignored === 0 ? {} : { [ignoredFailureCountKey]: String(ignored) }),
  };
}

/** A label of DNS: 63 characters. */
function hostname(name: string, index: string): string {
  return `${name.slice(0, 62 - index.length)}-${index}`;
}

function withIndex(container: Container): Container {
  const { env = [] } = container;
  if (env.some(({ name }) => name === indexVariable)) return container;
  const variable: EnvVar = {
    name: indexVariable,
    valueFrom: { fieldRef: { apiVersion: 'v1', fieldPath: `metadata.annotations['${indexKey}']` } },
  };
  return { ...container, env: [...env, variable] };
}

/** Undefined for a pod without a usable index. */
export function indexOf(pod: Pod): number | undefined {
  const text = pod.metadata.annotations?.[indexKey];
  return text !== undefined && /^\d{1,9}$/.test(text) ? Number(text) : undefined;
}

export function indexHistory({ metadata }: Pod): IndexHistory {
  return {
    failures: count(metadata.annotations?.[failureCountKey]),
    ignored: count(metadata.annotations?.[ignoredFailureCountKey]),
  };
}

function count(text: string | undefined): number {
  return text !== undefined && /^\d{1,9}$/.test(text) ? Number(text) : 0;
}
