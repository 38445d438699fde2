/** What a notification of rtnetlink says. */
import { MessageType } from 'netlink/dist/rt/structs.js';
import { AF_BRIDGE } from './ip-address.ts';
import { attributes, type NetlinkMessage } from './netlink-socket.ts';
import { isFdbEntry, readAddress, readLink, readNeighbour, readRoute } from './rtnetlink-codec.ts';
import type { RtEvent } from './rtnetlink-types.ts';

/** Undefined: of nothing that is watched. */
export function readEvent({ type, payload }: NetlinkMessage): RtEvent | undefined {
  switch (type) {
    case MessageType.NEWLINK:
    case MessageType.DELLINK:
      // A bridge port's notification (AF_BRIDGE) says "deleted" when the port leaves the bridge; the link lives on.
      if (payload.readUInt8(0) === AF_BRIDGE) return { kind: 'port', name: readLink(payload).name };
      return { kind: 'link', deleted: type === MessageType.DELLINK, link: readLink(payload) };
    case MessageType.NEWADDR:
    case MessageType.DELADDR:
      return { kind: 'address', deleted: type === MessageType.DELADDR, address: readAddress(payload) };
    case MessageType.NEWROUTE:
    case MessageType.DELROUTE: {
      const route = readRoute(payload);
      return route === undefined ? undefined : { kind: 'route', deleted: type === MessageType.DELROUTE, route };
    }
    case MessageType.NEWNEIGH:
    case MessageType.DELNEIGH: {
      const entry = readNeighbour(payload);
      const deleted = type === MessageType.DELNEIGH;
      if (entry === undefined) return undefined;
      return isFdbEntry(entry) ? { kind: 'fdb', deleted, entry } : { kind: 'neighbour', deleted, neighbour: entry };
    }
    case MessageType.NEWNETCONF: {
      // struct netconfmsg: family u8, padding; NETCONFA_IFINDEX 1, below zero for "all" and "default".
      const link = attributes(payload.subarray(4)).get(1)?.readInt32LE(0) ?? 0;
      return link > 0 ? { kind: 'setting', link } : undefined;
    }
    default:
      return undefined;
  }
}
