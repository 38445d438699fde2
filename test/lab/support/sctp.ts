/**
 * SCTP for probers: one-to-one sockets of the kernel. Node has none, but to its `net` they are stream sockets like any other
 * once they are open, so it listens on their descriptors and reads from them.
 */
import { closeSync } from 'node:fs';
import { createServer, Socket } from 'node:net';
import { errnoName, libc } from '../../../netplugins/linux/libc.ts';

/** As the prober answers. */
interface Answer {
  readonly answer?: string;
  readonly error?: string;
}

const AF_INET = 2;
const IPPROTO_SCTP = 132;
const SOL_SOCKET = 1;
const SO_ERROR = 4;
const IP_RECVERR = 11;
const SCTP_RTOINFO = 0;
const POLLIN_OUT = 1 | 4;
/** SOCK_STREAM, SOCK_NONBLOCK, SOCK_CLOEXEC. */
const streamSocket = 1 | 0o4000 | 0o2000000;
/** How often a chunk is sent again; the kernel begins with 3 s. */
const retransmission = { initialMs: 300, maxMs: 1_000, minMs: 200 } as const;

const failure = (): Answer => ({ error: errnoName(libc().errno()) });

function numbers(...values: readonly number[]): Buffer {
  const bytes = Buffer.alloc(values.length * 4);
  values.forEach((value, index) => bytes.writeUInt32LE(value, index * 4));
  return bytes;
}

/** struct sockaddr_in: family u16, port u16 big-endian, address. */
function socketAddress(address: string, port: number): Buffer {
  const bytes = Buffer.alloc(16);
  bytes.writeUInt16LE(AF_INET, 0);
  bytes.writeUInt16BE(port, 2);
  address.split('.').forEach((part, index) => bytes.writeUInt8(Number(part), 4 + index));
  return bytes;
}

/** EPROTONOSUPPORT: this kernel has no SCTP. */
export function listenSctp(port: number, name: string): Promise<Answer> {
  const fd = libc().socket(AF_INET, streamSocket, IPPROTO_SCTP);
  if (fd < 0) return Promise.resolve(failure());
  if (libc().bind(fd, socketAddress('0.0.0.0', port), 16) !== 0) {
    const failed = failure();
    closeSync(fd);
    return Promise.resolve(failed);
  }
  return new Promise((resolve) => {
    const server = createServer((socket) => {
      socket.on('error', () => undefined);
      socket.end(`${name} ${socket.remoteAddress}\n`);
    });
    server.on('error', (error: NodeJS.ErrnoException) => resolve({ error: error.code ?? 'UNKNOWN' }));
    server.listen({ fd }, () => resolve({ answer: 'listening' }));
  });
}

export async function askSctp(host: string, port: number, timeoutMs: number): Promise<Answer> {
  const fd = libc().socket(AF_INET, streamSocket, IPPROTO_SCTP);
  if (fd < 0) return failure();
  // An ICMP error ends the attempt, as it does with TCP.
  libc().setsockopt(fd, 0, IP_RECVERR, numbers(1), 4);
  const { initialMs, maxMs, minMs } = retransmission;
  libc().setsockopt(fd, IPPROTO_SCTP, SCTP_RTOINFO, numbers(0, initialMs, maxMs, minMs), 16);
  const deadline = performance.now() + timeoutMs;
  const begun = libc().connect(fd, socketAddress(host, port), 16);
  const problem = begun === 0 ? undefined : errnoName(libc().errno());
  const error = problem === undefined || problem === 'EINPROGRESS' ? await connected(fd, deadline) : problem;
  if (error !== undefined) {
    closeSync(fd);
    return { error };
  }
  return readAll(new Socket({ fd }), deadline);
}

/** Undefined when the association stands; the errno, or TIMEOUT. */
async function connected(fd: number, deadline: number): Promise<string | undefined> {
  // struct pollfd: fd i32, events i16, revents i16.
  const poll = Buffer.alloc(8);
  poll.writeInt32LE(fd, 0);
  poll.writeInt16LE(POLLIN_OUT, 4);
  while (libc().poll(poll, 1, 0) === 0) {
    if (performance.now() > deadline) return 'TIMEOUT';
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  const error = Buffer.alloc(4);
  libc().getsockopt(fd, SOL_SOCKET, SO_ERROR, error, numbers(4));
  return error.readInt32LE(0) === 0 ? undefined : errnoName(error.readInt32LE(0));
}

function readAll(socket: Socket, deadline: number): Promise<Answer> {
  return new Promise((resolve) => {
    let text = '';
    const done = (answer: Answer): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve(answer);
    };
    const timer = setTimeout(() => done({ error: 'TIMEOUT' }), Math.max(0, deadline - performance.now()));
    socket.on('error', (error: NodeJS.ErrnoException) => done({ error: error.code ?? 'UNKNOWN' }));
    socket.on('data', (chunk: Buffer) => (text += chunk.toString()));
    socket.on('end', () => done({ answer: text.trim() }));
    socket.resume();
  });
}
