/** What rtnetlink.ts answers and takes: links, addresses, routes, neighbours. Addresses and MACs are text. */
export interface Vxlan {
  readonly vni: number;
  /** Underlay address that packets are sent from. */
  readonly local: string | undefined;
  /** Index of the underlay link. */
  readonly link: number | undefined;
  readonly port: number;
  readonly learning: boolean;
}

export interface Link {
  readonly index: number;
  readonly name: string;
  readonly mac: string;
  readonly mtu: number;
  /** Administratively up (IFF_UP). */
  readonly up: boolean;
  /** Carries packets: the other end is up too (operational state up or unknown). Follows `up` a moment later. */
  readonly operational: boolean;
  readonly loopback: boolean;
  /** Asks for its neighbours' MACs (IFF_NOARP is not set). */
  readonly arp: boolean;
  /** Index of the bridge that it is a port of. */
  readonly master: number | undefined;
  /** For a bridge's port: frames may leave by the port they came in by. */
  readonly hairpin: boolean | undefined;
  /** For a veth: index of the peer, in the peer's namespace. For a vxlan: of the underlay link. */
  readonly peer: number | undefined;
  /** veth, bridge, vxlan, tun ...; undefined for physical links and loopback. */
  readonly kind: string | undefined;
  readonly vxlan: Vxlan | undefined;
  /** A note for people and for whoever made it (IFLA_IFALIAS). */
  readonly alias: string | undefined;
}

export interface Address {
  readonly index: number;
  readonly address: string;
  readonly prefixLength: number;
  /** 0 global, 253 link, 254 host. */
  readonly scope: number;
}

export interface Route {
  /** "10.244.1.0/24", "0.0.0.0/0", "::/0". */
  readonly destination: string;
  readonly gateway: string | undefined;
  /** Index of the outgoing link; undefined for blackhole and multipath routes. */
  readonly link: number | undefined;
  /** 0 global, 253 link, 254 host. */
  readonly scope: number;
  /** 1 unicast, 2 local, 6 blackhole ... (RTN_*). */
  readonly type: number;
  readonly table: number;
  /** Who made it: 2 kernel, 3 boot, 4 static ... (RTPROT_*). */
  readonly protocol: number;
  readonly metric: number;
  readonly source: string | undefined;
  /** The gateway counts as reachable through the link without a route to it. */
  readonly onlink: boolean;
  readonly mtu: number | undefined;
}

export type NewRoute = Pick<Route, 'destination'> & Partial<Omit<Route, 'destination'>>;

/** A neighbour (ARP, NDP) entry. */
export interface Neighbour {
  readonly link: number;
  readonly address: string;
  /** Undefined while unresolved. */
  readonly mac: string | undefined;
  readonly permanent: boolean;
}

/** A forwarding entry of a vxlan or bridge: frames for `mac` go to `destination`. */
export interface FdbEntry {
  readonly link: number;
  readonly mac: string;
  /** Underlay address (vxlan). */
  readonly destination: string | undefined;
  readonly permanent: boolean;
  readonly self: boolean;
}

export interface NewVeth {
  readonly name: string;
  readonly mac?: string | undefined;
  readonly mtu?: number | undefined;
  readonly up?: boolean | undefined;
  readonly master?: number | undefined;
  /** Of each end, to send and to receive; one unless told otherwise. */
  readonly queues?: number | undefined;
  readonly peer: {
    readonly name: string;
    readonly mac?: string | undefined;
    readonly mtu?: number | undefined;
    /** Path of the namespace to make the peer in; undefined: this one. */
    readonly netns?: string | undefined;
  };
}

export interface NewVxlan {
  readonly name: string;
  readonly vni: number;
  readonly port: number;
  readonly local?: string | undefined;
  readonly link?: number | undefined;
  readonly mac?: string | undefined;
  readonly mtu?: number | undefined;
}

export interface LinkChange {
  readonly up?: boolean | undefined;
  readonly arp?: boolean | undefined;
  readonly name?: string | undefined;
  readonly alias?: string | undefined;
  readonly mac?: string | undefined;
  readonly mtu?: number | undefined;
  /** Index of a bridge; 0: none. */
  readonly master?: number | undefined;
  /** For a bridge's port. */
  readonly hairpin?: boolean | undefined;
  /** Path of the namespace to move the link to. */
  readonly netns?: string | undefined;
}

export type RtEvent =
  | { readonly kind: 'link'; readonly deleted: boolean; readonly link: Link }
  | { readonly kind: 'address'; readonly deleted: boolean; readonly address: Address }
  | { readonly kind: 'route'; readonly deleted: boolean; readonly route: Route }
  | { readonly kind: 'neighbour'; readonly deleted: boolean; readonly neighbour: Neighbour }
  | { readonly kind: 'fdb'; readonly deleted: boolean; readonly entry: FdbEntry }
  /** A setting of a bridge's port (hairpin mode), or its leaving the bridge. */
  | { readonly kind: 'port'; readonly name: string }
  /** A setting of a link under net.ipv4.conf or net.ipv6.conf of which the kernel tells: forwarding, rp_filter ... */
  | { readonly kind: 'setting'; readonly link: number }
  /** Notifications were lost: list what you care about. */
  | { readonly kind: 'overflow' };
