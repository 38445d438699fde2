/** Whether a node under pressure takes a pod that was bound to it. Pure. */
import type { Pod } from '../../../../kernel/contract/kubernetes.ts';
import { tolerates } from '../../../../kernel/machinery/scheduling/taints.ts';
import { qosClass, type Problem } from '../pod-status.ts';
import { isCritical } from './rank-pods.ts';
import type { PressureCondition } from './thresholds.ts';

const memoryTaint = { key: 'node.kubernetes.io/memory-pressure', effect: 'NoSchedule' };

/** Undefined: it may run. */
export function refusalOf(pod: Pod, conditions: readonly PressureCondition[]): Problem | undefined {
  if (conditions.length === 0 || isCritical(pod)) return undefined;
  if (conditions.length === 1 && conditions[0] === 'MemoryPressure') {
    // Memory is short: who said how much it needs may come, who did not must say that it knows.
    if (qosClass(pod) !== 'BestEffort') return undefined;
    if (pod.spec.tolerations?.some((toleration) => tolerates(toleration, memoryTaint))) return undefined;
  }
  return {
    reason: 'Evicted',
    message: `Pod was rejected: The node had condition: [${conditions.join(' ')}]. `,
  };
}
