/**
 * The templates that a DaemonSet or StatefulSet has had, one ControllerRevision each. The highest number is the template
 * of now: one that comes back (a roll-back) gets the next number instead of a second object.
 */
import { isPintleError, type Cluster, type KubernetesObject } from '../../contract/index.ts';
import type { ControllerRevision, ObjectMeta, PodTemplateSpec } from '../../contract/kubernetes.ts';
import { controllerOf, keyOf, ownerReference, splitKey } from '../metadata.ts';
import { resources } from '../resources.ts';
import { hasTemplate, revisionData, revisionHash } from './revision-data.ts';

export interface RevisionOwner extends KubernetesObject {
  metadata: ObjectMeta & { namespace: string };
  spec: { template: PodTemplateSpec; revisionHistoryLimit?: number };
  status?: { collisionCount?: number };
}

export interface RevisionHistoryOptions {
  readonly cluster: Cluster;
  readonly owner: RevisionOwner;
  /** The owner's own. */
  readonly revisions: readonly ControllerRevision[];
  /** The label of a revision that holds its hash. */
  readonly hashLabel: string;
  readonly written: (revision: ControllerRevision) => void;
}

export interface RevisionHistory {
  /** Of the template of now. */
  readonly current: ControllerRevision;
  /** Oldest first, `current` last. */
  readonly all: readonly ControllerRevision[];
  /** Goes into the owner's status: how often the hash of a template was taken by another. */
  readonly collisionCount: number;
}

const notCopied: ReadonlySet<string> = new Set(['kubectl.kubernetes.io/last-applied-configuration']);

/** Finds or makes the revision of the current template, and gives it the highest number. */
export async function revisionHistory(options: RevisionHistoryOptions): Promise<RevisionHistory> {
  const { owner, revisions } = options;
  const { template } = owner.spec;
  const ordered = revisions.toSorted(byRevision);
  const equal = ordered.filter((revision) => hasTemplate(revision, template)).at(-1);
  const others = ordered.filter((revision) => revision !== equal);
  const next = (others.at(-1)?.revision ?? 0) + 1;
  const before = owner.status?.collisionCount ?? 0;
  if (equal === undefined) {
    const { revision, collisionCount } = await create(options, next, before);
    return { current: revision, all: [...others, revision], collisionCount };
  }
  const current = equal.revision >= next ? equal : await renumber(options, equal, next);
  return { current, all: [...others, current], collisionCount: before };
}

/** Keeps revisionHistoryLimit revisions beside those in use. */
export async function deleteOldRevisions(
  { cluster, owner }: Pick<RevisionHistoryOptions, 'cluster' | 'owner'>,
  history: RevisionHistory,
  isInUse: (revision: ControllerRevision) => boolean,
): Promise<void> {
  const idle = history.all.filter((revision) => revision !== history.current && !isInUse(revision));
  const limit = owner.spec.revisionHistoryLimit ?? 10;
  for (const revision of idle.slice(0, Math.max(0, idle.length - limit))) {
    const preconditions = { uid: revision.metadata.uid };
    try {
      await cluster.delete(resources.controllerRevisions, splitKey(keyOf(revision)), { preconditions });
    } catch (error) {
      if (!isPintleError(error, 'NOT_FOUND', 'CONFLICT')) throw error;
    }
  }
}

function byRevision(a: ControllerRevision, b: ControllerRevision): number {
  return a.revision - b.revision || (a.metadata.name < b.metadata.name ? -1 : 1);
}

async function renumber(
  { cluster, written }: RevisionHistoryOptions,
  revision: ControllerRevision,
  number: number,
): Promise<ControllerRevision> {
  const result = await cluster.update(resources.controllerRevisions, { ...revision, revision: number });
  written(result);
  return result;
}

async function create(
  { cluster, owner, hashLabel, written }: RevisionHistoryOptions,
  number: number,
  collisions: number,
): Promise<{ readonly revision: ControllerRevision; readonly collisionCount: number }> {
  const { template } = owner.spec;
  const { namespace, annotations = {} } = owner.metadata;
  for (let collisionCount = collisions; ; collisionCount++) {
    const hash = revisionHash(template, collisionCount);
    const name = `${owner.metadata.name}-${hash}`;
    try {
      const revision = await cluster.create(resources.controllerRevisions, {
        metadata: {
          name,
          namespace,
          labels: { ...template.metadata?.labels, [hashLabel]: hash },
          annotations: Object.fromEntries(Object.entries(annotations).filter(([key]) => !notCopied.has(key))),
          ownerReferences: [ownerReference(owner)],
        },
        data: revisionData(template),
        revision: number,
      });
      written(revision);
      return { revision, collisionCount };
    } catch (error) {
      if (!isPintleError(error, 'ALREADY_EXISTS')) throw error;
    }
    // Our own that the cache has not shown yet, or another template with the same hash.
    const existing = await cluster.get(resources.controllerRevisions, { namespace, name });
    if (controllerOf(existing)?.uid === owner.metadata.uid && hasTemplate(existing, template)) {
      written(existing);
      return { revision: existing, collisionCount };
    }
  }
}
