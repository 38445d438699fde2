import type { Pod } from '../../contract/kubernetes.ts';
import { apiTime } from '../clock.ts';
import { findCondition, setCondition } from '../metadata.ts';
import { isPodActive, isPodReady, isPodTerminal, msUntilAvailable } from '../pod-status.ts';
import { labelSelector } from '../selectors.ts';

import type { Replicated, ReplicatedStatus } from './replicated.ts';

/**
 * The status that follows from these pods, undefined when the object has it already; and when the next pod will have
 * been ready for minReadySeconds.
 */
export function replicaStatus(
  set: Replicated,
  pods: readonly Pod[],
  failure: Error | undefined,
  now: number,
  countsTerminating: boolean,
): { readonly status: ReplicatedStatus | undefined; readonly nextInMs: number | undefined } {
  const template = labelSelector({ matchLabels: set.spec.template?.metadata?.labels ?? {} });
  const active = pods.filter(isPodActive);
  const waits = active.map((pod) => msUntilAvailable(pod, set.spec.minReadySeconds ?? 0, now));
  const pending = waits.filter((ms) => ms !== undefined && ms > 0) as number[];
  const status: ReplicatedStatus = {
    replicas: active.length,
    fullyLabeledReplicas: active.filter((pod) => template.matches(pod.metadata.labels)).length,
    readyReplicas: active.filter(isPodReady).length,
    availableReplicas: waits.filter((ms) => ms === 0).length,
    ...(countsTerminating
      ? { terminatingReplicas: pods.filter((pod) => !isPodActive(pod) && !isPodTerminal(pod)).length }
      : {}),
    observedGeneration: set.metadata.generation ?? 0,
    ...conditions(set, active.length, failure, now),
  };
  return {
    status: isSame(set.status, status) ? undefined : status,
    nextInMs: pending.length === 0 ? undefined : Math.min(...pending),
  };
}

function conditions(
  set: Replicated,
  active: number,
  failure: Error | undefined,
  now: number,
): Pick<ReplicatedStatus, 'conditions'> {
  const before = set.status?.conditions ?? [];
  if (failure === undefined) {
    const rest = before.filter((condition) => condition.type !== 'ReplicaFailure');
    return rest.length === 0 ? {} : { conditions: rest };
  }
  const reason = active < (set.spec.replicas ?? 1) ? 'FailedCreate' : 'FailedDelete';
  const known = findCondition(before, 'ReplicaFailure');
  // A message may name a pod that differs from attempt to attempt; the first one stays.
  if (known?.status === 'True' && known.reason === reason) return { conditions: before };
  const condition = { type: 'ReplicaFailure', status: 'True', reason, message: failure.message };
  return { conditions: [...setCondition(before, condition, apiTime(now))] };
}

function isSame(before: ReplicatedStatus | undefined, after: ReplicatedStatus): boolean {
  if (before === undefined) return false;
  const counts = [
    'replicas',
    'fullyLabeledReplicas',
    'readyReplicas',
    'availableReplicas',
    'terminatingReplicas',
    'observedGeneration',
  ] as const;
  return (
    counts.every((name) => (before[name] ?? 0) === (after[name] ?? 0)) &&
    JSON.stringify(before.conditions ?? []) === JSON.stringify(after.conditions ?? [])
  );
}
