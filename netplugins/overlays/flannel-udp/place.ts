/** Where the node is, as the flannel-udp overlay sees it: its options, its end of the tunnels, what the data path is started with. */
import { isIPv4 } from 'node:net';
import { PintleError, type LocalNode, type Logger } from '../../../kernel/contract/index.ts';
import { AF_INET, canonicalCidr, canonicalIp, networkAddress, parseCidr } from '../../linux/ip-address.ts';
import { overwrittenIp, type Family } from '../../linux/overlay/flannel-annotations.ts';
import { findLocalEnd, type LocalEnd, type UnderlayChoice } from '../../linux/overlay/underlay.ts';
import type { Rtnetlink } from '../../linux/rtnetlink.ts';
import { protocolVersion, type DataPathSettings, type Threads } from './data-path-protocol.ts';

export interface FlannelUdpOptions {
  readonly port: number;
  readonly path: 'dgram' | 'offload';
  readonly inject: 'auto' | 'raw-socket' | 'tun';
  /** Of path offload: `plain` sends nothing but plain inner packets, each a datagram; `super` takes no shortcut. */
  readonly framing: 'auto' | 'plain' | 'super';
  readonly threads: Threads;
  readonly udpSegment: boolean;
  readonly udpGro: boolean;
  readonly checkSource: boolean;
  readonly underlay: UnderlayChoice;
  /** No more than this, whatever the underlay allows. */
  readonly mtu?: number | undefined;
  /** Where the data path's process is found. */
  readonly stateDir: string;
  /** Where `pintle plugins show` finds what it uses. */
  readonly usesFile?: string | undefined;
  readonly log: Logger;
  readonly netns?: string | undefined;
}

interface Range {
  readonly family: Family;
  readonly podCidr: string;
  /** The first address of the pod range, of the device: the node's own packets into the overlay come from it. */
  readonly deviceCidr: string;
}

export interface Place {
  readonly local: LocalNode;
  /** Underlay address of this node, and what peers are told instead when it is overwritten. */
  readonly end: LocalEnd;
  readonly overwrite: string | undefined;
  readonly ranges: readonly Range[];
  /** All that goes into the device: what no peer has is answered by the data path. */
  readonly clusterCidrs: readonly string[];
  readonly settings: DataPathSettings;
}

export function findPlace(
  links: Rtnetlink,
  local: LocalNode,
  options: FlannelUdpOptions,
  chosen: Pick<DataPathSettings, 'device' | 'path' | 'fallback'>,
): Place {
  const { name, podCidrs, clusterCidrs, addresses, annotations } = local;
  const { underlay, port, inject, framing, threads, udpSegment, udpGro, checkSource } = options;
  if (podCidrs.length === 0)
    throw new PintleError('INVALID', `Node ${name} joins overlay flannel-udp without a pod range; expected one`);
  const own = addresses.filter((address) => isIPv4(address)).map(canonicalIp);
  if (own.length === 0 && underlay.interface === undefined && underlay.cidrs === undefined)
    throw new PintleError(
      'UNSUPPORTED',
      `Node ${name} has no IPv4 underlay address (${addresses.join(', ')}), which overlay flannel-udp needs; ` +
        'give it one, or use an overlay with IPv6 underlays (vxlan, host-gw)',
    );
  const ranges = podCidrs.map((text): Range => {
    const cidr = parseCidr(text);
    const deviceCidr = `${networkAddress(cidr)}/${cidr.family === AF_INET ? 32 : 128}`;
    return { family: cidr.family, podCidr: canonicalCidr(text), deviceCidr };
  });
  const families = new Set(ranges.map(({ family }) => family));
  const end = findLocalEnd(links, { family: AF_INET, addresses: own }, underlay, 'flannel-udp');
  return {
    local,
    end,
    overwrite: overwrittenIp(annotations, AF_INET),
    ranges,
    clusterCidrs: clusterCidrs.map(canonicalCidr).filter((cidr) => families.has(parseCidr(cidr).family)),
    settings: {
      version: protocolVersion,
      ...chosen,
      local: end.source ?? '0.0.0.0',
      port,
      sources: ranges.map(({ deviceCidr }) => parseCidr(deviceCidr).address),
      inject,
      threads,
      udpSegment,
      udpGro,
      shortcut: framing === 'auto',
      checkSource,
    },
  };
}
