/**
 * Elements of nftables sets and maps, through nfnetlink: no command is started and no text is read, which is what makes a
 * change of one Service cheap. Owns one socket a handle. One call of `apply` is one kernel transaction.
 *
 *   message  nfgenmsg, TABLE 1, SET 2, ELEMENTS 3 { LIST_ELEM 1 { KEY 1 { VALUE 1 }, KEY_END 10 { VALUE 1 }, DATA 2 {...} } ... }
 *   key      its fields one after the other, each padded to four bytes ("10.96.0.1 . tcp . 80")
 *   number   a packet's priority is a field too ("a:2a30"), in the order of the host's bytes
 *   data     VALUE 1 (laid out as a key), or VERDICT 2 { CODE 1, CHAIN 2 }
 */
import { parseCidr, parseIp } from './ip-address.ts';
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
  u16be,
  u32,
  type NetlinkRequest,
} from './netlink-socket.ts';
import type { IpFamily } from './service-addresses.ts';

const subsystem = 10 << 8;
const NEWSETELEM = subsystem | 12;
const GETSETELEM = subsystem | 13;
const DELSETELEM = subsystem | 14;
const NFPROTO = { ip: 2, ip6: 10 } as const;
const NFT_GOTO = 0xffff_fffc;
const NF_DROP = 0;
/** An attribute holds 64 KiB. */
const elementsBytes = 60_000;
/** An element that is about to expire may be gone when it is to be deleted. */
const expiringMs = 10_000n;
const pruneElements = 1_000;
const protocolNumbers: Readonly<Record<string, number>> = { tcp: 6, udp: 17, sctp: 132 };

export interface NftElement {
  /** As nft writes it: "10.96.0.1 . tcp . 80 . 192.0.2.0/24". A range may only be the last field, of an interval set. */
  readonly key: string;
  /** "goto NAME", "drop", or a value written as a key; empty for a set. */
  readonly data: string;
}

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

function u32be(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value >>> 0);
  return bytes;
}

/** One field, padded; the last address of the range where `isEnd`. */
function encodeField(field: string, isEnd: boolean): Buffer {
  const protocol = protocolNumbers[field];
  if (protocol !== undefined) return Buffer.from([protocol, 0, 0, 0]);
  if (/^\d+$/.test(field)) return Buffer.concat([u16be(Number(field)), Buffer.alloc(2)]);
  const [, major = '', minor = ''] = /^([0-9a-f]{1,4}):([0-9a-f]{1,4})$/.exec(field) ?? [];
  if (major !== '') return u32(Number.parseInt(major, 16) * 0x1_0000 + Number.parseInt(minor, 16));
  if (!field.includes('/')) return parseIp(field);
  const { address, prefixLength } = parseCidr(field);
  const bytes = Buffer.from(parseIp(address));
  for (let bit = prefixLength; bit < bytes.length * 8; bit += 1) {
    const mask = 0x80 >> (bit & 7);
    bytes[bit >> 3] = isEnd ? bytes[bit >> 3]! | mask : bytes[bit >> 3]! & ~mask;
  }
  return bytes;
}

const encodeKey = (key: string, isEnd = false): Buffer =>
  Buffer.concat(key.split(' . ').map((field) => encodeField(field, isEnd)));

function encodeData(data: string): Buffer {
  if (data === 'drop') return nested(2, nested(2, attribute(1, u32be(NF_DROP))));
  if (data.startsWith('goto '))
    return nested(2, nested(2, attribute(1, u32be(NFT_GOTO)), attribute(2, data.slice('goto '.length))));
  return nested(2, attribute(1, encodeKey(data)));
}

/** Several maps of a service have the same key. */
type EncodedKeys = Map<string, Buffer>;

function encodedKey(key: string, known: EncodedKeys): Buffer {
  let bytes = known.get(key);
  if (bytes === undefined) known.set(key, (bytes = nested(1, attribute(1, encodeKey(key)))));
  return bytes;
}

export function encodeElement({ key, data }: NftElement, isInterval: boolean, known: EncodedKeys = new Map()): Buffer {
  return nested(
    1,
    encodedKey(key, known),
    ...(isInterval ? [nested(10, attribute(1, encodeKey(key, true)))] : []),
    ...(data === '' ? [] : [encodeData(data)]),
  );
}

/** The number at the beginning of a key. */
export const readNumber = (key: Buffer): number => key.readUInt32LE();

export function openNftElements(options: { readonly netns?: string | undefined } = {}): NftElements {
  const socket = new NetlinkSocket(NETLINK_NETFILTER, options);
  socket.growSendBuffer();
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
      const known: EncodedKeys = new Map();
      for (const { verb, set, elements, isInterval } of changes) {
        const [type, flags] = verb === 'add' ? [NEWSETELEM, NLM_F_CREATE] : [DELSETELEM, 0];
        const what = `${verb === 'add' ? 'Adding' : 'Deleting'} elements of ${family} ${table} ${set}`;
        let parts: Buffer[] = [];
        let bytes = 0;
        const flush = (): void => {
          if (parts.length > 0)
            messages.push({ type, flags, body: Buffer.concat([head(set), nested(3, ...parts)]), what });
          [parts, bytes] = [[], 0];
        };
        for (const element of elements) {
          const part = encodeElement(verb === 'add' ? element : { ...element, data: '' }, isInterval, known);
          if (bytes + part.length > elementsBytes) flush();
          parts.push(part);
          bytes += part.length;
        }
        flush();
      }
      if (messages.length === 0) return;
      const [failed] = socket.transactBatch(subsystem >> 8, messages);
      if (failed !== undefined) throw failed;
    },
    close: () => socket.close(),
  };
}
