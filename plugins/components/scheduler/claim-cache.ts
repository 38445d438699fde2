/**
 * Claims, volumes and classes as the scheduler knows them, its own decisions that are still being written included
 * ("assumed"), so that two pods never get one volume.
 */
import type { Cluster, Logger } from '../../../kernel/contract/index.ts';
import type {
  PersistentVolume,
  PersistentVolumeClaim,
  Pod,
  StorageClass,
} from '../../../kernel/contract/kubernetes.ts';
import { informersFor, type Informer } from '../../../kernel/machinery/informer.ts';
import { resources } from '../../../kernel/machinery/resources.ts';
import {
  claimsOfPod,
  classNameOf,
  isBound,
  isClaimOfPod,
  waitsForConsumer,
} from '../../../kernel/machinery/volumes/claims.ts';
import { matchingVolumes } from '../../../kernel/machinery/volumes/matching.ts';
import { noProvisioner, selectedNode } from '../../../kernel/machinery/volumes/names.ts';
import type { NodeCache } from './node-cache.ts';
import type { Assignment, UnboundClaim, VolumeNeeds } from './volume-needs.ts';

const unboundImmediate = 'pod has unbound immediate PersistentVolumeClaims';
const inUse = 'node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode';

export class ClaimCache {
  readonly claims: Informer<PersistentVolumeClaim>;
  readonly volumes: Informer<PersistentVolume>;
  readonly #classes: Informer<StorageClass>;
  readonly #nodes: NodeCache;
  readonly #listeners = new Set<() => void>();
  /** Volume name → the claim that is to have it. */
  readonly #assumedVolumes = new Map<string, string>();
  /** Claim → the node on which its volume is to be made. */
  readonly #assumedNodes = new Map<string, string>();

  constructor(cluster: Cluster, nodes: NodeCache, log: Logger) {
    const informers = informersFor(cluster, log);
    this.claims = informers.get(resources.persistentVolumeClaims);
    this.volumes = informers.get(resources.persistentVolumes);
    this.#classes = informers.get(resources.storageClasses);
    this.#nodes = nodes;
    for (const informer of [this.claims, this.volumes, this.#classes]) informer.onChange(() => this.changed());
  }

  /** Answers the unsubscribe function. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Asks everybody who listens to look again. */
  changed(): void {
    for (const listener of this.#listeners) listener();
  }

  async synced(signal: AbortSignal): Promise<void> {
    for (const informer of [this.claims, this.volumes, this.#classes]) await informer.synced(signal);
  }

  close(): void {
    for (const informer of [this.claims, this.volumes, this.#classes]) informer.close();
  }

  assume(assignments: readonly Assignment[], nodeName: string): void {
    for (const { claim, volume } of assignments)
      if (volume === undefined) this.#assumedNodes.set(claim, nodeName);
      else this.#assumedVolumes.set(volume, claim);
  }

  forget(assignments: readonly Assignment[]): void {
    for (const { claim, volume } of assignments)
      if (volume === undefined) this.#assumedNodes.delete(claim);
      else this.#assumedVolumes.delete(volume);
  }

  /** Undefined for a pod without claims. */
  needsOf(pod: Pod): VolumeNeeds | undefined {
    const uses = claimsOfPod(pod);
    if (uses.length === 0) return undefined;
    const bound: VolumeNeeds['bound'][number][] = [];
    const unbound: UnboundClaim[] = [];
    let conflict: string | undefined;
    let blocked: string | undefined;
    for (const { claim: name, isEphemeral } of uses) {
      const claimKey = `${pod.metadata.namespace}/${name}`;
      const claim = this.claims.get(claimKey);
      blocked ??= whyNot(pod, name, isEphemeral, claim);
      if (claim === undefined || blocked !== undefined) continue;
      if (claim.spec.accessModes?.includes('ReadWriteOncePod') && this.#isUsed(pod, claim)) conflict = inUse;
      if (isBound(claim)) {
        const volume = this.volumes.get(claim.spec.volumeName!);
        if (volume === undefined) blocked = lost(claim);
        else if (volume.spec.nodeAffinity?.required !== undefined)
          bound.push(volume.spec.nodeAffinity.required.nodeSelectorTerms);
        continue;
      }
      const needed = this.#unbound(claimKey, claim);
      if (needed === undefined) blocked = unboundImmediate;
      else unbound.push(needed);
    }
    return { blocked, conflict, bound, unbound };
  }

  /** Undefined for a claim that does not wait for its first pod: somebody else binds it. */
  #unbound(key: string, claim: PersistentVolumeClaim): UnboundClaim | undefined {
    const found = this.#classes.get(classNameOf(claim) ?? '');
    if (claim.spec.volumeName || found === undefined || !waitsForConsumer(found)) return undefined;
    const free = this.volumes.list().filter(({ metadata }) => {
      const assumed = this.#assumedVolumes.get(metadata.name);
      return assumed === undefined || assumed === key;
    });
    return {
      key,
      node: this.#assumedNodes.get(key) ?? claim.metadata.annotations?.[selectedNode],
      volumes: matchingVolumes(claim, free).map(({ metadata, spec }) => {
        return { name: metadata.name, terms: spec.nodeAffinity?.required?.nodeSelectorTerms };
      }),
      canProvision: found.provisioner !== noProvisioner,
      topologies: found.allowedTopologies?.length ? found.allowedTopologies : undefined,
    };
  }

  /** By another pod: the place that preemption keeps for the pod itself is no other. */
  #isUsed(asking: Pod, claim: PersistentVolumeClaim): boolean {
    const { namespace, name } = claim.metadata;
    for (const { pods } of this.#nodes.nodes.values())
      for (const pod of pods.values())
        if (
          pod.metadata.uid !== asking.metadata.uid &&
          pod.metadata.namespace === namespace &&
          claimsOfPod(pod).some((use) => use.claim === name)
        )
          return true;
    return false;
  }
}

const lost = ({ metadata, spec }: PersistentVolumeClaim): string =>
  `persistentvolumeclaim "${metadata.name}" bound to non-existent persistentvolume "${spec.volumeName}"`;

function whyNot(
  pod: Pod,
  name: string,
  isEphemeral: boolean,
  claim: PersistentVolumeClaim | undefined,
): string | undefined {
  if (claim === undefined)
    return isEphemeral
      ? `waiting for ephemeral volume controller to create the persistentvolumeclaim "${name}"`
      : `persistentvolumeclaim "${name}" not found`;
  if (isEphemeral && !isClaimOfPod(pod, claim)) {
    const { namespace } = pod.metadata;
    return `PVC ${namespace}/${name} was not created for pod ${namespace}/${pod.metadata.name} (pod is not owner)`;
  }
  if (claim.metadata.deletionTimestamp !== undefined) return `persistentvolumeclaim "${name}" is being deleted`;
  return claim.status?.phase === 'Lost' ? lost(claim) : undefined;
}
