/** Which Secrets and ConfigMaps a node may read: those that its own pods name (upstream's node authorizer). */
import type { Container, Pod, Volume } from '../../../../kernel/contract/kubernetes.ts';
import type { Collection } from '../state/collection.ts';

export type Readable = 'secrets' | 'configmaps';

/** True when a pod on this node names the object. */
export function isNamedByPodOn(
  node: string,
  pods: Collection,
  resource: Readable,
  namespace: string,
  name: string,
): boolean {
  const prefix = `${namespace}/`;
  return (pods.keysWith(node) ?? []).some(
    (key) => key.startsWith(prefix) && names(pods.get(key) as Pod, resource).includes(name),
  );
}

function names({ spec }: Pod, resource: Readable): readonly (string | undefined)[] {
  const isSecret = resource === 'secrets';
  const containers: readonly Container[] = [
    ...spec.containers,
    ...(spec.initContainers ?? []),
    ...((spec.ephemeralContainers ?? []) as readonly Container[]),
  ];
  return [
    ...containers.flatMap(({ env = [], envFrom = [] }) => [
      ...env.map(({ valueFrom }) => (isSecret ? valueFrom?.secretKeyRef?.name : valueFrom?.configMapKeyRef?.name)),
      ...envFrom.map(({ secretRef, configMapRef }) => (isSecret ? secretRef?.name : configMapRef?.name)),
    ]),
    ...(spec.volumes ?? []).flatMap((volume) => namesOfVolume(volume, isSecret)),
    ...(isSecret ? (spec.imagePullSecrets ?? []).map(({ name }) => name) : []),
  ];
}

function namesOfVolume(volume: Volume, isSecret: boolean): readonly (string | undefined)[] {
  const { secret, configMap, projected, csi } = volume;
  return [
    isSecret ? secret?.secretName : configMap?.name,
    ...(projected?.sources ?? []).map((source) => (isSecret ? source.secret?.name : source.configMap?.name)),
    isSecret ? csi?.nodePublishSecretRef?.name : undefined,
  ];
}
