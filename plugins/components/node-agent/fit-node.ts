/**
 * Whether a pod that names its node itself, past the scheduler, fits there: a kubelet's own look at resources, host ports,
 * node selection and NoExecute taints, in its words. Pure.
 */
import type { Node, Pod } from '../../../kernel/contract/kubernetes.ts';
import { matchesNodeSelection } from '../../../kernel/machinery/scheduling/node-selection.ts';
import {
  addAmounts,
  amounts,
  hostPortKey,
  podHostPorts,
  podRequests,
} from '../../../kernel/machinery/scheduling/pod-requests.ts';
import { untoleratedTaint } from '../../../kernel/machinery/scheduling/taints.ts';
import { isTerminalPhase, type Problem } from './pod-status.ts';

const rejected = (reason: string, message: string): Problem => ({ reason, message: `Pod was rejected: ${message}` });
const failed = (predicate: string, why: string) => rejected(predicate, `Predicate ${predicate} failed: ${why}`);

/** `others`: pods of the node; those that it has not taken yet, or that are over, hold nothing. Undefined: it fits. */
export function fitProblem(pod: Pod, node: Node, others: readonly Pod[]): Problem | undefined {
  const held = others.filter(
    ({ metadata, status }) =>
      metadata.uid !== pod.metadata.uid && status?.startTime !== undefined && !isTerminalPhase(status.phase),
  );
  if (!matchesNodeSelection(pod, node))
    return failed('NodeAffinity', "node(s) didn't match Pod's node affinity/selector");
  if (untoleratedTaint(node.spec.taints, pod.spec.tolerations, ['NoExecute']) !== undefined)
    return failed('TaintToleration', 'node(s) had untolerated taint(s)');
  return portProblem(pod, held) ?? resourceProblem(pod, node, held);
}

function portProblem(pod: Pod, held: readonly Pod[]): Problem | undefined {
  const wanted = podHostPorts(pod);
  if (wanted.length === 0) return undefined;
  const used = held.flatMap(podHostPorts);
  const isWide = (ip: string) => ip === '0.0.0.0' || ip === '::';
  const clashes = wanted.some((port) =>
    used.some(
      (other) =>
        hostPortKey({ ...other, ip: '' }) === hostPortKey({ ...port, ip: '' }) &&
        (other.ip === port.ip || isWide(other.ip) || isWide(port.ip)),
    ),
  );
  return clashes ? failed('NodePorts', "node(s) didn't have free ports for the requested pod ports") : undefined;
}

function resourceProblem(pod: Pod, node: Node, held: readonly Pod[]): Problem | undefined {
  const capacity = amounts(node.status?.allocatable);
  const wanted = podRequests(pod);
  const used: Record<string, number> = {};
  for (const other of held) addAmounts(used, podRequests(other));
  for (const [name, amount] of Object.entries(wanted)) {
    // What the node does not know of is none of its business: somebody else gives it.
    const most = capacity[name];
    if (amount <= 0 || most === undefined || amount <= most - (used[name] ?? 0)) continue;
    const facts = `requested: ${amount}, used: ${used[name] ?? 0}, capacity: ${most}`;
    return rejected(`OutOf${name}`, `Node didn't have enough resource: ${name}, ${facts}`);
  }
  return undefined;
}
