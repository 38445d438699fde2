/**
 * The two questions about nftables objects that the iptables commands cannot answer: which chains a table has, and its
 * deletion only if it is empty. Owns one nfnetlink socket a call.
 */
import { isRefused } from './libc.ts';
import {
  attribute,
  attributes,
  NETLINK_NETFILTER,
  NetlinkSocket,
  NLM_F_ACK,
  NLM_F_DUMP,
  NLM_F_REQUEST,
} from './netlink-socket.ts';
import type { IpFamily } from './service-addresses.ts';

const subsystem = 10 << 8;
const NFT_MSG_DELTABLE = subsystem | 2;
const NFT_MSG_GETCHAIN = subsystem | 4;
const NFNL_MSG_BATCH_BEGIN = 0x10;
const NFNL_MSG_BATCH_END = 0x11;
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
    const header = (type: number, flags: number, sequence: number, body: Buffer): Buffer => {
      const head = Buffer.alloc(16);
      head.writeUInt32LE(16 + body.length, 0);
      head.writeUInt16LE(type, 4);
      head.writeUInt16LE(flags, 6);
      head.writeUInt32LE(sequence, 8);
      return Buffer.concat([head, body]);
    };
    // struct nfgenmsg: family, version, res_id (big-endian: the subsystem of the batch).
    const batch = Buffer.from([0, 0, 0, 10]);
    const body = Buffer.concat([Buffer.from([NFPROTO[family], 0, 0, 0]), attribute(1, table)]);
    socket.sendRaw(
      Buffer.concat([
        header(NFNL_MSG_BATCH_BEGIN, NLM_F_REQUEST, 1, batch),
        header(NFT_MSG_DELTABLE, NLM_F_REQUEST | NLM_F_ACK | NLM_F_NONREC, 2, body),
        header(NFNL_MSG_BATCH_END, NLM_F_REQUEST, 3, batch),
      ]),
      `Deleting the empty nftables table ${table}`,
    );
    socket.receive();
  } finally {
    socket.close();
  }
}
