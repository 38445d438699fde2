/**
 * TCP connections from inside another network namespace. `net.connect` makes its socket a tick later, when the thread is
 * back home, so the socket is made and connected here and handed to Node as a file descriptor.
 */
import { closeSync } from 'node:fs';
import { Socket } from 'node:net';
import { errnoName, kernelRefused, libc } from './libc.ts';
import { runInNetns } from './namespaces.ts';

const AF_INET = 2;
const SOCK_STREAM = 1;
const SOCK_CLOEXEC = 0o2000000;
const SOL_SOCKET = 1;
const SO_SNDTIMEO = 21;
/** A connection within one namespace's loopback is made or refused at once; this bounds a full backlog. */
const timeoutSeconds = 1n;

/** A connection to 127.0.0.1:`port` inside the network namespace at `netns`. Rejects with code ECONNREFUSED and the like. */
export async function connectInNetns(netns: string, port: number): Promise<Socket> {
  const address = Buffer.alloc(16);
  address.writeUInt16LE(AF_INET, 0);
  address.writeUInt16BE(port, 2);
  address.writeUInt32BE(0x7f000001, 4);
  const timeout = Buffer.alloc(16);
  timeout.writeBigInt64LE(timeoutSeconds, 0);
  const fd = runInNetns(netns, () => {
    const made = libc().socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (made < 0) throw kernelRefused(`Opening a socket in ${netns}`, libc().errno());
    libc().setsockopt(made, SOL_SOCKET, SO_SNDTIMEO, timeout, timeout.length);
    if (libc().connect(made, address, address.length) === 0) return made;
    const errno = libc().errno();
    closeSync(made);
    throw Object.assign(new Error(`dial tcp4 127.0.0.1:${port}: ${errnoName(errno)}`), { code: errnoName(errno) });
  });
  return new Socket({ fd, readable: true, writable: true });
}
