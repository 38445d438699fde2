/** Who a pod of a StatefulSet is: its ordinal, and all that follows from it. */
import type { NewObject } from '../../../kernel/contract/index.ts';
import type {
  ControllerRevision,
  PersistentVolumeClaim,
  Pod,
  StatefulSet,
} from '../../../kernel/contract/kubernetes.ts';
import { podOfTemplate } from '../../../kernel/machinery/replicas/pod-of-template.ts';
import { revisionLabel, templateOf } from '../../../kernel/machinery/revisions/revision-data.ts';

const podNameLabel = 'statefulset.kubernetes.io/pod-name';
const podIndexLabel = 'apps.kubernetes.io/pod-index';

export function podName(set: StatefulSet, ordinal: number): string {
  return `${set.metadata.name}-${ordinal}`;
}

/** Undefined for a pod that cannot be one of this set's. */
export function ordinalOf(set: StatefulSet, pod: Pod): number | undefined {
  const prefix = `${set.metadata.name}-`;
  const { name } = pod.metadata;
  if (!name.startsWith(prefix)) return undefined;
  const rest = name.slice(prefix.length);
  return /^(0|[1-9]\d{0,8})$/.test(rest) ? Number(rest) : undefined;
}

/** The name of the ControllerRevision that the pod was made from. */
export function revisionOf(pod: Pod): string | undefined {
  return pod.metadata.labels?.[revisionLabel];
}

export function identityLabels(set: StatefulSet, ordinal: number): Readonly<Record<string, string>> {
  return { [podNameLabel]: podName(set, ordinal), [podIndexLabel]: String(ordinal) };
}

export function claimName(template: PersistentVolumeClaim, set: StatefulSet, ordinal: number): string {
  return `${template.metadata.name}-${podName(set, ordinal)}`;
}

export function statefulPod(set: StatefulSet, revision: ControllerRevision, ordinal: number): NewObject<Pod> {
  const name = podName(set, ordinal);
  const { metadata, spec } = podOfTemplate(set, templateOf(revision));
  const { generateName: _unused, ...rest } = metadata;
  const claims = (set.spec.volumeClaimTemplates ?? []).map((template) => ({
    name: template.metadata.name,
    persistentVolumeClaim: { claimName: claimName(template, set, ordinal) },
  }));
  const others = (spec.volumes ?? []).filter((volume) => !claims.some((claim) => claim.name === volume.name));
  const volumes = [...others, ...claims];
  const { serviceName = '' } = set.spec;
  return {
    metadata: {
      ...rest,
      name,
      labels: { ...rest.labels, ...identityLabels(set, ordinal), [revisionLabel]: revision.metadata.name },
    },
    spec: {
      ...spec,
      hostname: name,
      ...(serviceName === '' ? {} : { subdomain: serviceName }),
      ...(volumes.length === 0 ? {} : { volumes }),
    },
  };
}

export function newClaim(
  set: StatefulSet,
  template: PersistentVolumeClaim,
  ordinal: number,
): NewObject<PersistentVolumeClaim> {
  const { labels, annotations } = template.metadata;
  return {
    metadata: {
      name: claimName(template, set, ordinal),
      namespace: set.metadata.namespace,
      labels: { ...labels, ...set.spec.selector.matchLabels },
      ...(annotations === undefined ? {} : { annotations }),
    },
    spec: template.spec,
  };
}
