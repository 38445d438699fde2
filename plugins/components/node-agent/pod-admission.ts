/** What a node refuses of a pod that has been bound to it: sysctls that could reach beyond the pod. */
import type { Pod } from '../../../kernel/contract/kubernetes.ts';
import type { Problem } from './pod-status.ts';

/** Kubernetes' safe set: each is namespaced, and cannot harm other pods of the node. */
const safe: readonly string[] = [
  'kernel.shm_rmid_forced',
  'net.ipv4.ip_local_port_range',
  'net.ipv4.ip_local_reserved_ports',
  'net.ipv4.ip_unprivileged_port_start',
  'net.ipv4.ping_group_range',
  'net.ipv4.tcp_fin_timeout',
  'net.ipv4.tcp_keepalive_intvl',
  'net.ipv4.tcp_keepalive_probes',
  'net.ipv4.tcp_keepalive_time',
  'net.ipv4.tcp_rmem',
  'net.ipv4.tcp_syncookies',
  'net.ipv4.tcp_wmem',
];

/** `allowed`: names beyond the safe set; one that ends in "*" stands for all that begin so. */
export function admissionProblem(pod: Pod, allowed: readonly string[]): Problem | undefined {
  const forbidden = (why: string): Problem => ({ reason: 'SysctlForbidden', message: `forbidden sysctl: ${why}` });
  for (const { name } of pod.spec.securityContext?.sysctls ?? []) {
    const dotted = name.replaceAll('/', '.');
    const isAllowed = [...safe, ...allowed].some((each) =>
      each.endsWith('*') ? dotted.startsWith(each.slice(0, -1)) : dotted === each,
    );
    if (!isAllowed) return forbidden(`"${name}" not allowlisted`);
    if (pod.spec.hostNetwork && dotted.startsWith('net.'))
      return forbidden(`"${name}" not allowed with host net enabled`);
    if (pod.spec.hostIPC && !dotted.startsWith('net.')) return forbidden(`"${name}" not allowed with host ipc enabled`);
  }
  return undefined;
}
