/** The bytes of rtnetlink requests: what rtnetlink.ts sends. */
import { formatLinkMessage, MessageType, type LinkMessage } from 'netlink/dist/rt/structs.js';
import { AF_BRIDGE, AF_INET, AF_INET6, familyOf, parseCidr, parseIp, parseMac } from './ip-address.ts';
import {
  attribute,
  encode,
  nested,
  NLM_F_CREATE,
  NLM_F_REPLACE,
  u32,
  u8,
  type NetlinkRequest,
} from './netlink-socket.ts';
import type { NewRoute } from './rtnetlink-types.ts';

const IFLA_INFO_KIND = 1;
const IFLA_INFO_DATA = 2;
const RTNH_F_ONLINK = 4;
export const RT_TABLE_MAIN = 254;
export const RT_TABLE_LOCAL = 255;
export const RT_SCOPE_LINK = 253;
export const RT_SCOPE_HOST = 254;
/** A route's type: packets end at this node. */
export const RTN_LOCAL = 2;

export type RtChange =
  | { readonly verb: 'replaceRoute' | 'deleteRoute'; readonly route: NewRoute }
  | { readonly verb: 'replaceNeighbour'; readonly neighbour: { link: number; address: string; mac: string } }
  | { readonly verb: 'deleteNeighbour'; readonly neighbour: { link: number; address: string } }
  | { readonly verb: 'replaceFdb'; readonly fdb: { link: number; mac: string; destination: string } }
  | { readonly verb: 'deleteFdb'; readonly fdb: { link: number; mac: string; destination?: string | undefined } };

export function hardware(mac: string | undefined, mtu: number | undefined): { address?: Buffer; mtu?: number } {
  return { ...(mac === undefined ? {} : { address: parseMac(mac) }), ...(mtu === undefined ? {} : { mtu }) };
}

export function linkInfo(kind: string, data?: Uint8Array): Buffer {
  const name = attribute(IFLA_INFO_KIND, kind);
  return data === undefined ? name : Buffer.concat([name, nested(IFLA_INFO_DATA, data)]);
}

/** IFLA_INFO_SLAVE_KIND 4 and IFLA_INFO_SLAVE_DATA 5 with IFLA_BRPORT_MODE 4. */
export function bridgePortInfo({ hairpin }: { readonly hairpin: boolean }): Buffer {
  return Buffer.concat([attribute(4, 'bridge'), nested(5, attribute(4, u8(hairpin ? 1 : 0)))]);
}

export function linkBody(link: {
  index?: number;
  up?: boolean | undefined;
  arp?: boolean | undefined;
  attrs?: LinkMessage['attrs'];
}): Buffer {
  const { up, arp } = link;
  const set = { ...(up === true ? { up } : {}), ...(arp === false ? { noarp: true as const } : {}) };
  const change = {
    ...(up === undefined ? {} : { up: true as const }),
    ...(arp === undefined ? {} : { noarp: true as const }),
  };
  const flags = { flags: set, change };
  const data = { family: 0, ...(link.index === undefined ? {} : { index: link.index }), ...flags };
  return encode((out) => formatLinkMessage({ kind: 'link', data, attrs: link.attrs ?? {} }, out));
}

export function addressRequest(
  type: number,
  flags: number,
  index: number,
  text: string,
  options: { readonly scope?: number; readonly noPrefixRoute?: boolean; readonly broadcast?: boolean },
): NetlinkRequest {
  const { family, address, prefixLength } = parseCidr(text);
  const bytes = parseIp(address);
  const head = Buffer.from([family, prefixLength, 0, options.scope ?? 0, 0, 0, 0, 0]);
  head.writeUInt32LE(index, 4);
  const parts: Buffer[] = [head, attribute(1, bytes), attribute(2, bytes)];
  if (options.broadcast === true && family === AF_INET && prefixLength < 31) {
    const broadcast = Buffer.from(bytes);
    broadcast.writeUInt32BE((bytes.readUInt32BE(0) | (0xffffffff >>> prefixLength)) >>> 0);
    parts.push(attribute(4, broadcast));
  }
  // IFA_F_NODAD 0x02 (pods must be able to bind at once), IFA_F_NOPREFIXROUTE 0x200.
  const bits = (family === AF_INET6 ? 0x02 : 0) | (options.noPrefixRoute === true ? 0x200 : 0);
  if (bits !== 0) parts.push(attribute(8, u32(bits)));
  const verb = type === MessageType.NEWADDR ? 'Adding' : 'Deleting';
  return { type, flags, body: Buffer.concat(parts), what: `${verb} address ${text} on link ${index}` };
}

export function routeRequest(type: number, flags: number, route: NewRoute): NetlinkRequest {
  const { family, address, prefixLength } = parseCidr(route.destination);
  const head = Buffer.alloc(12);
  head.writeUInt8(family, 0);
  head.writeUInt8(prefixLength, 1);
  const table = route.table ?? RT_TABLE_MAIN;
  head.writeUInt8(table < 256 ? table : 0, 4);
  const isDelete = type === MessageType.DELROUTE;
  // On delete, unset fields mean "any": 255 is RT_SCOPE_NOWHERE.
  head.writeUInt8(route.protocol ?? (isDelete ? 0 : 4), 5);
  head.writeUInt8(
    route.scope ?? (isDelete ? 255 : route.gateway === undefined && family === AF_INET ? RT_SCOPE_LINK : 0),
    6,
  );
  head.writeUInt8(route.type ?? (isDelete ? 0 : 1), 7);
  head.writeUInt32LE(route.onlink === true ? RTNH_F_ONLINK : 0, 8);
  const parts: Buffer[] = [head];
  if (prefixLength > 0) parts.push(attribute(1, parseIp(address)));
  if (route.link !== undefined) parts.push(attribute(4, u32(route.link)));
  if (route.gateway !== undefined) parts.push(attribute(5, parseIp(route.gateway)));
  if (route.metric !== undefined && route.metric !== 0) parts.push(attribute(6, u32(route.metric)));
  if (route.source !== undefined) parts.push(attribute(7, parseIp(route.source)));
  if (route.mtu !== undefined) parts.push(nested(8, attribute(2, u32(route.mtu))));
  parts.push(attribute(15, u32(table)));
  const verb = isDelete ? 'Deleting' : 'Adding';
  const via = route.gateway === undefined ? '' : ` via ${route.gateway}`;
  return { type, flags, body: Buffer.concat(parts), what: `${verb} route ${route.destination}${via}` };
}

const NUD_PERMANENT = 0x80;
const NTF_SELF = 2;

function neighbourRequest(
  type: number,
  flags: number,
  entry: { family: number; link: number; ntf: number; destination: string | undefined; mac: string | undefined },
  what: string,
): NetlinkRequest {
  const head = Buffer.concat([
    u8(entry.family),
    Buffer.alloc(3),
    u32(entry.link),
    Buffer.from([NUD_PERMANENT, 0, entry.ntf, 0]),
  ]);
  const parts: Buffer[] = [head];
  if (entry.destination !== undefined) parts.push(attribute(1, parseIp(entry.destination)));
  if (entry.mac !== undefined) parts.push(attribute(2, parseMac(entry.mac)));
  return { type, flags, body: Buffer.concat(parts), what };
}

export function changeRequest(change: RtChange): NetlinkRequest {
  const replace = NLM_F_CREATE | NLM_F_REPLACE;
  switch (change.verb) {
    case 'replaceRoute':
      return routeRequest(MessageType.NEWROUTE, replace, change.route);
    case 'deleteRoute':
      return routeRequest(MessageType.DELROUTE, 0, change.route);
    case 'replaceNeighbour': {
      const { link, address, mac } = change.neighbour;
      const entry = { family: familyOf(address), link, ntf: 0, destination: address, mac };
      return neighbourRequest(MessageType.NEWNEIGH, replace, entry, `Setting neighbour ${address} to ${mac}`);
    }
    case 'deleteNeighbour': {
      const { link, address } = change.neighbour;
      const entry = { family: familyOf(address), link, ntf: 0, destination: address, mac: undefined };
      return neighbourRequest(MessageType.DELNEIGH, 0, entry, `Deleting neighbour ${address}`);
    }
    case 'replaceFdb': {
      const entry = { ...change.fdb, family: AF_BRIDGE, ntf: NTF_SELF };
      return neighbourRequest(
        MessageType.NEWNEIGH,
        replace,
        entry,
        `Setting FDB entry ${change.fdb.mac} to ${change.fdb.destination}`,
      );
    }
    case 'deleteFdb': {
      const entry = {
        family: AF_BRIDGE,
        ntf: NTF_SELF,
        link: change.fdb.link,
        mac: change.fdb.mac,
        destination: change.fdb.destination,
      };
      return neighbourRequest(MessageType.DELNEIGH, 0, entry, `Deleting FDB entry ${change.fdb.mac}`);
    }
  }
}
