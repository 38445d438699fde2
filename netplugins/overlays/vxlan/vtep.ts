/** The VTEP of a node: what vxlan publishes in flannel's annotations, and reads there of its peers. */
import type { Peer } from '../../../kernel/contract/index.ts';
import { parseMac } from '../../linux/ip-address.ts';
import { annotationKeys, readPeerRange, type Family, type PeerRange } from '../../linux/overlay/flannel-annotations.ts';

/** One peer in one family: all that its route, ARP and FDB entry need. */
export interface PeerVtep extends PeerRange {
  readonly vni: number;
  readonly mac: string;
}

export function vtepData(vni: number, mac: string): unknown {
  return { VNI: vni, VtepMAC: mac };
}

/** The peer's VTEP of a family; undefined when the peer has no pod range of it; a text says why it cannot be used. */
export function readVtep(peer: Peer, family: Family, vni: number): PeerVtep | undefined | string {
  const range = readPeerRange(peer, family, 'vxlan');
  if (typeof range !== 'object') return range;
  const key = annotationKeys.data[family];
  const data = readData(peer.annotations[key]);
  if (data === undefined) return `annotation ${key} is missing or malformed; expected {"VNI":${vni},"VtepMAC":"..."}`;
  if (data.vni !== vni) return `its VNI is ${data.vni}, ours is ${vni}`;
  return { ...range, vni, mac: data.mac };
}

function readData(text: string | undefined): { vni: number; mac: string } | undefined {
  try {
    const data = JSON.parse(text ?? '') as { VNI?: unknown; VtepMAC?: unknown };
    if (typeof data.VtepMAC !== 'string') return undefined;
    parseMac(data.VtepMAC);
    // Before flannel 0.12 the VNI was not published.
    return { vni: typeof data.VNI === 'number' ? data.VNI : 1, mac: data.VtepMAC.toLowerCase() };
  } catch {
    return undefined;
  }
}
