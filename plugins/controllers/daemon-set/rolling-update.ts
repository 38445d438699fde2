/** Which pods a rolling update may replace now, within maxUnavailable or maxSurge. */
import type { DaemonSet, Pod } from '../../../kernel/contract/kubernetes.ts';
import { intOrPercent } from '../../../kernel/machinery/int-or-percent.ts';
import { isAvailable, isLeaving, isUpdated, type DaemonView, type NodePods } from './node-pods.ts';

/** What to do about the pods of a DaemonSet now. */
export interface Plan {
  /** Names of nodes. */
  readonly create: readonly string[];
  readonly remove: readonly Pod[];
}

export function isRollingUpdate({ spec }: DaemonSet): boolean {
  return (spec.updateStrategy?.type ?? 'RollingUpdate') === 'RollingUpdate';
}

/** Both round up. With neither, one pod may be unavailable, or nothing could move. */
export function rollingLimits(
  set: DaemonSet,
  wanted: number,
): { readonly maxSurge: number; readonly maxUnavailable: number } {
  if (!isRollingUpdate(set)) return { maxSurge: 0, maxUnavailable: 0 };
  const { maxSurge: surge, maxUnavailable: unavailable } = set.spec.updateStrategy?.rollingUpdate ?? {};
  const maxSurge = intOrPercent(surge, wanted, Math.ceil);
  const maxUnavailable = intOrPercent(unavailable, wanted, Math.ceil, 1);
  return { maxSurge, maxUnavailable: maxSurge === 0 && maxUnavailable === 0 ? 1 : maxUnavailable };
}

/** The pod of the template of now and the one of an older template; undefined for a node that is to be tidied first. */
function oldAndNew(
  view: DaemonView,
  { pods }: NodePods,
): { readonly old: Pod | undefined; readonly updated: Pod | undefined } | undefined {
  const staying = pods.filter((pod) => !isLeaving(pod));
  const updated = staying.filter((pod) => isUpdated(view, pod));
  const old = staying.filter((pod) => !isUpdated(view, pod));
  return updated.length > 1 || old.length > 1 ? undefined : { old: old[0], updated: updated[0] };
}

export function rollingUpdate(view: DaemonView): Plan {
  const wanted = view.nodes.filter(({ shouldRun }) => shouldRun).length;
  const { maxSurge, maxUnavailable } = rollingLimits(view.set, wanted);
  return maxSurge > 0 ? surge(view, maxSurge) : replace(view, maxUnavailable);
}

function replace(view: DaemonView, maxUnavailable: number): Plan {
  let unavailable = 0;
  const broken: Pod[] = [];
  const candidates: Pod[] = [];
  for (const node of view.nodes) {
    if (!node.mayStay) continue;
    const found = oldAndNew(view, node);
    if (found === undefined) continue;
    const { old, updated } = found;
    if (old === undefined && updated === undefined) {
      if (node.shouldRun) unavailable++;
    } else if (old !== undefined && updated !== undefined) unavailable++;
    else if (updated !== undefined) {
      if (!isAvailable(view, updated)) unavailable++;
    } else if (old !== undefined) {
      // It serves nobody: its replacement costs nothing, and it might never become available.
      if (isAvailable(view, old)) candidates.push(old);
      else {
        broken.push(old);
        unavailable++;
      }
    }
  }
  const room = Math.max(0, maxUnavailable - unavailable);
  return { create: [], remove: [...broken, ...candidates.slice(0, room)] };
}

/** A new pod comes beside the old one, which goes when the new one is available. */
function surge(view: DaemonView, maxSurge: number): Plan {
  let surging = 0;
  const broken: string[] = [];
  const candidates: string[] = [];
  const remove: Pod[] = [];
  for (const node of view.nodes) {
    const found = node.mayStay ? oldAndNew(view, node) : undefined;
    if (found?.old === undefined) continue;
    const { old, updated } = found;
    if (updated === undefined) {
      if (!node.shouldRun) continue;
      if (isAvailable(view, old)) candidates.push(node.node);
      else broken.push(node.node);
    } else if (isAvailable(view, updated)) remove.push(old);
    else surging++;
  }
  const room = Math.max(0, maxSurge - surging);
  return { create: [...broken, ...candidates.slice(0, room)], remove };
}
