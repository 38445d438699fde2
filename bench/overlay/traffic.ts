/**
 * One end of a TCP connection, by blocking system calls so that the tool is not what is measured:
 *
 *     traffic.js sink PORT              accepts one connection after the other; prints the bytes and their SHA-256 of each
 *     traffic.js stream HOST PORT MS    sends as fast as it can; says that it is warm, then bytes and milliseconds
 *     traffic.js digest HOST PORT BYTES sends bytes of a known sequence; prints their SHA-256
 *     traffic.js echo PORT              sends each byte back
 *     traffic.js watch                  says when the last large packet had arrived, by the machine's clock that only goes forward (ms),
 *                                       once none has for half a second
 *     traffic.js watch-process PID      says when the process was gone, by the same clock
 *     traffic.js rr HOST PORT MS        one byte there and back, again and again; prints times in microseconds
 */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import type koffiType from 'koffi';
import { AF_INET, AF_INET6, parseIp } from '../../netplugins/linux/ip-address.ts';
import { libc } from '../../netplugins/linux/libc.ts';

const koffi = createRequire(import.meta.url)('koffi') as typeof koffiType;
const library = koffi.load(null);
const listen = library.func('int listen(int, int)') as unknown as (fd: number, backlog: number) => number;
const accept = library.func('int accept(int, void *, void *)') as unknown as (fd: number, a: null, b: null) => number;
const close = library.func('int close(int)') as unknown as (fd: number) => number;

const chunkBytes = 256 << 10;
const warmUpMs = 500;
const [verb = '', ...args] = process.argv.slice(2);
const say = (value: unknown): void => void process.stdout.write(`${JSON.stringify(value)}\n`);

/** struct sockaddr_in or sockaddr_in6. */
function socketAddress(host: string, port: number): Buffer {
  const address = parseIp(host);
  const isV4 = address.length === 4;
  const bytes = Buffer.alloc(isV4 ? 16 : 28);
  bytes.writeUInt16LE(isV4 ? AF_INET : AF_INET6, 0);
  bytes.writeUInt16BE(port, 2);
  address.copy(bytes, isV4 ? 4 : 8);
  return bytes;
}

function check(result: number, what: string): number {
  if (result < 0) throw new Error(`${what} failed with errno ${libc().errno()}`);
  return result;
}

const one = Buffer.from([1, 0, 0, 0]);
const noDelay = (fd: number): number => libc().setsockopt(fd, 6, 1, one, 4);

function serve(port: number, each: (fd: number) => void): never {
  // Takes both families.
  const fd = check(libc().socket(AF_INET6, 1, 0), 'socket');
  libc().setsockopt(fd, 1, 2, one, 4);
  const any = socketAddress('::', port);
  check(libc().bind(fd, any, any.length), 'bind');
  check(listen(fd, 8), 'listen');
  say('listening');
  for (;;) {
    const client = check(accept(fd, null, null), 'accept');
    noDelay(client);
    each(client);
    close(client);
  }
}

function open(host: string, port: number): number {
  const address = socketAddress(host, port);
  const fd = check(libc().socket(address.readUInt16LE(0), 1, 0), 'socket');
  check(libc().connect(fd, address, address.length), `connecting to ${host}:${port}`);
  noDelay(fd);
  return fd;
}

function sendAll(fd: number, bytes: Buffer): void {
  for (let sent = 0; sent < bytes.length;)
    sent += check(libc().write(fd, bytes.subarray(sent), bytes.length - sent), 'write');
}

/** A process that nobody has waited for is none any more. */
function isAlive(pid: number): boolean {
  try {
    return !/\) Z /.test(readFileSync(`/proc/${pid}/stat`, 'latin1'));
  } catch {
    return false;
  }
}

const buffer = Buffer.alloc(chunkBytes);
switch (verb) {
  case 'sink':
    serve(Number(args[0]), (fd) => {
      let total = 0;
      // The first byte says whether the content is looked at: to sum it costs more than to carry it.
      let digest: ReturnType<typeof createHash> | undefined;
      for (;;) {
        const got = libc().read(fd, buffer, chunkBytes);
        if (got <= 0) break;
        if (total === 0 && buffer[0] === 1) digest = createHash('sha256');
        digest?.update(buffer.subarray(0, got));
        total += got;
      }
      say({ bytes: total, digest: digest?.digest('hex') });
    });
    break;
  case 'stream': {
    const fd = open(args[0]!, Number(args[1]));
    const write = (forMs: number): { readonly bytes: number; readonly ms: number } => {
      const began = performance.now();
      let bytes = 0;
      while (performance.now() < began + forMs) bytes += check(libc().write(fd, buffer, chunkBytes), 'write');
      return { bytes, ms: performance.now() - began };
    };
    write(warmUpMs);
    say('warm');
    say(write(Number(args[2])));
    // Lives until it is ended, so that its processor time can be read.
    setInterval(() => undefined, 1 << 30);
    break;
  }
  case 'digest': {
    const fd = open(args[0]!, Number(args[1]));
    const digest = createHash('sha256');
    const wanted = Number(args[2]);
    // A xorshift sequence: no two packets are alike, so that none can take another's place unseen.
    const words = new Uint32Array(buffer.buffer, buffer.byteOffset, chunkBytes / 4);
    let state = 0x9e37_79b9;
    for (let sent = 0; sent < wanted; sent += chunkBytes) {
      for (let index = 0; index < words.length; index += 1) {
        state ^= state << 13;
        state ^= state >>> 17;
        state ^= state << 5;
        words[index] = state;
      }
      if (sent === 0) buffer[0] = 1;
      const piece = buffer.subarray(0, Math.min(chunkBytes, wanted - sent));
      digest.update(piece);
      sendAll(fd, piece);
    }
    say({ bytes: wanted, digest: digest.digest('hex') });
    break;
  }
  case 'echo':
    serve(Number(args[0]), (fd) => {
      for (;;) {
        const got = libc().read(fd, buffer, 64);
        if (got <= 0) return;
        libc().write(fd, buffer, got);
      }
    });
    break;
  case 'watch': {
    const received = (): number => {
      const line = readFileSync('/proc/self/net/dev', 'latin1')
        .split('\n')
        .find((each) => each.trim().startsWith('eth0:'));
      return Number(line?.split(':')[1]?.trim().split(/\s+/)[0] ?? 0);
    };
    const nap = new Int32Array(new SharedArrayBuffer(4));
    const now = (): number => Number(process.hrtime.bigint()) / 1e6;
    let [before, last] = [received(), now()];
    say('watching');
    for (let at = last; at < last + 500; Atomics.wait(nap, 0, 0, 0.2)) {
      at = now();
      const bytes = received();
      // Less is a message of a neighbour's, or of TCP's probes.
      if (bytes >= before + 1_000) last = at;
      before = bytes;
    }
    say({ lastMs: last });
    break;
  }
  case 'watch-process': {
    const nap = new Int32Array(new SharedArrayBuffer(4));
    say('watching');
    while (isAlive(Number(args[0]))) Atomics.wait(nap, 0, 0, 0.2);
    say({ goneMs: Number(process.hrtime.bigint()) / 1e6 });
    break;
  }
  case 'rr': {
    const fd = open(args[0]!, Number(args[1]));
    const times: number[] = [];
    const end = performance.now() + Number(args[2]);
    for (let now = performance.now(); now < end;) {
      check(libc().write(fd, buffer, 1), 'write');
      check(libc().read(fd, buffer, 1), 'read');
      const then = performance.now();
      times.push((then - now) * 1_000);
      now = then;
    }
    times.sort((a, b) => a - b);
    const at = (q: number): number => times[Math.min(times.length - 1, Math.floor(times.length * q))] ?? Number.NaN;
    say({ p50: at(0.5), p99: at(0.99), count: times.length });
    break;
  }
  default:
    throw new Error(`traffic.js does not know "${verb}"`);
}
