/**
 * Connection-tracking entries of one network namespace, through ctnetlink. Owns one socket a handle.
 */
import { AF_INET, AF_INET6, formatIp } from './ip-address.ts';
import { isRefused } from './libc.ts';
import {
  attribute,
  attributes,
  nested,
  NETLINK_NETFILTER,
  NetlinkSocket,
  NLM_F_DUMP,
  u32,
  u8,
  type NetlinkMessage,
} from './netlink-socket.ts';

const CT_GET = (1 << 8) | 1;
const CT_DELETE = (1 << 8) | 2;
const CTA_TUPLE_ORIG = 1;
const CTA_TUPLE_REPLY = 2;
const CTA_ID = 12;
const CTA_FILTER = 25;
const CTA_FILTER_ORIG_FLAGS = 1;
const CTA_FILTER_REPLY_FLAGS = 2;
const FILTER_PROTO_NUM = 1 << 3;

export interface Flow {
  readonly source: string;
  readonly sourcePort: number;
  readonly destination: string;
  readonly destinationPort: number;
}

export interface ConntrackEntry {
  readonly family: typeof AF_INET | typeof AF_INET6;
  /** 6 TCP, 17 UDP, 132 SCTP. */
  readonly protocol: number;
  /** As the client sent it. */
  readonly original: Flow;
  /** As the answer comes: its source is the endpoint that was chosen. */
  readonly reply: Flow;
  /** What deletes exactly this entry. */
  readonly handle: { readonly tuple: Buffer; readonly id: Buffer };
}

export interface Conntrack {
  /** All entries of one protocol. */
  list(family: typeof AF_INET | typeof AF_INET6, protocol: number): ConntrackEntry[];
  /** False when it was gone already. */
  delete(entry: ConntrackEntry): boolean;
  close(): void;
}

export function openConntrack(options: { readonly netns?: string | undefined } = {}): Conntrack {
  const socket = new NetlinkSocket(NETLINK_NETFILTER, options);
  const dump = (family: number, ...body: readonly Buffer[]): NetlinkMessage[] =>
    socket.request({
      type: CT_GET,
      flags: NLM_F_DUMP,
      body: Buffer.concat([generation(family), ...body]),
      what: 'Listing connection-tracking entries',
    });
  return {
    list(family, protocol) {
      // The kernel's own filter (Linux 5.8) spares us the copies of all TCP entries.
      const byProtocol = [
        nested(CTA_TUPLE_ORIG, nested(2, attribute(1, u8(protocol)))),
        nested(
          CTA_FILTER,
          attribute(CTA_FILTER_ORIG_FLAGS, u32(FILTER_PROTO_NUM)),
          attribute(CTA_FILTER_REPLY_FLAGS, u32(0)),
        ),
      ];
      let messages: NetlinkMessage[];
      try {
        messages = dump(family, ...byProtocol);
      } catch (error) {
        if (!isRefused(error, 'EINVAL', 'EOPNOTSUPP')) throw error;
        messages = dump(family);
      }
      return messages
        .map(({ payload }) => readEntry(payload))
        .filter((entry) => entry !== undefined)
        .filter((entry) => entry.protocol === protocol && entry.family === family);
    },
    delete(entry) {
      const body = Buffer.concat([
        generation(entry.family),
        nested(CTA_TUPLE_ORIG, entry.handle.tuple),
        attribute(CTA_ID, entry.handle.id),
      ]);
      try {
        socket.request({ type: CT_DELETE, flags: 0, body, what: 'Deleting a connection-tracking entry' });
        return true;
      } catch (error) {
        if (isRefused(error, 'ENOENT')) return false;
        throw error;
      }
    },
    close: () => socket.close(),
  };
}

/** struct nfgenmsg: family u8, version u8 (0), res_id u16. */
function generation(family: number): Buffer {
  return Buffer.from([family, 0, 0, 0]);
}

export function readEntry(payload: Buffer): ConntrackEntry | undefined {
  const family = payload.readUInt8(0);
  if (family !== AF_INET && family !== AF_INET6) return undefined;
  const found = attributes(payload.subarray(4));
  const originalBytes = found.get(CTA_TUPLE_ORIG);
  const replyBytes = found.get(CTA_TUPLE_REPLY);
  const id = found.get(CTA_ID);
  if (originalBytes === undefined || replyBytes === undefined || id === undefined) return undefined;
  const original = readTuple(originalBytes);
  const reply = readTuple(replyBytes);
  return {
    family,
    protocol: original.protocol,
    original: original.flow,
    reply: reply.flow,
    handle: { tuple: Buffer.from(originalBytes), id: Buffer.from(id) },
  };
}

/** CTA_TUPLE_IP 1 { v4 src 1, dst 2; v6 src 3, dst 4 }, CTA_TUPLE_PROTO 2 { number 1, source port 2, destination port 3 }. */
function readTuple(bytes: Buffer): { protocol: number; flow: Flow } {
  const parts = attributes(bytes);
  const addresses = attributes(parts.get(1) ?? Buffer.alloc(0));
  const transport = attributes(parts.get(2) ?? Buffer.alloc(0));
  const address = (v4: number, v6: number): string => {
    const value = addresses.get(v4) ?? addresses.get(v6);
    return value === undefined ? '' : formatIp(value);
  };
  return {
    protocol: transport.get(1)?.[0] ?? 0,
    flow: {
      source: address(1, 3),
      sourcePort: transport.get(2)?.readUInt16BE(0) ?? 0,
      destination: address(2, 4),
      destinationPort: transport.get(3)?.readUInt16BE(0) ?? 0,
    },
  };
}
