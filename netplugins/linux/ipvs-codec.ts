/** Virtual services and destinations of IPVS as the kernel has them on the wire (linux/ip_vs.h), and as data. Pure. */
import { AF_INET, AF_INET6, familyOf, formatIp, parseIp } from './ip-address.ts';
import { attribute, attributes, nested, u16be, u32 } from './netlink-socket.ts';

export const ipvsCommands = {
  newService: 1,
  setService: 2,
  deleteService: 3,
  getService: 4,
  newDestination: 5,
  setDestination: 6,
  deleteDestination: 7,
  getDestination: 8,
  setConfig: 12,
  getConfig: 13,
} as const;

const ATTR_SERVICE = 1;
const ATTR_DESTINATION = 2;
const PERSISTENT = 1;
/** For schedulers that choose by the client's address: when its destination takes nothing new, another one does. */
const FALLBACK = 8;
const choosingByClient = ['mh', 'sh'];

/** What packets a service is for: those to an address and port, or those with a mark. */
export type IpvsKey =
  | { readonly protocol: 'tcp' | 'udp' | 'sctp'; readonly address: string; readonly port: number }
  | { readonly mark: number; readonly family: typeof AF_INET | typeof AF_INET6 };

export interface IpvsService {
  readonly key: IpvsKey;
  readonly scheduler: string;
  /** How long a client stays with its destination; undefined: not at all. */
  readonly persistenceSeconds: number | undefined;
}

export interface IpvsDestination {
  readonly address: string;
  readonly port: number;
  /** 0: no new connections. */
  readonly weight: number;
  /** How it gets there: 0 address translation (what we use), 1 local, 2 tunnel, 3 direct routing. */
  readonly method: number;
}

export interface ListedDestination extends IpvsDestination {
  readonly activeConnections: number;
  readonly inactiveConnections: number;
}

export interface IpvsTimeouts {
  readonly tcpSeconds: number;
  readonly tcpFinSeconds: number;
  readonly udpSeconds: number;
}

const protocols = { tcp: 6, udp: 17, sctp: 132 } as const;
const protocolName = (number: number): keyof typeof protocols | undefined =>
  (Object.keys(protocols) as (keyof typeof protocols)[]).find((name) => protocols[name] === number);

export function familyOfKey(key: IpvsKey): typeof AF_INET | typeof AF_INET6 {
  return 'mark' in key ? key.family : familyOf(key.address);
}

/** "tcp 10.96.0.1 80" or "mark 1342177281 10". */
export function keyText(key: IpvsKey): string {
  return 'mark' in key ? `mark ${key.mark} ${key.family}` : `${key.protocol} ${key.address} ${key.port}`;
}

export const destinationText = ({ address, port }: Pick<IpvsDestination, 'address' | 'port'>): string =>
  `${address} ${port}`;

function u16(value: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16LE(value);
  return bytes;
}

/** union nf_inet_addr: 16 bytes, IPv4 in the first four. */
function address16(address: string): Buffer {
  const bytes = Buffer.alloc(16);
  parseIp(address).copy(bytes);
  return bytes;
}

function keyAttributes(key: IpvsKey): Buffer[] {
  const family = attribute(1, u16(familyOfKey(key)));
  if ('mark' in key) return [family, attribute(5, u32(key.mark))];
  const { protocol, address, port } = key;
  return [family, attribute(2, u16(protocols[protocol])), attribute(3, address16(address)), attribute(4, u16be(port))];
}

export function encodeKey(key: IpvsKey): Buffer {
  return nested(ATTR_SERVICE, ...keyAttributes(key));
}

/** Attributes: scheduler 6, flags 7 (the flags, and which of them count), persistence 8, its mask 9 (whole addresses). */
export function encodeService({ key, scheduler, persistenceSeconds }: IpvsService): Buffer {
  const bits =
    (persistenceSeconds === undefined ? 0 : PERSISTENT) | (choosingByClient.includes(scheduler) ? FALLBACK : 0);
  const flags = Buffer.concat([u32(bits), u32(PERSISTENT | FALLBACK)]);
  return nested(
    ATTR_SERVICE,
    ...keyAttributes(key),
    attribute(6, scheduler),
    attribute(7, flags),
    attribute(8, u32(persistenceSeconds ?? 0)),
    attribute(9, u32(familyOfKey(key) === AF_INET ? 0xffffffff : 128)),
  );
}

export function encodeDestination({ address, port, weight, method }: IpvsDestination): Buffer {
  return nested(
    ATTR_DESTINATION,
    attribute(1, address16(address)),
    attribute(2, u16be(port)),
    attribute(3, u32(method)),
    attribute(4, u32(weight)),
    attribute(5, u32(0)),
    attribute(6, u32(0)),
    attribute(11, u16(familyOf(address))),
  );
}

const number = (bytes: Buffer | undefined): number => (bytes?.length === 4 ? bytes.readUInt32LE(0) : 0);
const text = (bytes: Buffer | undefined): string => bytes?.toString('latin1').replace(/\0.*$/s, '') ?? '';
const ip = (bytes: Buffer | undefined, family: number): string =>
  formatIp((bytes ?? Buffer.alloc(16)).subarray(0, family === AF_INET ? 4 : 16));

/** Undefined for a protocol that is none of ours. */
export function decodeService(message: Buffer): IpvsService | undefined {
  const service = attributes(attributes(message).get(ATTR_SERVICE) ?? Buffer.alloc(0));
  const family = service.get(1)?.readUInt16LE(0) === AF_INET6 ? AF_INET6 : AF_INET;
  const mark = service.get(5);
  const protocol = protocolName(service.get(2)?.readUInt16LE(0) ?? 0);
  if (mark === undefined && protocol === undefined) return undefined;
  const key: IpvsKey =
    mark !== undefined
      ? { mark: number(mark), family }
      : {
          protocol: protocol ?? 'tcp',
          address: ip(service.get(3), family),
          port: service.get(4)?.readUInt16BE(0) ?? 0,
        };
  const isPersistent = (number(service.get(7)?.subarray(0, 4)) & PERSISTENT) !== 0;
  return {
    key,
    scheduler: text(service.get(6)),
    persistenceSeconds: isPersistent ? number(service.get(8)) : undefined,
  };
}

export function decodeDestination(message: Buffer, family: number): ListedDestination {
  const found = attributes(attributes(message).get(ATTR_DESTINATION) ?? Buffer.alloc(0));
  return {
    address: ip(found.get(1), found.get(11)?.readUInt16LE(0) ?? family),
    port: found.get(2)?.readUInt16BE(0) ?? 0,
    method: number(found.get(3)),
    weight: number(found.get(4)),
    activeConnections: number(found.get(7)),
    inactiveConnections: number(found.get(8)),
  };
}

export function encodeTimeouts({ tcpSeconds, tcpFinSeconds, udpSeconds }: IpvsTimeouts): Buffer {
  return Buffer.concat(
    [tcpSeconds, tcpFinSeconds, udpSeconds].map((seconds, index) => attribute(4 + index, u32(seconds))),
  );
}

export function decodeTimeouts(message: Buffer): IpvsTimeouts {
  const found = attributes(message);
  return { tcpSeconds: number(found.get(4)), tcpFinSeconds: number(found.get(5)), udpSeconds: number(found.get(6)) };
}
