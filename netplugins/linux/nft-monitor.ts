/**
 * Notifications of nftables changes in one network namespace: which table, and whose socket caused it. Owns one
 * nfnetlink socket a subscription. Sees every change, by whatever program, without polling.
 */
import { listen } from './netlink-events.ts';
import { attributes, NETLINK_NETFILTER, NetlinkSocket } from './netlink-socket.ts';

const NFNLGRP_NFTABLES = 7;
const NFNL_SUBSYS_NFTABLES = 10;
const NFT_MSG_DELTABLE = 2;
const NFT_MSG_NEWCHAIN = 3;
const NFT_MSG_DELCHAIN = 5;
const NFT_MSG_DELRULE = 8;
const NFT_MSG_NEWGEN = 15;
const families: Readonly<Record<number, string>> = {
  1: 'inet',
  2: 'ip',
  3: 'arp',
  5: 'netdev',
  7: 'bridge',
  10: 'ip6',
};

export interface NftChange {
  /** ip, ip6, inet ... */
  readonly family: string;
  readonly table: string;
  /** Netlink port of the socket that made the change: for `nft`, its process id. */
  readonly port: number;
  /** Whether the table itself went. */
  readonly isTableDeleted: boolean;
  /** Whether a table, chain or rule went. */
  readonly isRemoval: boolean;
  /** Whether it is about a chain itself, such as its policy, and not about what is in it. */
  readonly isOfChain: boolean;
  /** Whether the changed object's notification contains `text`: its name, its chain's, or what it jumps to. Only while the
   *  listener runs: the bytes are overwritten after it. */
  mentions(text: string): boolean;
}

interface Ignored {
  readonly port: number;
  readonly netns: string | undefined;
}

const ignored = new Set<Ignored>();
const monitors = new Map<NetlinkSocket, string | undefined>();

function renewFilter(socket: NetlinkSocket, netns: string | undefined): void {
  socket.ignorePorts([...ignored].filter((each) => each.netns === netns).map(({ port }) => port));
}

/**
 * Monitors of this process hear no more of what the socket with this netlink port changes. Returns the way to end that,
 * to be called before the socket is closed: the port may be another's afterwards.
 */
export function ignoreNftChangesBy(port: number, { netns }: { readonly netns?: string | undefined }): () => void {
  const one = { port, netns };
  const renewAll = (): void => {
    for (const [socket, of] of monitors) if (of === netns) renewFilter(socket, of);
  };
  ignored.add(one);
  renewAll();
  return () => {
    ignored.delete(one);
    renewAll();
  };
}

/** `overflow`: changes were lost. Returns the way to stop. */
export function monitorNft(
  listener: (change: NftChange | 'overflow') => void,
  options: { readonly netns?: string | undefined } = {},
): () => void {
  const { netns } = options;
  const socket = new NetlinkSocket(NETLINK_NETFILTER, { netns, groups: [NFNLGRP_NFTABLES] });
  renewFilter(socket, netns);
  monitors.set(socket, netns);
  const stop = listen(socket, (event) => {
    if (event === 'overflow') return listener('overflow');
    for (const { type, port, payload } of event) {
      const verb = type & 0xff;
      if (type >> 8 !== NFNL_SUBSYS_NFTABLES || verb === NFT_MSG_NEWGEN) continue;
      // struct nfgenmsg: family u8, version u8, res_id u16; attribute 1 is the table's name in every kind of message.
      const table = attributes(payload.subarray(4)).get(1)?.toString('latin1').replace(/\0.*$/s, '') ?? '';
      listener({
        family: families[payload.readUInt8(0)] ?? String(payload.readUInt8(0)),
        table,
        port,
        isTableDeleted: verb === NFT_MSG_DELTABLE,
        isRemoval: verb === NFT_MSG_DELTABLE || verb === NFT_MSG_DELCHAIN || verb === NFT_MSG_DELRULE,
        isOfChain: verb === NFT_MSG_NEWCHAIN || verb === NFT_MSG_DELCHAIN,
        mentions: (text) => payload.includes(text, 0, 'latin1'),
      });
    }
  });
  return () => {
    monitors.delete(socket);
    stop();
  };
}
