/**
 * Sets of the kernel that iptables rules look addresses up in (ipset), through nfnetlink: no command is started. Owns one
 * socket a handle. Adding what is there and deleting what is not are no errors.
 *
 * Numbers inside attributes are in network order and say so by NLA_F_NET_BYTEORDER; the kernel refuses them otherwise.
 */
import { parseAttributes } from 'netlink/dist/structs.js';
import { AF_INET, AF_INET6, formatIp, parseCidr, parseIp } from './ip-address.ts';
import { isRefused } from './libc.ts';
import {
  attribute,
  attributes,
  nested,
  NETLINK_NETFILTER,
  NetlinkSocket,
  NLM_F_CREATE,
  NLM_F_DUMP,
  NLM_F_EXCL,
  u16be,
  u8,
  type NetlinkRequest,
} from './netlink-socket.ts';

const subsystem = 6 << 8;
const CREATE = subsystem | 2;
const DESTROY = subsystem | 3;
const FLUSH = subsystem | 4;
const LIST = subsystem | 7;
const ADD = subsystem | 9;
const DEL = subsystem | 10;
const protocolVersion = 6;
const NET_ORDER = 0x4000;
const FLAG_LIST_HEADER = 4;
const FLAG_WITH_SKBINFO = 1 << 6;

/** Kinds of sets with the revision of the kernel's code whose attributes are used here (Linux 3.19 has all). */
const types = {
  'hash:ip': 4,
  'hash:ip,port': 5,
  'hash:ip,port,ip': 5,
  'hash:ip,port,net': 7,
} as const;
export type SetType = keyof typeof types;

export interface SetDefinition {
  readonly name: string;
  readonly type: SetType;
  readonly family: typeof AF_INET | typeof AF_INET6;
  /** Elements may carry a packet mark. */
  readonly hasMarks?: boolean;
}

/** As text: "10.96.0.1", "10.96.0.1,tcp:80", "10.244.1.2,tcp:80,10.244.1.2", "10.96.0.1,tcp:80,192.0.2.0/24". */
export type SetElement = string;

export interface SetChange {
  readonly verb: 'add' | 'delete';
  readonly set: string;
  readonly element: SetElement;
  readonly mark?: number | undefined;
}

export interface IpSets {
  /** False when a set of this name is there already. */
  create(definition: SetDefinition): boolean;
  /** False when there is none. Throws EBUSY while a rule refers to it. */
  destroy(name: string): boolean;
  flush(name: string): void;
  /** Names, kinds and numbers of elements of all sets. */
  headers(): { readonly name: string; readonly type: string; readonly elements: number }[];
  /** Elements with their marks; undefined when there is no such set. */
  elements(name: string): Map<SetElement, number | undefined> | undefined;
  apply(changes: readonly SetChange[]): void;
  close(): void;
}

const protocolNumbers: Readonly<Record<string, number>> = { tcp: 6, udp: 17, sctp: 132 };
const protocolNames = new Map(Object.entries(protocolNumbers).map(([name, value]) => [value, name]));

function u32be(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value >>> 0);
  return bytes;
}

/** IPSET_ATTR_IPADDR_IPV4 1, _IPV6 2. */
function encodeAddress(type: number, address: string): Buffer {
  const bytes = parseIp(address);
  return nested(type, attribute((bytes.length === 4 ? 1 : 2) | NET_ORDER, bytes));
}

/** IP 1, PORT 4, PROTO 7, IP2 20, CIDR2 21, SKBMARK 27 (mark and mask). */
export function encodeElement(element: SetElement, mark?: number): Buffer {
  const [address = '', service, second] = element.split(',');
  const parts = [encodeAddress(1, address)];
  if (service !== undefined) {
    const [protocol = '', port = ''] = service.split(':');
    parts.push(attribute(4 | NET_ORDER, u16be(Number(port))), attribute(7, u8(protocolNumbers[protocol] ?? 0)));
  }
  if (second !== undefined && second.includes('/')) {
    const { address: network, prefixLength } = parseCidr(second);
    parts.push(encodeAddress(20, network), attribute(21, u8(prefixLength)));
  } else if (second !== undefined) parts.push(encodeAddress(20, second));
  if (mark !== undefined) parts.push(attribute(27 | NET_ORDER, Buffer.concat([u32be(mark), u32be(0xffffffff)])));
  return nested(7, ...parts);
}

function decodeAddress(bytes: Buffer | undefined): string | undefined {
  if (bytes === undefined) return undefined;
  const [value] = attributes(bytes).values();
  return value === undefined ? undefined : formatIp(value);
}

/** Where the second address is a range, one of a whole address may come without its length. */
export function decodeElement(bytes: Buffer, type: string): { readonly element: SetElement; readonly mark?: number } {
  const found = attributes(bytes);
  const address = decodeAddress(found.get(1)) ?? '';
  const parts = [address];
  const port = found.get(4);
  if (port !== undefined) parts.push(`${protocolNames.get(found.get(7)?.[0] ?? 0) ?? '?'}:${port.readUInt16BE(0)}`);
  const second = decodeAddress(found.get(20));
  if (second !== undefined) {
    const length = found.get(21)?.[0] ?? (second.includes(':') ? 128 : 32);
    parts.push(type.endsWith('net') ? `${second}/${length}` : second);
  }
  const mark = found.get(27);
  return { element: parts.join(','), ...(mark === undefined ? {} : { mark: mark.readUInt32BE(0) }) };
}

const text = (bytes: Buffer | undefined): string => bytes?.toString('latin1').replace(/\0.*$/s, '') ?? '';

export function openIpSets(options: { readonly netns?: string | undefined } = {}): IpSets {
  const socket = new NetlinkSocket(NETLINK_NETFILTER, options);
  // struct nfgenmsg: family u8, version u8, res_id u16.
  const head = (family = AF_INET): Buffer =>
    Buffer.concat([Buffer.from([family, 0, 0, 0]), attribute(1, u8(protocolVersion))]);
  const named = (name: string): Buffer => attribute(2, name);
  const ignoring = (errnos: readonly string[], request: NetlinkRequest): boolean => {
    try {
      socket.request(request);
      return true;
    } catch (error) {
      if (isRefused(error, ...errnos)) return false;
      throw error;
    }
  };
  const list = (flags: number, name?: string): Map<number, Buffer[]>[] => {
    const body = Buffer.concat([
      head(),
      ...(name === undefined ? [] : [named(name)]),
      ...(flags === 0 ? [] : [attribute(6 | NET_ORDER, u32be(flags))]),
    ]);
    const what = name === undefined ? 'Listing sets' : `Listing set ${name}`;
    return socket.request({ type: LIST, flags: NLM_F_DUMP, body, what }).map(({ payload }) => {
      const found = new Map<number, Buffer[]>();
      parseAttributes(payload.subarray(4), ({ type, data }) => found.set(type, [...(found.get(type) ?? []), data]));
      return found;
    });
  };
  return {
    create({ name, type, family, hasMarks = false }) {
      // CADT_FLAGS 8, MAXELEM 19.
      const data = [
        attribute(19 | NET_ORDER, u32be(1 << 20)),
        ...(hasMarks ? [attribute(8 | NET_ORDER, u32be(FLAG_WITH_SKBINFO))] : []),
      ];
      const body = Buffer.concat([
        head(family),
        named(name),
        attribute(3, type),
        attribute(4, u8(types[type])),
        attribute(5, u8(family)),
        nested(7, ...data),
      ]);
      const what = `Creating set ${name} of type ${type}`;
      return ignoring(['EEXIST'], { type: CREATE, flags: NLM_F_CREATE | NLM_F_EXCL, body, what });
    },
    destroy: (name) =>
      ignoring(['ENOENT'], {
        type: DESTROY,
        flags: NLM_F_EXCL,
        body: Buffer.concat([head(), named(name)]),
        what: `Destroying set ${name}`,
      }),
    flush: (name) =>
      void socket.request({
        type: FLUSH,
        flags: 0,
        body: Buffer.concat([head(), named(name)]),
        what: `Emptying set ${name}`,
      }),
    headers: () =>
      list(FLAG_LIST_HEADER).map((set) => {
        const data = attributes(set.get(7)?.[0] ?? Buffer.alloc(0));
        return {
          name: text(set.get(2)?.[0]),
          type: text(set.get(3)?.[0]),
          elements: data.get(24)?.readUInt32BE(0) ?? 0,
        };
      }),
    elements(name) {
      let answers: Map<number, Buffer[]>[];
      try {
        answers = list(0, name);
      } catch (error) {
        if (isRefused(error, 'ENOENT')) return undefined;
        throw error;
      }
      const elements = new Map<SetElement, number | undefined>();
      const type = answers.map((set) => text(set.get(3)?.[0])).find((each) => each !== '') ?? '';
      for (const answer of answers)
        for (const part of answer.get(8) ?? [])
          parseAttributes(part, ({ data }) => {
            const { element, mark } = decodeElement(data, type);
            elements.set(element, mark);
          });
      return elements;
    },
    apply(changes) {
      const errors = socket.transact(
        changes.map(({ verb, set, element, mark }) => ({
          type: verb === 'add' ? ADD : DEL,
          flags: 0,
          body: Buffer.concat([
            head(element.includes('.') ? AF_INET : AF_INET6),
            named(set),
            encodeElement(element, mark),
          ]),
          what: `${verb === 'add' ? 'Adding' : 'Deleting'} ${element} ${verb === 'add' ? 'to' : 'from'} set ${set}`,
        })),
      );
      const failed = errors.find((error) => error !== undefined);
      if (failed !== undefined) throw failed;
    },
    close: () => socket.close(),
  };
}
