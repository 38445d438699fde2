/**
 * The filters that every policy needs, in the order in which kube-scheduler runs them, with its wording. The first filter
 * that objects decides; resource fit names every resource that is short.
 */
import type { ClusterState, NodeState, PodClass, Verdict } from '../../contract/index.ts';
import { interPodObjection } from './inter-pod.ts';
import { matchesNodeSelection } from './node-selection.ts';
import { spreadObjection } from './topology-spread.ts';
import { tolerates, unschedulableTaint, untoleratedTaint } from './taints.ts';

/** A reason why not, or undefined. */
export type Filter = (
  pod: PodClass,
  node: NodeState,
  cluster: ClusterState,
) => Extract<Verdict, { fits: false }> | undefined;

const no = (resolvable: boolean, ...reasons: string[]) => ({ fits: false, reasons, resolvable }) as const;

const unschedulable = no(false, 'node(s) were unschedulable');
const otherName = no(false, "node(s) didn't match the requested node name");
const notSelected = no(false, "node(s) didn't match Pod's node affinity/selector");
const portTaken = no(true, "node(s) didn't have free ports for the requested pod ports");

export const schedulableNode: Filter = ({ pod }, { node }) =>
  node.spec.unschedulable === true &&
  !(pod.spec.tolerations ?? []).some((toleration) => tolerates(toleration, unschedulableTaint))
    ? unschedulable
    : undefined;

export const requestedNodeName: Filter = ({ pod }, { name }) =>
  pod.spec.nodeName !== undefined && pod.spec.nodeName !== '' && pod.spec.nodeName !== name ? otherName : undefined;

export const toleratedTaints: Filter = ({ pod }, { node }) => {
  const taint = untoleratedTaint(node.spec.taints, pod.spec.tolerations, ['NoSchedule', 'NoExecute']);
  return taint === undefined
    ? undefined
    : no(false, `node(s) had untolerated taint {${taint.key}: ${taint.value ?? ''}}`);
};

export const selectedNode: Filter = ({ pod }, { node }) => (matchesNodeSelection(pod, node) ? undefined : notSelected);

/** Two host ports clash when protocol and port are equal and one address is equal or the wildcard. */
export const freeHostPorts: Filter = ({ hostPorts }, node) => {
  if (hostPorts.length === 0 || node.hostPorts.size === 0) return undefined;
  for (const { ip, protocol, port } of hostPorts) {
    if (ip === '0.0.0.0' || ip === '::') {
      for (const used of node.hostPorts)
        if (used.startsWith(`${protocol}/`) && used.endsWith(`/${port}`)) return portTaken;
    } else if (
      node.hostPorts.has(`${protocol}/${ip}/${port}`) ||
      node.hostPorts.has(`${protocol}/0.0.0.0/${port}`) ||
      node.hostPorts.has(`${protocol}/::/${port}`)
    )
      return portTaken;
  }
  return undefined;
};

/** A resource that is asked for in a zero amount is not looked at. */
export const enoughResources: Filter = ({ requests }, { allocatable, requested }) => {
  let reasons: string[] | undefined;
  let isResolvable = true;
  for (const name in requests) {
    const wanted = requests[name] as number;
    if (wanted <= 0) continue;
    const has = allocatable[name] ?? 0;
    if (wanted <= has - (requested[name] ?? 0)) continue;
    (reasons ??= []).push(name === 'pods' ? 'Too many pods' : `Insufficient ${name}`);
    if (wanted > has) isResolvable = false;
  }
  return reasons === undefined ? undefined : no(isResolvable, ...reasons);
};

/** Only for classes that depend on other nodes: for the others the answer would be the same everywhere. */
export const spreadPods: Filter = (pod, node, cluster) => (pod.local ? undefined : spreadObjection(pod, node, cluster));

export const podAffinity: Filter = (pod, node, cluster) =>
  pod.local ? undefined : interPodObjection(pod, node, cluster);

/** All of the above: what every policy must respect. */
export const nodeFilters: readonly Filter[] = [
  schedulableNode,
  requestedNodeName,
  toleratedTaints,
  selectedNode,
  freeHostPorts,
  enoughResources,
  spreadPods,
  podAffinity,
];
