/**
 * Whole IP packets into this node's network stack, as if the node itself had sent them: the kernel routes them by their
 * destination, and takes their source as it is. Owns one raw socket a sender.
 */
import { closeSync } from 'node:fs';
import { createRequire } from 'node:module';
import { AF_INET, formatIp, type AF_INET6 } from './ip-address.ts';
import { kernelRefused, libc } from './libc.ts';

const SOCK_RAW = 3;
const SOCK_NONBLOCK = 0o4000;
const SOCK_CLOEXEC = 0o2000000;
/** A socket of this protocol takes packets with their header, and receives nothing. */
const IPPROTO_RAW = 255;
const queueLength = 1_000;

export interface RawSender {
  /** The packet is sent before this returns, or lost. */
  send(packet: Buffer): void;
  close(): void;
}

/** Through plain system calls, both families. Throws KERNEL_REFUSED. */
export function openRawSender(family: typeof AF_INET | typeof AF_INET6): RawSender {
  const fd = libc().socket(family, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_RAW);
  if (fd < 0) throw kernelRefused('Opening a raw IP socket', libc().errno());
  // sockaddr_in (16 bytes, address at 4) or sockaddr_in6 (28 bytes, address at 8).
  const address = Buffer.alloc(family === AF_INET ? 16 : 28);
  address.writeUInt16LE(family, 0);
  return {
    send(packet) {
      if (family === AF_INET) packet.copy(address, 4, 16, 20);
      else packet.copy(address, 8, 24, 40);
      libc().sendto(fd, packet, packet.length, 0, address, address.length);
    },
    close: () => closeSync(fd),
  };
}

/** The part of package `raw-socket` that is used; it has no types of its own. */
interface RawSocketPackage {
  readonly AddressFamily: { readonly IPv4: number };
  readonly SocketLevel: { readonly IPPROTO_IP: number };
  readonly SocketOption: { readonly IP_HDRINCL: number };
  createSocket(options: { readonly protocol: number; readonly addressFamily: number }): {
    setOption(level: number, option: number, value: number): void;
    pauseRecv(): void;
    send(
      packet: Buffer,
      offset: number,
      length: number,
      address: string,
      after: (error: Error | null, bytes: number) => void,
    ): void;
    on(event: 'error', listener: (error: Error) => void): void;
    close(): void;
  };
}

/**
 * Through package `raw-socket`, IPv4 only, on the event loop. It is compiled for one version of Node where it is installed:
 * a text says why it cannot be used here.
 */
export function openRawSocket(): RawSender | string {
  let raw: RawSocketPackage;
  try {
    raw = createRequire(import.meta.url)('raw-socket') as RawSocketPackage;
  } catch (error) {
    return `package raw-socket does not load: ${String((error as Error).message).split('\n')[0]}`;
  }
  try {
    const socket = raw.createSocket({ protocol: IPPROTO_RAW, addressFamily: raw.AddressFamily.IPv4 });
    socket.setOption(raw.SocketLevel.IPPROTO_IP, raw.SocketOption.IP_HDRINCL, 1);
    socket.pauseRecv();
    socket.on('error', () => undefined);
    // The package sends one packet a turn of the event loop: more than this waiting are lost, as on any full queue.
    let waiting = 0;
    const sent = (): void => void (waiting -= 1);
    return {
      send: (packet) => {
        if (waiting >= queueLength) return;
        waiting += 1;
        socket.send(packet, 0, packet.length, formatIp(packet.subarray(16, 20)), sent);
      },
      close: () => socket.close(),
    };
  } catch (error) {
    return `a raw socket cannot be opened: ${(error as Error).message}`;
  }
}
