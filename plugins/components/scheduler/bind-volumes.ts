/**
 * Before a pod is bound to its node, its claims get their volumes: a volume that was chosen is reserved, a claim whose
 * volume has to be made is annotated with the node. Then others work (binder, provisioner), and this waits.
 */
import type { Clock, Cluster } from '../../../kernel/contract/index.ts';
import type { Node, PersistentVolumeClaim } from '../../../kernel/contract/kubernetes.ts';
import { splitKey } from '../../../kernel/machinery/metadata.ts';
import { resources } from '../../../kernel/machinery/resources.ts';
import { isBound } from '../../../kernel/machinery/volumes/claims.ts';
import { isReservedFor, isUsableOn } from '../../../kernel/machinery/volumes/matching.ts';
import { boundByController, selectedNode } from '../../../kernel/machinery/volumes/names.ts';
import type { ClaimCache } from './claim-cache.ts';
import type { Assignment } from './volume-needs.ts';

const waitMs = 600_000;

export interface BindVolumesOptions {
  readonly cluster: Cluster;
  readonly clock: Clock;
  readonly cache: ClaimCache;
  readonly node: Node;
  /** False when the pod that this is for is gone. */
  readonly isWanted: () => boolean;
}

/** Resolves when every claim is bound to a volume of the node. Rejects with what is in the way. */
export async function bindVolumes(
  options: BindVolumesOptions,
  assignments: readonly Assignment[],
  signal: AbortSignal,
): Promise<void> {
  const revisions = new Map<string, number>();
  for (const assignment of assignments) {
    const revision = await write(options, assignment);
    if (revision !== undefined) revisions.set(assignment.claim, revision);
  }
  await waitUntilBound(options, assignments, revisions, signal);
}

/** Resolves to the revision of the claim when it was the claim that was written. */
async function write(
  { cluster, cache, node }: BindVolumesOptions,
  assignment: Assignment,
): Promise<number | undefined> {
  const claim = cache.claims.get(assignment.claim);
  if (claim === undefined) throw new Error(`persistentvolumeclaim "${assignment.claim}" not found`);
  const { namespace, name, uid, resourceVersion } = claim.metadata;
  if (assignment.volume === undefined) {
    if (claim.metadata.annotations?.[selectedNode] === node.metadata.name) return Number(resourceVersion);
    const body = { metadata: { uid, resourceVersion, annotations: { [selectedNode]: node.metadata.name } } };
    const key = splitKey(assignment.claim);
    const written = await cluster.patch(resources.persistentVolumeClaims, key, { kind: 'merge', body });
    return Number(written.metadata.resourceVersion);
  }
  const volume = cache.volumes.get(assignment.volume);
  if (volume === undefined) throw new Error(`persistentvolume "${assignment.volume}" not found`);
  if (isReservedFor(volume, claim)) return undefined;
  const claimRef = { apiVersion: 'v1', kind: 'PersistentVolumeClaim', namespace, name, uid, resourceVersion };
  const metadata = {
    ...{ uid: volume.metadata.uid, resourceVersion: volume.metadata.resourceVersion },
    annotations: { [boundByController]: 'yes' },
  };
  const body = { metadata, spec: { claimRef } };
  await cluster.patch(resources.persistentVolumes, { name: assignment.volume }, { kind: 'merge', body });
  return undefined;
}

async function waitUntilBound(
  options: BindVolumesOptions,
  assignments: readonly Assignment[],
  revisions: ReadonlyMap<string, number>,
  signal: AbortSignal,
): Promise<void> {
  const { cache, clock } = options;
  const timer = new AbortController();
  const unsubscribe: (() => void)[] = [];
  try {
    await new Promise<void>((resolve, reject) => {
      const look = () => {
        try {
          if (assignments.every(({ claim }) => isDone(options, claim, revisions.get(claim)))) resolve();
        } catch (error) {
          reject(error instanceof Error ? error : new Error(String(error)));
        }
      };
      const ended = () => reject(signal.reason as Error);
      signal.addEventListener('abort', ended, { once: true });
      unsubscribe.push(() => signal.removeEventListener('abort', ended));
      unsubscribe.push(cache.onChange(look));
      clock.sleep(waitMs, timer.signal).then(
        () => reject(new Error('timed out waiting for the condition')),
        () => undefined,
      );
      look();
      if (signal.aborted) ended();
    });
  } finally {
    timer.abort();
    for (const end of unsubscribe) end();
  }
}

function isDone({ cache, node, isWanted }: BindVolumesOptions, key: string, revision: number | undefined): boolean {
  if (!isWanted()) throw new Error('the pod is gone');
  const claim = cache.claims.get(key);
  if (claim === undefined) throw new Error(`persistentvolumeclaim "${key}" not found`);
  if (isBound(claim)) {
    const volume = cache.volumes.get(claim.spec.volumeName!);
    if (volume === undefined) return false;
    if (!isUsableOn(volume, node)) throw new Error('node(s) had volume node affinity conflict');
    return true;
  }
  if (revision !== undefined && wasGivenBack(claim, revision, node))
    throw new Error(`the volume of claim ${key} could not be made on node ${node.metadata.name}`);
  return false;
}

/** The provisioner takes the annotation away when it cannot make the volume on that node. */
function wasGivenBack({ metadata }: PersistentVolumeClaim, revision: number, node: Node): boolean {
  return Number(metadata.resourceVersion) >= revision && metadata.annotations?.[selectedNode] !== node.metadata.name;
}
