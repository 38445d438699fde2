/** The taints that follow from a node's conditions and spec. */
import type { Node, Taint } from '../../../kernel/contract/kubernetes.ts';
import { findCondition } from '../../../kernel/machinery/metadata.ts';

const keys = {
  notReady: 'node.kubernetes.io/not-ready',
  unreachable: 'node.kubernetes.io/unreachable',
  unschedulable: 'node.kubernetes.io/unschedulable',
} as const;

/** Condition type → taint while the condition is True. */
const pressure: readonly (readonly [string, string])[] = [
  ['MemoryPressure', 'node.kubernetes.io/memory-pressure'],
  ['DiskPressure', 'node.kubernetes.io/disk-pressure'],
  ['PIDPressure', 'node.kubernetes.io/pid-pressure'],
  ['NetworkUnavailable', 'node.kubernetes.io/network-unavailable'],
];

const ownKeys: ReadonlySet<string> = new Set([...Object.values(keys), ...pressure.map(([, key]) => key)]);
/** Taints of these keys with this effect are ours as well. */
const ownNoExecute: ReadonlySet<string> = new Set([keys.notReady, keys.unreachable]);

function isOurs({ key, effect }: Taint): boolean {
  return effect === 'NoSchedule' ? ownKeys.has(key) : effect === 'NoExecute' && ownNoExecute.has(key);
}

/** Undefined when the node has them already. A taint that stays keeps the time at which it came. */
export function wantedTaints(node: Node, now: string): readonly Taint[] | undefined {
  const wanted: Taint[] = [];
  const ready = findCondition(node.status?.conditions, 'Ready')?.status;
  if (ready === 'Unknown' || ready === undefined || ready === 'False') {
    const key = ready === 'Unknown' ? keys.unreachable : keys.notReady;
    wanted.push({ key, effect: 'NoSchedule' });
    // A node that has not reported yet has nothing to evict.
    if (ready !== undefined) wanted.push({ key, effect: 'NoExecute' });
  }
  for (const [type, key] of pressure)
    if (findCondition(node.status?.conditions, type)?.status === 'True') wanted.push({ key, effect: 'NoSchedule' });
  if (node.spec.unschedulable === true) wanted.push({ key: keys.unschedulable, effect: 'NoSchedule' });

  const before = node.spec.taints ?? [];
  const id = ({ key, effect }: Taint) => `${key}:${effect}`;
  const known = new Map(before.filter(isOurs).map((taint) => [id(taint), taint]));
  if (known.size === wanted.length && wanted.every((taint) => known.has(id(taint)))) return undefined;
  const merged = wanted.map((taint) => known.get(id(taint)) ?? { ...taint, timeAdded: now });
  return [...before.filter((taint) => !isOurs(taint)), ...merged];
}
