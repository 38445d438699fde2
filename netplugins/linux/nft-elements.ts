/**
 * Elements of nftables sets and maps, through nfnetlink: no command is started and no text is read, which is what makes a
 * change of one Service cheap. Owns one socket a handle. One call of `apply` is one kernel transaction.
 *
 *   message  nfgenmsg, TABLE 1, SET 2, ELEMENTS 3 { ... }: see nft-element-writer.ts
 */
import { isRefused } from './libc.ts';
import {
  attribute,
  attributeList,
  attributes,
  nested,
  NETLINK_NETFILTER,
  NetlinkSocket,
  NLM_F_CREATE,
  NLM_F_DUMP,
  type NetlinkRequest,
} from './netlink-socket.ts';
import { NftElementWriter, type NftElement } from './nft-element-writer.ts';
import { ignoreNftChangesBy } from './nft-monitor.ts';
import type { IpFamily } from './service-addresses.ts';

const subsystem = 10 << 8;
const NEWSETELEM = subsystem | 12;
const GETSETELEM = subsystem | 13;
const DELSETELEM = subsystem | 14;
const NFPROTO = { ip: 2, ip6: 10 } as const;
/** An attribute holds 64 KiB. */
const elementsBytes = 60_000;
/** An element that is about to expire may be gone when it is to be deleted. */
const expiringMs = 10_000n;
const pruneElements = 1_000;

export interface NftElementChange {
  readonly verb: 'add' | 'delete';
  readonly set: string;
  readonly elements: readonly NftElement[];
  /** Of a concatenation with ranges. */
  readonly isInterval: boolean;
}

export interface NftElements {
  /** Netlink port of the socket, which notifications of the changes will name. */
  readonly port: number;
  /** In order, all or nothing. Adding an element that is there is no error; deleting one that is not, is. */
  apply(family: IpFamily, table: string, changes: readonly NftElementChange[]): void;
  /** Deletes those elements of a set with time-outs that are stale by their keys' bytes; what is about to expire is left. */
  prune(family: IpFamily, table: string, set: string, isStale: (key: Buffer) => boolean): void;
  close(): void;
}

/** The number at the beginning of a key. */
export const readNumber = (key: Buffer): number => key.readUInt32LE();

export function openNftElements(options: { readonly netns?: string | undefined } = {}): NftElements {
  const socket = new NetlinkSocket(NETLINK_NETFILTER, options);
  socket.growSendBuffer();
  const writer = new NftElementWriter();
  // Tens of thousands of notifications, which each monitor of this process would read to find that they are ours.
  const heard = ignoreNftChangesBy(socket.port, options);
  const headOf = (family: IpFamily, table: string, set: string): Buffer =>
    Buffer.concat([Buffer.from([NFPROTO[family], 0, 0, 0]), attribute(1, table), attribute(2, set)]);
  return {
    port: socket.port,
    prune(family, table, set, isStale) {
      const head = headOf(family, table, set);
      const what = `Clearing elements of ${family} ${table} ${set}`;
      try {
        const answers = socket.request({ type: GETSETELEM, flags: NLM_F_DUMP, body: head, what });
        const stale = answers
          .flatMap(({ payload }) => attributeList(attributes(payload.subarray(4)).get(3) ?? Buffer.alloc(0)))
          .map(({ data }) => attributes(data))
          .filter((element) => (element.get(5)?.readBigUInt64BE() ?? 0n) > expiringMs)
          .map((element) => attributes(element.get(1) ?? Buffer.alloc(0)).get(1) ?? Buffer.alloc(0))
          .filter(isStale);
        for (let start = 0; start < stale.length; start += pruneElements) {
          const keys = stale.slice(start, start + pruneElements).map((key) => nested(1, nested(1, attribute(1, key))));
          const body = Buffer.concat([head, nested(3, ...keys)]);
          const [failed] = socket.transactBatch(subsystem >> 8, [{ type: DELSETELEM, flags: 0, body, what }]);
          if (failed !== undefined) throw failed;
        }
      } catch (error) {
        // Somebody else deleted the set or the element.
        if (!isRefused(error, 'ENOENT')) throw error;
      }
    },
    apply(family, table, changes) {
      const head = (set: string): Buffer => headOf(family, table, set);
      const messages: NetlinkRequest[] = [];
      // What a call that threw had begun.
      writer.take();
      for (const { verb, set, elements, isInterval } of changes) {
        const [type, flags] = verb === 'add' ? [NEWSETELEM, NLM_F_CREATE] : [DELSETELEM, 0];
        const what = `${verb === 'add' ? 'Adding' : 'Deleting'} elements of ${family} ${table} ${set}`;
        const flush = (): void => {
          if (writer.length > 0)
            messages.push({ type, flags, body: Buffer.concat([head(set), nested(3, writer.take())]), what });
        };
        for (const { key, data } of elements) {
          if (writer.length > elementsBytes) flush();
          writer.add({ key, data: verb === 'add' ? data : '' }, isInterval);
        }
        flush();
      }
      if (messages.length === 0) return;
      const [failed] = socket.transactBatch(subsystem >> 8, messages);
      if (failed !== undefined) throw failed;
    },
    close: () => {
      heard();
      socket.close();
    },
  };
}
