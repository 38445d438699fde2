/**
 * Reads what the kernel sends about links, addresses, routes and neighbours. Only the attributes that are used are read,
 * by number, so that a newer kernel's additions do no harm (the `netlink` package's parsers refuse unknown lengths).
 */
import { attributes } from './netlink-socket.ts';
import { AF_BRIDGE, AF_INET, AF_INET6, formatIp, formatMac } from './ip-address.ts';
import type { Address, FdbEntry, Link, Neighbour, Route, Vxlan } from './rtnetlink-types.ts';

const IFF_UP = 1;
const IFF_LOOPBACK = 8;
const IFF_NOARP = 0x80;
const NUD_PERMANENT = 0x80;
const NTF_SELF = 2;
const RTNH_F_ONLINK = 4;

const text = (bytes: Buffer | undefined): string | undefined => bytes?.toString('latin1').replace(/\0.*$/s, '');
const number = (bytes: Buffer | undefined): number | undefined =>
  bytes?.length === 4 ? bytes.readUInt32LE(0) : undefined;
const ip = (bytes: Buffer | undefined): string | undefined => (bytes === undefined ? undefined : formatIp(bytes));
const mac = (bytes: Buffer | undefined): string | undefined => (bytes?.length === 6 ? formatMac(bytes) : undefined);

/** struct ifinfomsg (16 bytes): family, pad, type u16, index i32, flags u32, change u32; then IFLA_* attributes. */
export function readLink(payload: Buffer): Link {
  const flags = payload.readUInt32LE(8);
  const found = attributes(payload.subarray(16));
  const info = found.get(18);
  const infoAttributes = info === undefined ? undefined : attributes(info);
  const kind = text(infoAttributes?.get(1));
  const data = infoAttributes?.get(2);
  return {
    index: payload.readInt32LE(4),
    name: text(found.get(3)) ?? '',
    mac: mac(found.get(1)) ?? '',
    mtu: number(found.get(4)) ?? 0,
    up: (flags & IFF_UP) !== 0,
    // IFLA_OPERSTATE: 0 unknown (drivers that do not tell), 6 up.
    operational: [0, 6].includes(found.get(16)?.[0] ?? 0),
    loopback: (flags & IFF_LOOPBACK) !== 0,
    arp: (flags & IFF_NOARP) === 0,
    master: number(found.get(10)),
    hairpin: readHairpin(infoAttributes?.get(5)),
    peer: number(found.get(5)),
    kind,
    vxlan: kind === 'vxlan' && data !== undefined ? readVxlan(data) : undefined,
    alias: text(found.get(20)),
  };
}

/** IFLA_INFO_SLAVE_DATA of a bridge's port; IFLA_BRPORT_MODE is 4. */
function readHairpin(port: Buffer | undefined): boolean | undefined {
  const mode = port === undefined ? undefined : attributes(port).get(4)?.[0];
  return mode === undefined ? undefined : mode !== 0;
}

function readVxlan(data: Buffer): Vxlan {
  const found = attributes(data);
  return {
    vni: number(found.get(1)) ?? 0,
    local: ip(found.get(4) ?? found.get(17)),
    link: number(found.get(3)),
    port: found.get(15)?.readUInt16BE(0) ?? 0,
    learning: (found.get(7)?.[0] ?? 1) !== 0,
  };
}

/** struct ifaddrmsg (8 bytes): family, prefix length, flags, scope, index u32; IFA_ADDRESS 1, IFA_LOCAL 2. */
export function readAddress(payload: Buffer): Address {
  const found = attributes(payload.subarray(8));
  return {
    index: payload.readUInt32LE(4),
    address: ip(found.get(2) ?? found.get(1)) ?? '',
    prefixLength: payload.readUInt8(1),
    scope: payload.readUInt8(3),
  };
}

/** struct rtmsg (12 bytes): family, dst_len, src_len, tos, table, protocol, scope, type, flags u32; RTA_* attributes. */
export function readRoute(payload: Buffer): Route | undefined {
  const family = payload.readUInt8(0);
  if (family !== AF_INET && family !== AF_INET6) return undefined;
  const found = attributes(payload.subarray(12));
  const destination = ip(found.get(1)) ?? (family === AF_INET ? '0.0.0.0' : '::');
  const metrics = found.get(8);
  return {
    destination: `${destination}/${payload.readUInt8(1)}`,
    gateway: ip(found.get(5)),
    link: number(found.get(4)),
    scope: payload.readUInt8(6),
    type: payload.readUInt8(7),
    table: number(found.get(15)) ?? payload.readUInt8(4),
    protocol: payload.readUInt8(5),
    metric: number(found.get(6)) ?? 0,
    source: ip(found.get(7)),
    onlink: (payload.readUInt32LE(8) & RTNH_F_ONLINK) !== 0,
    mtu: metrics === undefined ? undefined : number(attributes(metrics).get(2)),
  };
}

/** struct ndmsg (12 bytes): family, pads, index i32, state u16, flags u8, type u8; NDA_DST 1, NDA_LLADDR 2. */
export function readNeighbour(payload: Buffer): Neighbour | FdbEntry | undefined {
  const family = payload.readUInt8(0);
  const found = attributes(payload.subarray(12));
  const link = payload.readInt32LE(4);
  const permanent = (payload.readUInt16LE(8) & NUD_PERMANENT) !== 0;
  const lladdr = mac(found.get(2));
  if (family === AF_BRIDGE) {
    if (lladdr === undefined) return undefined;
    const self = (payload.readUInt8(10) & NTF_SELF) !== 0;
    return { link, mac: lladdr, destination: ip(found.get(1)), permanent, self };
  }
  const address = ip(found.get(1));
  if (address === undefined || (family !== AF_INET && family !== AF_INET6)) return undefined;
  return { link, address, mac: lladdr, permanent };
}

export function isFdbEntry(entry: Neighbour | FdbEntry): entry is FdbEntry {
  return 'self' in entry;
}
