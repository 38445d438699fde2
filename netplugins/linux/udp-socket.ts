/**
 * Blocking UDP sockets with segmentation offloads, for threads that call the kernel directly (batch-io.ts). Owns nothing: the
 * caller closes the descriptor.
 */
import { closeSync } from 'node:fs';
import { AF_INET, parseIp } from './ip-address.ts';
import { kernelRefused, libc } from './libc.ts';

const SOCK_DGRAM = 2;
const SOCK_CLOEXEC = 0o2000000;
const SOL_SOCKET = 1;
const SO_SNDBUF = 7;
const SO_RCVBUF = 8;
const SO_SNDBUFFORCE = 32;
const SO_RCVBUFFORCE = 33;
const IPPROTO_IP = 0;
const IP_MTU_DISCOVER = 10;
const IP_PMTUDISC_DONT = 0;

export const SOL_UDP = 17;
export const UDP_SEGMENT = 103;
export const UDP_GRO = 104;

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

/** Throws KERNEL_REFUSED; EADDRINUSE when another has the port. */
export function openUdpSocket(
  address: string,
  port: number,
  options: { readonly segment: boolean; readonly gather: boolean; readonly bufferBytes: number },
): UdpSocket {
  const what = `Opening UDP socket ${address}:${port}`;
  const fd = libc().socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) throw kernelRefused(what, libc().errno());
  const set = (level: number, option: number, value: number): boolean =>
    libc().setsockopt(fd, level, option, number(value), 4) === 0;
  // Beyond net.core.rmem_max only with CAP_NET_ADMIN of the first user namespace.
  if (!set(SOL_SOCKET, SO_RCVBUFFORCE, options.bufferBytes)) set(SOL_SOCKET, SO_RCVBUF, options.bufferBytes);
  if (!set(SOL_SOCKET, SO_SNDBUFFORCE, options.bufferBytes)) set(SOL_SOCKET, SO_SNDBUF, options.bufferBytes);
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
