/**
 * The iptables rules of the proxy: few, and the same whatever the Services, as they look everything up in sets. Written as
 * iptables-save prints them, so that a new instance sees what is right already. Pure.
 *
 * Packets to a service address are for the node (by a local route), and IPVS takes them where they would be
 * delivered: after all of this, but for packets that the node itself sends, which it takes right after nat OUTPUT. So what
 * must be dropped is dropped in mangle.
 */
import type { Hook, Picture } from '../../linux/iptables-picture.ts';
import type { Context, IpFamily } from '../../linux/service-addresses.ts';
import type { UnknownDecision } from '../../linux/service-decision.ts';
import { serviceRangeRules } from '../../linux/service-range-rules.ts';
import { markMask, markPrefix } from './marks.ts';
import { kernelSetName, type SetName } from './sets.ts';

/** Begins the names of our chains; no other proxy's prefix begins so. */
export const prefix = 'PINTLEVS-';

const unknownChain = `${prefix}UNKNOWN`;
const unservedRule = (family: IpFamily): string =>
  `-m set --match-set ${kernelSetName(family, 'addresses')} dst -g ${prefix}REFUSE`;

/** The rule that refuses what no Service has, with its chain. */
export function unknownRule({ via, subject }: UnknownDecision, family: IpFamily): string {
  const rule = via === 'service range' ? serviceRangeRules([subject], unknownChain).join('') : unservedRule(family);
  return `${prefix}UNSERVED ${rule}`;
}

export function rulesPicture({ family, clusterCidrs, serviceCidrs }: Context, markBit: number): Picture {
  const mark = `0x${(2 ** markBit).toString(16)}`;
  const match = (set: SetName, ends = 'dst,dst', not = ''): string =>
    `-m set ${not}--match-set ${kernelSetName(family, set)} ${ends}`;
  const ownMark = `0x${markPrefix.toString(16)}/0x${markMask.toString(16)}`;
  const lines = (...rules: readonly string[]): string => rules.join('\n');
  const fromPods = (target: string): string[] => clusterCidrs.map((cidr) => `-s ${cidr} ${target}`);
  const unwanted = [
    `${match('restricted')} ${match('allowed', 'dst,dst,src', '! ')} -j DROP`,
    `${match('drop')} -j DROP`,
  ];
  const masquerade = '-j MASQUERADE --random-fully';
  const unreachable = `-j REJECT --reject-with ${family === 'ip' ? 'icmp' : 'icmp6'}-port-unreachable`;
  const hook = (chain: string, what: string, target: string, isNewOnly = true): Hook => ({
    chain,
    rule: `${isNewOnly ? '-m conntrack --ctstate NEW ' : ''}-m comment --comment "pintle ${what}" -j ${prefix}${target}`,
  });
  return {
    mangle: {
      chains: new Map([
        [
          `${prefix}ARRIVING`,
          lines(...unwanted, ...fromPods(`-g ${prefix}INSIDE`), `${match('drop-outside')} -j DROP`),
        ],
        [`${prefix}LEAVING`, lines(...unwanted, `-g ${prefix}INSIDE`)],
        // A packet keeps its mark when it goes into a tunnel: IPVS would take the tunnel's own packet for the service's too,
        // and send it into the tunnel again, until the kernel's stack is full. So marks end where packets leave, and at the
        // latest where a tunnel's packets begin: two places, lest somebody removes one rule.
        [`${prefix}DEPARTING`, `-m mark --mark ${ownMark} -j MARK --set-xmark 0x0/0xffffffff`],
        [
          `${prefix}INSIDE`,
          `${match('inside')} -j SET --map-set ${kernelSetName(family, 'inside')} dst,dst --map-mark`,
        ],
      ]),
      lists: new Map(),
      hooks: [
        hook('PREROUTING', 'service policies', 'ARRIVING'),
        hook('OUTPUT', 'service policies begin anew', 'DEPARTING', false),
        hook('OUTPUT', 'service policies of the node', 'LEAVING'),
        hook('POSTROUTING', 'service policies end here', 'DEPARTING', false),
      ],
    },
    nat: {
      chains: new Map([
        [
          `${prefix}ARRIVING`,
          lines(
            `${match('masquerade')} -j ${prefix}MARK`,
            // Without known pod ranges a pod cannot be told from an outsider: then every client keeps its address.
            ...(clusterCidrs.length > 0 ? [`${match('cluster')} -j ${prefix}OUTSIDE`] : []),
          ),
        ],
        // The node's own IPv4 packets have the service's address as their source, as it is local.
        [`${prefix}LEAVING`, `${match('served')} -j ${prefix}MARK`],
        [`${prefix}OUTSIDE`, lines(...fromPods('-j RETURN'), `-j ${prefix}MARK`)],
        // The connection's mark: the packet's own selects virtual services.
        [`${prefix}MARK`, `-j CONNMARK --set-xmark ${mark}/${mark}`],
        [
          `${prefix}POSTROUTING`,
          lines(`-m connmark --mark ${mark}/${mark} ${masquerade}`, `${match('hairpin', 'dst,dst,src')} ${masquerade}`),
        ],
      ]),
      lists: new Map(),
      hooks: [
        hook('PREROUTING', 'service clients', 'ARRIVING', false),
        hook('OUTPUT', 'service clients of the node', 'LEAVING', false),
        hook('POSTROUTING', 'masquerade', 'POSTROUTING', false),
      ],
    },
    filter: {
      chains: new Map([
        [
          `${prefix}UNSERVED`,
          lines(
            `${match('refuse')} -g ${prefix}REFUSE`,
            `${match('served')} -j RETURN`,
            // Otherwise whatever listens on all addresses of the node would answer at every service address.
            unservedRule(family),
            ...serviceRangeRules(serviceCidrs, unknownChain),
          ),
        ],
        [unknownChain, lines('-p tcp -j REJECT --reject-with tcp-reset', unreachable)],
        [
          `${prefix}REFUSE`,
          lines('-p tcp -j REJECT --reject-with tcp-reset', `-p udp ${unreachable}`, `-p sctp ${unreachable}`),
        ],
      ]),
      lists: new Map(),
      hooks: ['INPUT', 'FORWARD', 'OUTPUT'].map((chain) => hook(chain, 'unserved addresses', 'UNSERVED')),
    },
  };
}
