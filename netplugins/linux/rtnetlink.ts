/**
 * Links, addresses, routes, neighbours and forwarding entries of one network namespace, through rtnetlink. Owns one
 * socket a handle (two with a subscription).
 *
 * All verbs are synchronous: the kernel answers inside send(2). Verbs that add or delete return whether they changed
 * something, so that callers are idempotent by ignoring it; anything else that is refused throws KERNEL_REFUSED.
 */
import { closeSync } from 'node:fs';
import { formatVxlan } from 'netlink/dist/rt/ifla.js';
import {
  formatAddressMessage,
  formatNeighborMessage,
  formatRouteMessage,
  MessageType,
  MulticastGroups,
  type LinkMessage,
} from 'netlink/dist/rt/structs.js';
import { PintleError } from '../../kernel/contract/index.ts';
import { AF_BRIDGE, familyOf, parseIp } from './ip-address.ts';
import { isRefused } from './libc.ts';
import { openNetns } from './namespaces.ts';
import { listen } from './netlink-events.ts';
import {
  attribute,
  encode,
  NETLINK_ROUTE,
  NetlinkSocket,
  NLM_F_CREATE,
  NLM_F_DUMP,
  NLM_F_EXCL,
  NLM_F_REPLACE,
  u16be,
  type NetlinkMessage,
  type NetlinkRequest,
} from './netlink-socket.ts';
import { isFdbEntry, readAddress, readLink, readNeighbour, readRoute } from './rtnetlink-codec.ts';
import { readEvent } from './rtnetlink-event.ts';
import {
  detachRequest,
  dropQdiscRequest,
  filtersRequest,
  linkProgramRequests,
  type LinkProgram,
  type LinkSide,
} from './link-program.ts';
import { rateRequest } from './rate-limit.ts';
import {
  addressRequest,
  bridgePortInfo,
  changeRequest,
  hardware,
  linkBody,
  linkInfo,
  routeRequest,
  type RtChange,
} from './rtnetlink-requests.ts';
import type {
  Address,
  FdbEntry,
  Link,
  LinkChange,
  Neighbour,
  NewRoute,
  NewVeth,
  NewVxlan,
  Route,
  RtEvent,
} from './rtnetlink-types.ts';

export type * from './rtnetlink-types.ts';
export {
  RT_SCOPE_HOST,
  RT_SCOPE_LINK,
  RT_TABLE_LOCAL,
  RT_TABLE_MAIN,
  RTN_LOCAL,
  type RtChange,
} from './rtnetlink-requests.ts';

const create = NLM_F_CREATE | NLM_F_EXCL;
const VETH_INFO_PEER = 1;
const RTM_F_FIB_MATCH = 0x2000;

export interface Rtnetlink {
  listLinks(): Link[];
  /** By name or index; undefined when there is none. */
  getLink(which: string | number): Link | undefined;
  createVeth(veth: NewVeth): void;
  createBridge(bridge: {
    readonly name: string;
    readonly mac?: string | undefined;
    readonly mtu?: number | undefined;
  }): void;
  createVxlan(vxlan: NewVxlan): void;
  /** A link that leads nowhere: a place for addresses. */
  createDummy(dummy: { readonly name: string }): void;
  /** A link that takes over what another receives, so that a queue can hold it back. */
  createIfb(ifb: { readonly name: string }): void;
  setLink(which: string | number, change: LinkChange): void;
  deleteLink(which: string | number): boolean;

  listAddresses(filter?: { readonly index?: number; readonly family?: number }): Address[];
  /** `noDad`: usable at once (IPv6), no duplicate detection. `noPrefixRoute`: no route for the prefix is made. */
  addAddress(
    index: number,
    cidr: string,
    options?: { readonly scope?: number; readonly noPrefixRoute?: boolean; readonly broadcast?: boolean },
  ): boolean;
  deleteAddress(index: number, cidr: string): boolean;

  /** Routes of all tables but `local`, unless `table` names one. */
  listRoutes(filter?: { readonly family?: number; readonly table?: number; readonly link?: number }): Route[];
  /** The route that the kernel takes to an address, as it stands now; undefined: it has none. */
  routeTo(address: string): Route | undefined;
  /** The entry of the routing table that `routeTo` follows: its destination is a range. */
  matchingRoute(address: string): Route | undefined;
  addRoute(route: NewRoute): boolean;
  replaceRoute(route: NewRoute): void;
  deleteRoute(route: NewRoute): boolean;

  listNeighbours(filter?: { readonly link?: number; readonly family?: number }): Neighbour[];
  replaceNeighbour(entry: { readonly link: number; readonly address: string; readonly mac: string }): void;
  deleteNeighbour(entry: { readonly link: number; readonly address: string }): boolean;

  listFdb(filter?: { readonly link?: number }): FdbEntry[];
  /** A permanent entry of the link itself (vxlan). */
  replaceFdb(entry: { readonly link: number; readonly mac: string; readonly destination: string }): void;
  deleteFdb(entry: { readonly link: number; readonly mac: string; readonly destination?: string | undefined }): boolean;

  /** Lets a BPF program (bpf.ts) decide on what a link sends or receives, as long as the link lives; another before it is replaced. */
  attachProgram(program: LinkProgram): void;
  /**
   * Takes a program off a link of others, and the place for programs with it when nothing else is there. False: there was none.
   */
  detachProgram(side: LinkSide): boolean;
  /** Calls `listener` when somebody has taken the last program, or the place for programs, off a link. Returns the way to stop. */
  watchPrograms(side: LinkSide, listener: () => void): () => void;
  /** What the link may send in bits a second. Throws UNSUPPORTED when the kernel lacks tbf. */
  setRate(link: number, bitsPerSecond: number): void;

  /** Many changes in few system calls; one result each, in order. */
  apply(changes: readonly RtChange[]): (PintleError | undefined)[];

  /** Changes of links, addresses, routes, neighbours and FDB in this namespace. Returns the way to stop. */
  subscribe(listener: (event: RtEvent) => void): () => void;
  close(): void;
}

/** Opens a handle on the namespace at `netns` (undefined: the process's own). */
export function openRtnetlink(options: { readonly netns?: string | undefined } = {}): Rtnetlink {
  const socket = new NetlinkSocket(NETLINK_ROUTE, options);
  const stops = new Set<() => void>();

  const dump = (type: number, body: Uint8Array, what: string): NetlinkMessage[] =>
    socket.request({ type, flags: NLM_F_DUMP, body, what });
  /** True when done; false when it was so already (one of `already`). */
  const change = (request: NetlinkRequest, ...already: readonly string[]): boolean => {
    try {
      socket.request(request);
      return true;
    } catch (error) {
      if (isRefused(error, ...already)) return false;
      throw error;
    }
  };
  const newLink = (link: LinkMessage['attrs'], what: string): void =>
    void socket.request({ type: MessageType.NEWLINK, flags: create, body: linkBody({ attrs: link }), what });

  const links: Pick<
    Rtnetlink,
    | 'listLinks'
    | 'getLink'
    | 'createVeth'
    | 'createBridge'
    | 'createVxlan'
    | 'createDummy'
    | 'createIfb'
    | 'setLink'
    | 'deleteLink'
  > = {
    listLinks: () => dump(MessageType.GETLINK, linkBody({}), 'Listing links').map(({ payload }) => readLink(payload)),

    getLink(which) {
      const body = typeof which === 'string' ? linkBody({ attrs: { ifname: which } }) : linkBody({ index: which });
      try {
        const [answer] = socket.request({
          type: MessageType.GETLINK,
          flags: 0,
          body,
          what: `Looking up link ${which}`,
        });
        return answer === undefined ? undefined : readLink(answer.payload);
      } catch (error) {
        if (isRefused(error, 'ENODEV')) return undefined;
        throw error;
      }
    },

    createVeth(veth) {
      const fd = veth.peer.netns === undefined ? undefined : openNetns(veth.peer.netns);
      const { queues } = veth;
      const several = queues === undefined ? {} : { numTxQueues: queues, numRxQueues: queues };
      try {
        const peer = linkBody({
          attrs: {
            ifname: veth.peer.name,
            ...hardware(veth.peer.mac, veth.peer.mtu),
            ...several,
            ...(fd === undefined ? {} : { netNsFd: fd }),
          },
        });
        const body = linkBody({
          up: veth.up,
          attrs: {
            ifname: veth.name,
            ...hardware(veth.mac, veth.mtu),
            ...several,
            ...(veth.master === undefined ? {} : { master: veth.master }),
            linkinfo: linkInfo('veth', attribute(VETH_INFO_PEER, peer)),
          },
        });
        const what = `Creating veth pair ${veth.name} and ${veth.peer.name}`;
        socket.request({ type: MessageType.NEWLINK, flags: create, body, what });
      } finally {
        if (fd !== undefined) closeSync(fd);
      }
    },

    createBridge: ({ name, mac, mtu }) =>
      newLink({ ifname: name, ...hardware(mac, mtu), linkinfo: linkInfo('bridge') }, `Creating bridge ${name}`),

    createVxlan({ name, vni, port, local, link, mac, mtu }) {
      const localBytes = local === undefined ? undefined : parseIp(local);
      const data = encode(
        formatVxlan({
          id: vni,
          ...(link === undefined ? {} : { link }),
          ...(localBytes === undefined ? {} : localBytes.length === 4 ? { local: localBytes } : { local6: localBytes }),
          learning: 0,
          port: u16be(port),
        }),
      );
      newLink(
        { ifname: name, ...hardware(mac, mtu), linkinfo: linkInfo('vxlan', data) },
        `Creating vxlan device ${name}`,
      );
    },

    createDummy: ({ name }) => newLink({ ifname: name, linkinfo: linkInfo('dummy') }, `Creating dummy link ${name}`),

    createIfb: ({ name }) => newLink({ ifname: name, linkinfo: linkInfo('ifb') }, `Creating ifb link ${name}`),

    setLink(which, { up, arp, name, alias, mac, mtu, master, hairpin, netns }) {
      const fd = netns === undefined ? undefined : openNetns(netns);
      try {
        const index = typeof which === 'number' ? which : indexOf(which);
        const body = linkBody({
          index,
          up,
          arp,
          attrs: {
            ...(name === undefined ? {} : { ifname: name }),
            ...(alias === undefined ? {} : { ifalias: alias }),
            ...hardware(mac, mtu),
            ...(master === undefined ? {} : { master }),
            ...(hairpin === undefined ? {} : { linkinfo: bridgePortInfo({ hairpin }) }),
            ...(fd === undefined ? {} : { netNsFd: fd }),
          },
        });
        socket.request({ type: MessageType.NEWLINK, flags: 0, body, what: `Changing link ${which}` });
      } finally {
        if (fd !== undefined) closeSync(fd);
      }
    },

    deleteLink(which) {
      const body = typeof which === 'string' ? linkBody({ attrs: { ifname: which } }) : linkBody({ index: which });
      return change({ type: MessageType.DELLINK, flags: 0, body, what: `Deleting link ${which}` }, 'ENODEV');
    },
  };

  /** Index by name; throws ENODEV with the name in the message. */
  const indexOf = (name: string): number => {
    const what = `Looking up link ${name}`;
    const [answer] = socket.request({
      type: MessageType.GETLINK,
      flags: 0,
      body: linkBody({ attrs: { ifname: name } }),
      what,
    });
    return answer?.payload.readInt32LE(4) ?? 0;
  };

  const neighbours = (family: number): (Neighbour | FdbEntry)[] =>
    dump(
      MessageType.GETNEIGH,
      encode((out) => formatNeighborMessage({ kind: 'neighbor', data: { family }, attrs: {} }, out)),
      'Listing neighbours',
    )
      .map(({ payload }) => readNeighbour(payload))
      .filter((entry) => entry !== undefined);

  const route = (address: string, flags: number): Route | undefined => {
    const bytes = parseIp(address);
    const head = Buffer.alloc(12);
    head.writeUInt8(familyOf(address), 0);
    head.writeUInt8(bytes.length * 8, 1);
    head.writeUInt32LE(flags, 8);
    const body = Buffer.concat([head, attribute(1, bytes)]);
    const what = `Looking up the route to ${address}`;
    try {
      const [answer] = socket.request({ type: MessageType.GETROUTE, flags: 0, body, what });
      return answer === undefined ? undefined : readRoute(answer.payload);
    } catch (error) {
      // The last three are what blackhole, unreachable and prohibit routes answer.
      if (isRefused(error, 'ENETUNREACH', 'EINVAL', 'EHOSTUNREACH', 'EACCES')) return undefined;
      throw error;
    }
  };

  return {
    ...links,

    listAddresses: ({ index, family = 0 } = {}) =>
      dump(
        MessageType.GETADDR,
        encode((out) => formatAddressMessage({ kind: 'address', data: { family }, attrs: {} }, out)),
        'Listing addresses',
      )
        .map(({ payload }) => readAddress(payload))
        .filter((address) => index === undefined || address.index === index),
    addAddress: (index, cidr, options = {}) =>
      change(addressRequest(MessageType.NEWADDR, create, index, cidr, options), 'EEXIST'),
    deleteAddress: (index, cidr) =>
      change(addressRequest(MessageType.DELADDR, 0, index, cidr, {}), 'EADDRNOTAVAIL', 'ENODEV'),

    listRoutes: ({ family = 0, table, link } = {}) =>
      dump(
        MessageType.GETROUTE,
        encode((out) => formatRouteMessage({ kind: 'route', data: { family }, attrs: {} }, out)),
        'Listing routes',
      )
        .map(({ payload }) => readRoute(payload))
        .filter((route) => route !== undefined)
        .filter((route) => (table === undefined ? route.table !== 255 : route.table === table))
        .filter((route) => link === undefined || route.link === link),
    routeTo: (address) => route(address, 0),
    matchingRoute: (address) => route(address, RTM_F_FIB_MATCH),
    addRoute: (route) => change(routeRequest(MessageType.NEWROUTE, create, route), 'EEXIST'),
    replaceRoute: (route) =>
      void socket.request(routeRequest(MessageType.NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, route)),
    deleteRoute: (route) => change(routeRequest(MessageType.DELROUTE, 0, route), 'ESRCH', 'ENODEV'),

    listNeighbours: ({ link, family = 0 } = {}) =>
      neighbours(family)
        .filter((entry): entry is Neighbour => !isFdbEntry(entry))
        .filter((entry) => link === undefined || entry.link === link),
    replaceNeighbour: (neighbour) => void socket.request(changeRequest({ verb: 'replaceNeighbour', neighbour })),
    deleteNeighbour: (neighbour) =>
      change(changeRequest({ verb: 'deleteNeighbour', neighbour }), 'ENOENT', 'ENODEV', 'ENXIO'),

    listFdb: ({ link } = {}) =>
      neighbours(AF_BRIDGE)
        .filter((entry) => isFdbEntry(entry))
        .filter((entry) => link === undefined || entry.link === link),
    replaceFdb: (fdb) => void socket.request(changeRequest({ verb: 'replaceFdb', fdb })),
    deleteFdb: (fdb) => change(changeRequest({ verb: 'deleteFdb', fdb }), 'ENOENT', 'ENODEV', 'ENXIO'),

    attachProgram(program) {
      const { qdisc, filter } = linkProgramRequests(program);
      change(qdisc, ...(program.isShared === true ? ['EEXIST'] : []));
      socket.request(filter);
    },

    detachProgram({ link, side }) {
      // EINVAL: there is no place for programs at all.
      if (!change(detachRequest({ link, side }), 'ENOENT', 'EINVAL', 'ENODEV')) return false;
      const isFree = (['ingress', 'egress'] as const).every(
        (each) => socket.request(filtersRequest({ link, side: each })).length === 0,
      );
      // Of kind ingress it is somebody else's.
      if (isFree) change(dropQdiscRequest(link), 'ENOENT', 'EINVAL', 'ENODEV');
      return true;
    },

    watchPrograms({ link, side }, listener) {
      // struct tcmsg: family u8, padding, ifindex i32.
      const mayBeGone = ({ type, payload }: NetlinkMessage): boolean =>
        (type === MessageType.DELQDISC || type === MessageType.DELTFILTER) && payload.readInt32LE(4) === link;
      const groups = [MulticastGroups.TC];
      const stop = listen(new NetlinkSocket(NETLINK_ROUTE, { ...options, groups }), (event) => {
        if (event !== 'overflow' && !event.some(mayBeGone)) return;
        if (!stops.has(stop) || links.getLink(link) === undefined) return;
        if (socket.request(filtersRequest({ link, side })).length === 0) listener();
      });
      stops.add(stop);
      return () => {
        stops.delete(stop);
        stop();
      };
    },

    setRate(link, bitsPerSecond) {
      try {
        socket.request(rateRequest(link, bitsPerSecond));
      } catch (error) {
        if (!isRefused(error, 'ENOENT')) throw error;
        throw new PintleError(
          'UNSUPPORTED',
          `Limiting link ${link}: this kernel has no queueing discipline tbf; expected sch_tbf (modprobe sch_tbf)`,
          { cause: error },
        );
      }
    },

    apply: (changes) => socket.transact(changes.map((one) => changeRequest(one))),

    subscribe(listener) {
      const { LINK, NEIGH, IPV4_IFADDR, IPV6_IFADDR, IPV4_ROUTE, IPV6_ROUTE } = MulticastGroups;
      const { IPV4_NETCONF, IPV6_NETCONF } = MulticastGroups;
      const groups = [LINK, NEIGH, IPV4_IFADDR, IPV6_IFADDR, IPV4_ROUTE, IPV6_ROUTE, IPV4_NETCONF, IPV6_NETCONF];
      const stop = listen(new NetlinkSocket(NETLINK_ROUTE, { ...options, groups }), (event) => {
        if (event === 'overflow') return listener({ kind: 'overflow' });
        for (const message of event) {
          const read = readEvent(message);
          if (read !== undefined) listener(read);
        }
      });
      stops.add(stop);
      return () => {
        stops.delete(stop);
        stop();
      };
    },

    close() {
      for (const stop of stops) stop();
      stops.clear();
      socket.close();
    },
  };
}
