/**
 * Blocking UDP sockets with segmentation offloads, alone or several of one port, for threads that call the kernel directly (batch-io.ts). Owns nothing: the
 * caller closes the descriptor.
 */
import { closeSync } from 'node:fs';
import { batchIo } from './batch-io.ts';
import { AF_INET, parseIp } from './ip-address.ts';
import { isRefused, kernelRefused, libc } from './libc.ts';

const SOCK_DGRAM = 2;
const SOCK_CLOEXEC = 0o2000000;
const SOL_SOCKET = 1;
const SO_SNDBUF = 7;
const SO_RCVBUF = 8;
const SO_REUSEPORT = 15;
const SO_ATTACH_FILTER = 26;
const SO_SNDBUFFORCE = 32;
const SO_RCVBUFFORCE = 33;
const SO_ATTACH_REUSEPORT_CBPF = 51;
const IPPROTO_IP = 0;
const IP_MTU_DISCOVER = 10;
const IP_PMTUDISC_DONT = 0;

export const SOL_UDP = 17;
export const UDP_SEGMENT = 103;
export const UDP_GRO = 104;

/** The dynamic ports of RFC 6335. */
const firstOwnPort = 49_152;

/** Opcodes of classic BPF; SKF_NET_OFF, and where the UDP header of a packet without IP options has the source port. */
const LOAD_HALF = 0x28;
const SUBTRACT = 0x14;
const AND = 0x54;
const RETURN_A = 0x16;
const RETURN_K = 0x06;
const networkHeader = 0xfff0_0000;
const sourcePortAt = 20;

const number = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32LE(value, 0);
  return bytes;
};

export interface UdpSocket {
  readonly fd: number;
  /** One send is cut into datagrams of a given size. */
  readonly segments: boolean;
  /** Datagrams of one sender and size arrive as one. */
  readonly gathers: boolean;
}

export interface UdpOptions {
  readonly segment: boolean;
  readonly gather: boolean;
  readonly bufferBytes: number;
}

/** Throws KERNEL_REFUSED; EADDRINUSE when another has the port. */
export function openUdpSocket(address: string, port: number, options: UdpOptions, isShared = false): UdpSocket {
  const what = `Opening UDP socket ${address}:${port}`;
  const fd = libc().socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) throw kernelRefused(what, libc().errno());
  const set = (level: number, option: number, value: number): boolean =>
    libc().setsockopt(fd, level, option, number(value), 4) === 0;
  // Beyond net.core.rmem_max only with CAP_NET_ADMIN of the first user namespace.
  if (!set(SOL_SOCKET, SO_RCVBUFFORCE, options.bufferBytes)) set(SOL_SOCKET, SO_RCVBUF, options.bufferBytes);
  if (!set(SOL_SOCKET, SO_SNDBUFFORCE, options.bufferBytes)) set(SOL_SOCKET, SO_SNDBUF, options.bufferBytes);
  if (isShared) set(SOL_SOCKET, SO_REUSEPORT, 1);
  // As kernel tunnels do: a path narrower than the underlay's link fragments what is too long, rather than losing it.
  set(IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DONT);
  const name = Buffer.alloc(16);
  name.writeUInt16LE(AF_INET, 0);
  name.writeUInt16BE(port, 2);
  parseIp(address).copy(name, 4);
  if (libc().bind(fd, name, name.length) !== 0) {
    const errno = libc().errno();
    closeSync(fd);
    throw kernelRefused(what, errno);
  }
  return {
    fd,
    // Zero: known, and not used unless a send asks for it.
    segments: options.segment && set(SOL_UDP, UDP_SEGMENT, 0),
    gathers: options.gather && set(SOL_UDP, UDP_GRO, 1),
  };
}

/** Senders' ports of one residue modulo this reach one socket of a port that is shared. */
export const mostSharing = 8;

/**
 * `first`, which has the port alone, and further sockets of that port, `count` in all, a power of two up to `mostSharing`: what
 * comes from port `port` + n goes to socket n, modulo their number, so that datagrams of one sender stay in order.
 */
export function shareUdpPort(
  first: UdpSocket,
  count: number,
  address: string,
  port: number,
  options: UdpOptions,
): readonly UdpSocket[] {
  if (count === 1) return [first];
  libc().setsockopt(first.fd, SOL_SOCKET, SO_REUSEPORT, number(1), 4);
  const others = Array.from({ length: count - 1 }, () => openUdpSocket(address, port, options, true));
  attachFilter(first.fd, SO_ATTACH_REUSEPORT_CBPF, [
    [LOAD_HALF, networkHeader + sourcePortAt],
    [SUBTRACT, port],
    [AND, count - 1],
    [RETURN_A, 0],
  ]);
  return [first, ...others];
}

/** A socket for sending only, from a port that is as `port` modulo `mostSharing`; what is sent to it is dropped. */
export function openSendingSocket(address: string, port: number, options: UdpOptions): UdpSocket {
  const first = firstOwnPort + ((port - firstOwnPort) & (mostSharing - 1));
  const steps = (65_536 - firstOwnPort) / mostSharing;
  const start = Math.floor(Math.random() * steps);
  for (let step = 0; ; step += 1) {
    try {
      const own = first + ((start + step) % steps) * mostSharing;
      const socket = openUdpSocket(address, own, { ...options, gather: false });
      attachFilter(socket.fd, SO_ATTACH_FILTER, [[RETURN_K, 0]]);
      return socket;
    } catch (error) {
      if (step === steps - 1 || !isRefused(error, 'EADDRINUSE')) throw error;
    }
  }
}

/** A program of classic BPF, which needs no privilege. */
function attachFilter(
  fd: number,
  option: number,
  program: readonly (readonly [code: number, operand: number])[],
): void {
  // struct sock_filter: code u16, jumps u8 and u8, operand u32. struct sock_fprog: length u16, then the pointer at 8.
  const memory = batchIo().allocate(program.length * 8);
  for (const [index, [code, operand]] of program.entries()) memory.words.set([code, operand], index * 2);
  const header = Buffer.alloc(16);
  header.writeUInt16LE(program.length, 0);
  header.writeBigUInt64LE(BigInt(memory.address), 8);
  if (libc().setsockopt(fd, SOL_SOCKET, option, header, header.length) !== 0)
    throw kernelRefused('Attaching a filter to a UDP socket', libc().errno());
}
