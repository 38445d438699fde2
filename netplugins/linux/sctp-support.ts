/** Whether Services with SCTP ports can work here, in words for people. */
import type { ProxyPort } from '../../kernel/contract/index.ts';
import { readSysctl, type SysctlOptions } from './sysctl.ts';

/**
 * Translation is connection tracking's, which must know a protocol's ports: a kernel can be built without SCTP's. Undefined:
 * it knows them, or does not say (its settings are there once it tracks something, and not for every user namespace).
 */
export function trackingProblem(
  options: SysctlOptions,
  read: (name: string) => string | undefined = (name) => readSysctl(name, options),
): string | undefined {
  if (read('net.netfilter.nf_conntrack_udp_timeout') === undefined) return undefined;
  return read('net.netfilter.nf_conntrack_sctp_timeout_established') === undefined
    ? 'connection tracking of this kernel does not know SCTP; one built with CONFIG_NF_CT_PROTO_SCTP is needed'
    : undefined;
}

const named = 3;

/** "SCTP ports of default/a, default/b and 4 more are not served" */
export function unservedPorts(ports: readonly Pick<ProxyPort, 'namespace' | 'service'>[]): string {
  const services = [...new Set(ports.map(({ namespace, service }) => `${namespace}/${service}`))];
  const rest = services.length - named;
  const list = services.slice(0, named).join(', ');
  return `SCTP ports of ${list}${rest > 0 ? ` and ${rest} more` : ''} are not served`;
}
