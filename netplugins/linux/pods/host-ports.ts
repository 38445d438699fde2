/**
 * The nft text of the node's host ports: connections to a port of the node lead to a pod of it. Pure.
 *
 * What is addressed to this node (any of its addresses, or the one that the pod names) is translated as it comes in, and as
 * the node itself sends it. A pod that reaches itself, and what comes from 127.0.0.1, take the node's address.
 */
import type { HostPort } from '../../../kernel/contract/index.ts';
import { AF_INET, canonicalIp, familyOf } from '../ip-address.ts';
import type { Lease } from './lease-store.ts';
import { nftFamilies, type NftFamily } from './masquerade.ts';

/** A sandbox and the ports of the node that lead to it. */
export type PortHolder = Pick<Lease, 'ips' | 'hostPorts'>;

const unspecified: Readonly<Record<NftFamily, string>> = { ip: '0.0.0.0', ip6: '::' };

function familyName(ip: string): NftFamily {
  return familyOf(ip) === AF_INET ? 'ip' : 'ip6';
}

/** Undefined: every address of the node. False: none of this family. */
function boundTo({ hostIp }: HostPort, family: NftFamily): string | undefined | false {
  if (hostIp === undefined || hostIp === '') return undefined;
  if (familyName(hostIp) !== family) return false;
  const address = canonicalIp(hostIp);
  return address === unspecified[family] ? undefined : address;
}

/** Whether two sandboxes cannot have both. */
export function doCollide(one: HostPort, two: HostPort): boolean {
  if (one.hostPort !== two.hostPort || one.protocol !== two.protocol) return false;
  return nftFamilies.some((family) => {
    const [a, b] = [boundTo(one, family), boundTo(two, family)];
    return a !== false && b !== false && (a === undefined || b === undefined || a === b);
  });
}

/** Whether connections to 127.0.0.1 lead to a pod: needs `route_localnet`, which the table guards. */
export function hasLoopback(lease: PortHolder): boolean {
  return (lease.hostPorts ?? []).some((port) => {
    const address = boundTo(port, 'ip');
    return address === undefined || (address !== false && address.startsWith('127.'));
  });
}

/**
 * One transaction that makes the tables exactly so, whatever is there. Without `translates`, somebody else leads the
 * connections to the pods: the tables then give answers their way back, and guard 127.0.0.1.
 */
export function renderHostPorts(
  table: string,
  leases: readonly PortHolder[],
  { translates = true }: { readonly translates?: boolean } = {},
): string {
  return nftFamilies
    .map((family) => {
      const removal = `add table ${family} ${table}\ndelete table ${family} ${table}\n`;
      const pods = leases.flatMap(({ ips, hostPorts = [] }) =>
        ips.filter((ip) => familyName(ip) === family).flatMap((ip) => hostPorts.map((port) => ({ ip, port }))),
      );
      const entries = pods.flatMap(({ ip, port }) => {
        const address = boundTo(port, family);
        return address === false ? [] : [{ ip, port, address }];
      });
      return entries.length === 0 ? removal : removal + renderTable(table, family, entries, translates);
    })
    .join('');
}

interface Entry {
  readonly ip: string;
  readonly port: HostPort;
  readonly address: string | undefined;
}

function renderTable(table: string, family: NftFamily, entries: readonly Entry[], translates: boolean): string {
  const type = family === 'ip' ? 'ipv4_addr' : 'ipv6_addr';
  const target = ({ ip, port }: Entry): string => `${ip} . ${port.containerPort}`;
  const service = ({ port }: Entry): string => `${port.protocol.toLowerCase()} . ${port.hostPort}`;
  const elements = (all: readonly string[]): string => (all.length === 0 ? '' : `elements = { ${all.join(', ')} }`);
  const bound = entries.filter(({ address }) => address !== undefined);
  const any = entries.filter(({ address }) => address === undefined);
  const pods = [...new Set(entries.map(({ ip }) => ip))];
  const isV4 = family === 'ip';
  const maps = `	map bound {
		type ${type} . inet_proto . inet_service : ${type} . inet_service
		${elements(bound.map((one) => `${one.address} . ${service(one)} : ${target(one)}`))}
	}
	map any {
		type inet_proto . inet_service : ${type} . inet_service
		${elements(any.map((one) => `${service(one)} : ${target(one)}`))}
	}`;
  const dispatch = `	chain dispatch {
		${isV4 ? '' : 'ip6 daddr ::1 return'}
		dnat ${family} to ${family} daddr . meta l4proto . th dport map @bound
		dnat ${family} to meta l4proto . th dport map @any
	}
	chain prerouting {
		type nat hook prerouting priority -99; policy accept;
		fib daddr type local jump dispatch
	}
	chain output {
		type nat hook output priority -99; policy accept;
		fib daddr type local jump dispatch
	}`;
  // Between the service proxy's hooks (-100, 100) and everything later: an address of a Service stays the Service's.
  return `table ${family} ${table} {
${translates ? maps : ''}
	set pods {
		type ${type}
		${elements(pods)}
	}
	set hairpin {
		type ${type} . ${type}
		${elements(pods.map((ip) => `${ip} . ${ip}`))}
	}
	chain guard {
		type filter hook prerouting priority -300; policy accept;
		${isV4 ? 'iifname != "lo" ip daddr 127.0.0.0/8 drop' : ''}
	}
${translates ? dispatch : ''}
	chain postrouting {
		type nat hook postrouting priority 99; policy accept;
		ct status dnat ${family} saddr . ${family} daddr @hairpin masquerade fully-random
		${isV4 ? 'ct status dnat ip saddr 127.0.0.0/8 ip daddr @pods masquerade fully-random' : ''}
	}
}
`.replaceAll(/^\t*\n/gm, '');
}
