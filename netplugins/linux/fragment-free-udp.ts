/** UDP sockets whose datagrams are never cut in pieces (IP_MTU_DISCOVER, ip(7)): too large a one is lost, or refused. */
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { closeSync } from 'node:fs';
import { AF_INET, type AF_INET6 } from './ip-address.ts';
import { kernelRefused, libc } from './libc.ts';

const SOCK_DGRAM = 2;
const SOCK_NONBLOCK = 0o4000;
const SOCK_CLOEXEC = 0o2000000;
const IPPROTO_IP = 0;
const IP_MTU_DISCOVER = 10;
const IPPROTO_IPV6 = 41;
const IPV6_MTU_DISCOVER = 23;
/** "Do not fragment", and do not learn the path's MTU. */
const PMTUDISC_PROBE = 3;

/** Bound to a free port of every address of the family. */
export async function openWholeUdp(family: typeof AF_INET | typeof AF_INET6): Promise<Socket> {
  const fd = libc().socket(family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) throw kernelRefused('Opening a UDP socket', libc().errno());
  const value = Buffer.alloc(4);
  value.writeInt32LE(PMTUDISC_PROBE);
  const [level, option] = family === AF_INET ? [IPPROTO_IP, IP_MTU_DISCOVER] : [IPPROTO_IPV6, IPV6_MTU_DISCOVER];
  // sockaddr_in (16 bytes) or sockaddr_in6 (28 bytes), all zero but the family: any address, any port.
  const any = Buffer.alloc(family === AF_INET ? 16 : 28);
  any.writeUInt16LE(family, 0);
  if (libc().setsockopt(fd, level!, option!, value, 4) !== 0 || libc().bind(fd, any, any.length) !== 0) {
    const errno = libc().errno();
    closeSync(fd);
    throw kernelRefused('Preparing a UDP socket that does not fragment', errno);
  }
  const socket = createSocket(family === AF_INET ? 'udp4' : 'udp6');
  const listening = once(socket, 'listening');
  socket.bind({ fd });
  await listening;
  return socket;
}
