/**
 * The two questions about nftables objects that the iptables commands cannot answer: which chains a table has, and its
 * deletion only if it is empty. Owns one nfnetlink socket a call.
 */
import { isRefused } from './libc.ts';
import { attribute, attributes, NETLINK_NETFILTER, NetlinkSocket, NLM_F_DUMP } from './netlink-socket.ts';
import type { IpFamily } from './service-addresses.ts';

const subsystem = 10 << 8;
const NFT_MSG_DELTABLE = subsystem | 2;
const NFT_MSG_GETCHAIN = subsystem | 4;
const NLM_F_NONREC = 0x100;
const NFPROTO = { ip: 2, ip6: 10 } as const;

interface Place {
  readonly netns?: string | undefined;
}

/** Names of all chains of `table`; undefined when there is no such table. */
export function nftChains(family: IpFamily, table: string, options: Place): string[] | undefined {
  const socket = new NetlinkSocket(NETLINK_NETFILTER, options);
  try {
    const messages = socket.request({
      type: NFT_MSG_GETCHAIN,
      flags: NLM_F_DUMP,
      body: Buffer.from([NFPROTO[family], 0, 0, 0]),
      what: 'Listing nftables chains',
    });
    const text = (value: Buffer | undefined): string => value?.toString('latin1').replace(/\0.*$/s, '') ?? '';
    const found = messages.map(({ payload }) => attributes(payload.subarray(4)));
    const names = found.filter((chain) => text(chain.get(1)) === table).map((chain) => text(chain.get(3)));
    return names.length === 0 && !tableExists(socket, family, table) ? undefined : names;
  } finally {
    socket.close();
  }
}

function tableExists(socket: NetlinkSocket, family: IpFamily, table: string): boolean {
  try {
    const body = Buffer.concat([Buffer.from([NFPROTO[family], 0, 0, 0]), attribute(1, table)]);
    socket.request({ type: subsystem | 1, flags: 0, body, what: `Looking for nftables table ${table}` });
    return true;
  } catch (error) {
    if (isRefused(error, 'ENOENT')) return false;
    throw error;
  }
}

/** Deletes `table` when nothing is in it; the kernel refuses otherwise, which is fine. */
export function deleteEmptyTable(family: IpFamily, table: string, options: Place): void {
  const socket = new NetlinkSocket(NETLINK_NETFILTER, options);
  try {
    const body = Buffer.concat([Buffer.from([NFPROTO[family], 0, 0, 0]), attribute(1, table)]);
    const what = `Deleting the empty nftables table ${table}`;
    socket.transactBatch(subsystem >> 8, [{ type: NFT_MSG_DELTABLE, flags: NLM_F_NONREC, body, what }]);
  } finally {
    socket.close();
  }
}
