/** What a node's heartbeats say: when one last came, and which status follows from their absence. */
import type { Lease, Node, NodeCondition, NodeStatus } from '../../../kernel/contract/kubernetes.ts';
import { apiTime } from '../../../kernel/machinery/clock.ts';
import { findCondition } from '../../../kernel/machinery/metadata.ts';

/** What was last seen of a node, and when by our own clock: the node's clock may be wrong. */
export interface Heartbeat {
  readonly mark: string;
  readonly seenAt: number;
  /** False until the node itself has said anything. */
  readonly isAlive: boolean;
}

/** A heartbeat is a renewed Lease or a renewed Ready condition. */
export function observe(node: Node, lease: Lease | undefined, before: Heartbeat | undefined, now: number): Heartbeat {
  const ready = findCondition(node.status?.conditions, 'Ready');
  const mark = `${node.metadata.uid} ${lease?.spec.renewTime ?? ''} ${ready?.lastHeartbeatTime ?? ''}`;
  const isAlive = lease !== undefined || ready !== undefined;
  if (before?.mark === mark) return before;
  return { mark, seenAt: now, isAlive };
}

const judged: readonly string[] = ['Ready', 'MemoryPressure', 'DiskPressure', 'PIDPressure'];

/** The status of a node that fell silent; undefined when it says so already. */
export function silentStatus(node: Node, now: number): NodeStatus | undefined {
  const before = node.status?.conditions ?? [];
  const time = apiTime(now);
  let isChanged = false;
  const conditions: NodeCondition[] = before.map((condition) => {
    if (!judged.includes(condition.type) || condition.status === 'Unknown') return condition;
    isChanged = true;
    return {
      ...condition,
      status: 'Unknown',
      reason: 'NodeStatusUnknown',
      message: 'Kubelet stopped posting node status.',
      lastTransitionTime: time,
    };
  });
  if (findCondition(before, 'Ready') === undefined) {
    isChanged = true;
    conditions.push({
      type: 'Ready',
      status: 'Unknown',
      reason: 'NodeStatusNeverUpdated',
      message: 'Kubelet never posted node status.',
      lastHeartbeatTime: node.metadata.creationTimestamp,
      lastTransitionTime: time,
    });
  }
  return isChanged ? { ...node.status, conditions } : undefined;
}
