/**
 * A pod of the benchmark: a process in a pod's network namespace that answers (TCP and UDP echo) and asks. Its own small
 * generators are for what no tool does: connections made and ended one after the other with percentiles, a steady probe
 * that knows how long nothing came back, paced requests during a roll-out.
 */
import { createHash } from 'node:crypto';
import dgram from 'node:dgram';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { ascending, quantile } from '../method/statistics.ts';
import { serveParent } from './remote.ts';

export interface Target {
  readonly host: string;
  readonly port: number;
}

export interface Latencies {
  readonly count: number;
  readonly errors: Readonly<Record<string, number>>;
  readonly seconds: number;
  /** Microseconds. */
  readonly p50: number;
  readonly p90: number;
  readonly p99: number;
  readonly p999: number;
}

export interface Connections extends Latencies {
  /** SYN to SYN-ACK, microseconds. */
  readonly connectP50: number;
  readonly connectP99: number;
}

export interface LoadArgs extends Target {
  readonly durationMs: number;
  readonly warmUpMs: number;
  readonly width: number;
  /** Further targets, asked in turn. */
  readonly hosts?: readonly string[];
}

export interface ProbeResult {
  readonly sent: number;
  readonly received: number;
  /** Longest time in ms in which nothing came back, beyond the interval itself. */
  readonly longestGapMs: number;
}

export interface PacedResult {
  readonly sent: number;
  readonly lost: number;
  readonly errors: Readonly<Record<string, number>>;
}

const now = (): number => performance.now();
const microseconds = (ms: number): number => ms * 1_000;
/** After so long a request is lost. */
const timeoutMs = 2_000;
/** Checks are no measurements: on a busy machine they may take their time. */
const checkMs = 10_000;

function count(errors: Record<string, number>, code: string): void {
  errors[code] = (errors[code] ?? 0) + 1;
}

function percentiles(ms: readonly number[], errors: Record<string, number>, seconds: number): Latencies {
  const sorted = ascending(ms);
  const at = (q: number): number => microseconds(quantile(sorted, q));
  return { count: ms.length, errors, seconds, p50: at(0.5), p90: at(0.9), p99: at(0.99), p999: at(0.999) };
}

/** Makes a connection, sends a byte, waits for its echo, ends. Resolves to how long both parts took, in ms. */
function exchangeOnce({ host, port }: Target): Promise<{ readonly connectMs: number; readonly totalMs: number }> {
  return new Promise((resolve, reject) => {
    const began = now();
    let connectMs = 0;
    const socket = connect({ host, port, noDelay: true });
    const fail = (code: string): void => {
      socket.destroy();
      reject(Object.assign(new Error(code), { code }));
    };
    socket.setTimeout(timeoutMs, () => fail('TIMEOUT'));
    socket.on('error', (error: NodeJS.ErrnoException) => fail(error.code ?? 'UNKNOWN'));
    socket.on('connect', () => {
      connectMs = now() - began;
      socket.write('x');
    });
    let isAnswered = false;
    socket.on('data', () => {
      isAnswered = true;
      resolve({ connectMs, totalMs: now() - began });
      // A reset: the client's port is free at once, and ten thousand connections a second do not run out of them.
      socket.resetAndDestroy();
    });
    socket.on('close', () => isAnswered || fail('CLOSED'));
  });
}

async function connections({ host, port, durationMs, warmUpMs, width, hosts }: LoadArgs): Promise<Connections> {
  const [connects, totals]: [number[], number[]] = [[], []];
  const errors: Record<string, number> = {};
  const targets = hosts ?? [host];
  const start = now() + warmUpMs;
  const end = start + durationMs;
  let next = 0;
  const lane = async (): Promise<void> => {
    for (let began = now(); began < end; began = now()) {
      try {
        const { connectMs, totalMs } = await exchangeOnce({ host: targets[next++ % targets.length]!, port });
        if (began < start) continue;
        connects.push(connectMs);
        totals.push(totalMs);
      } catch (error) {
        count(errors, (error as NodeJS.ErrnoException).code ?? 'UNKNOWN');
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
    }
  };
  await Promise.all(Array.from({ length: width }, lane));
  const sorted = ascending(connects);
  return {
    ...percentiles(totals, errors, durationMs / 1000),
    connectP50: microseconds(quantile(sorted, 0.5)),
    connectP99: microseconds(quantile(sorted, 0.99)),
  };
}

function open({ host, port }: Target): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port, noDelay: true });
    const late = setTimeout(() => socket.destroy(Object.assign(new Error('TIMEOUT'), { code: 'TIMEOUT' })), checkMs);
    socket.once('error', (error) => {
      clearTimeout(late);
      reject(error);
    });
    socket.once('connect', () => {
      clearTimeout(late);
      resolve(socket);
    });
  });
}

/** One byte there and back on connections that stay. */
async function requests({ host, port, durationMs, warmUpMs, width, hosts }: LoadArgs): Promise<Latencies> {
  const totals: number[] = [];
  const errors: Record<string, number> = {};
  const start = now() + warmUpMs;
  const end = start + durationMs;
  const targets = hosts ?? [host];
  const lane = async (_: unknown, index: number): Promise<void> => {
    const socket = await open({ host: targets[index % targets.length]!, port });
    await new Promise<void>((resolve) => {
      let began = now();
      socket.setTimeout(timeoutMs, () => (count(errors, 'TIMEOUT'), resolve()));
      socket.on('error', (error: NodeJS.ErrnoException) => (count(errors, error.code ?? 'UNKNOWN'), resolve()));
      socket.on('data', () => {
        const ended = now();
        if (began >= start) totals.push(ended - began);
        if (ended >= end) return resolve();
        began = ended;
        socket.write('x');
      });
      socket.write('x');
    });
    socket.destroy();
  };
  await Promise.all(Array.from({ length: width }, lane));
  return percentiles(totals, errors, durationMs / 1000);
}

/** What a way that is still being made answers a connection with. */
const notYet: readonly (string | undefined)[] = ['ECONNREFUSED', 'EHOSTUNREACH', 'ENETUNREACH', 'EADDRNOTAVAIL'];

async function openPatiently(target: Target): Promise<Socket> {
  for (const until = now() + checkMs; ;) {
    try {
      return await open(target);
    } catch (error) {
      if (!notYet.includes((error as NodeJS.ErrnoException).code) || now() > until) throw error;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
}

export interface BulkArgs extends Target {
  readonly bytes: number;
  /** A connection that is refused, or has no route, is asked for again for a while. */
  readonly isPatient: boolean;
}

/** Sends bytes that follow a pattern; true when exactly they come back. */
async function bulk({ host, port, bytes, isPatient }: BulkArgs): Promise<boolean> {
  const block = Buffer.alloc(64 * 1024);
  for (let at = 0; at < block.length; at += 1) block[at] = (at * 31 + (at >> 8)) & 255;
  const [sent, received] = [createHash('sha1'), createHash('sha1')];
  const socket = await (isPatient ? openPatiently : open)({ host, port });
  return new Promise((resolve) => {
    let back = 0;
    const finish = (answer: boolean): void => {
      socket.destroy();
      resolve(answer);
    };
    socket.setTimeout(checkMs, () => finish(false));
    socket.on('error', () => finish(false));
    socket.on('data', (chunk) => {
      received.update(chunk);
      back += chunk.length;
      if (back >= bytes) finish(back === bytes && received.digest('hex') === sent.digest('hex'));
    });
    for (let at = 0; at < bytes; at += block.length) {
      const part = block.subarray(0, Math.min(block.length, bytes - at));
      sent.update(part);
      socket.write(part);
    }
  });
}

/** Who answers, and as whom it sees us: "name address". */
async function whoami(target: Target): Promise<string> {
  try {
    const socket = await open(target);
    return await new Promise((resolve) => {
      socket.setTimeout(checkMs, () => (socket.destroy(), resolve('TIMEOUT')));
      socket.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? 'UNKNOWN'));
      socket.once('data', (chunk) => (socket.destroy(), resolve(chunk.toString().trim())));
    });
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? 'UNKNOWN';
  }
}

const plain = (address = ''): string => address.replace(/^::ffff:/, '');

const servers = new Map<number, { close(): unknown }>();

/** Echo of TCP and UDP on `port`; who is there on the next one. */
async function serve({ port, name }: { readonly port: number; readonly name: string }): Promise<void> {
  const echo = createServer({ noDelay: true }, (socket) => {
    socket.on('error', () => undefined);
    socket.pipe(socket);
  });
  const who = createServer((socket) => {
    socket.on('error', () => undefined);
    socket.end(`${name} ${plain(socket.remoteAddress)}\n`);
  });
  const listen = (server: typeof echo, at: number): Promise<void> =>
    new Promise((resolve, reject) => {
      server.once('error', reject);
      server.listen({ port: at, host: '::', backlog: 4096 }, () => resolve());
    });
  await listen(echo, port);
  await listen(who, port + 1);
  const datagrams = dgram.createSocket('udp6');
  datagrams.on('message', (message, { address, port: from }) =>
    datagrams.send(message, from, address, () => undefined),
  );
  await new Promise<void>((resolve, reject) => {
    datagrams.once('error', reject);
    datagrams.bind(port, () => resolve());
  });
  servers.set(port, { close: () => (echo.close(), who.close(), datagrams.close()) });
}

const isSix = (host: string): boolean => host.includes(':');

/** Datagrams at a steady rate until stopped; each comes back with its number. */
/** Datagrams; the kernel keeps a few hundred small ones for a reader that is not there. */
const largestBurst = 64;

class Probe {
  readonly #socket: dgram.Socket;
  readonly #seen = new Set<number>();
  readonly #times: number[];
  #sent = 0;
  readonly #timer: NodeJS.Timeout;

  constructor({ host, port }: Target, perSecond: number, bytes: number) {
    this.#socket = dgram.createSocket(isSix(host) ? 'udp6' : 'udp4');
    this.#socket.on('error', () => undefined);
    const began = now();
    this.#times = [began];
    this.#socket.on('message', (message) => {
      this.#seen.add(message.readUInt32BE(0));
      this.#times.push(now());
    });
    let left = 0;
    this.#timer = setInterval(() => {
      // Timers are late on a busy machine: as many as are due, not one; but no more than a socket holds.
      const due = Math.floor(((now() - began) * perSecond) / 1000) - left;
      left += Math.max(0, due - this.#sent - largestBurst);
      for (const end = Math.min(due, this.#sent + largestBurst); this.#sent < end; this.#sent += 1) {
        const message = Buffer.alloc(bytes);
        message.writeUInt32BE(this.#sent, 0);
        this.#socket.send(message, port, host, () => undefined);
      }
    }, 1);
  }

  get received(): number {
    return this.#seen.size;
  }

  async stop(): Promise<ProbeResult> {
    clearInterval(this.#timer);
    // What is late is not lost.
    for (let before = -1; this.#seen.size < this.#sent && this.#seen.size > before;) {
      before = this.#seen.size;
      await new Promise((resolve) => setTimeout(resolve, 250));
    }
    this.#socket.close();
    const gaps = this.#times.map((time, index) => time - (this.#times[index - 1] ?? time));
    return { sent: this.#sent, received: this.#seen.size, longestGapMs: gaps.reduce((a, b) => Math.max(a, b), 0) };
  }
}

/** A request on a connection of its own, so many times a second, until stopped. One that fails, or takes 2 s, is lost. */
class PacedRequests {
  readonly #errors: Record<string, number> = {};
  readonly #running = new Set<Promise<void>>();
  #sent = 0;
  readonly #timer: NodeJS.Timeout;

  constructor(target: Target, perSecond: number) {
    const began = now();
    const one = async (): Promise<void> => {
      try {
        await exchangeOnce(target);
      } catch (error) {
        count(this.#errors, (error as NodeJS.ErrnoException).code ?? 'UNKNOWN');
      }
    };
    this.#timer = setInterval(() => {
      const due = Math.floor(((now() - began) * perSecond) / 1000);
      for (; this.#sent < due && this.#running.size < 2_000; this.#sent += 1) {
        const running: Promise<void> = one().finally(() => this.#running.delete(running));
        this.#running.add(running);
      }
    }, 1);
  }

  async stop(): Promise<PacedResult> {
    clearInterval(this.#timer);
    await Promise.all(this.#running);
    const lost = Object.values(this.#errors).reduce((sum, one) => sum + one, 0);
    return { sent: this.#sent, lost, errors: this.#errors };
  }
}

let probe: Probe | undefined;
let paced: PacedRequests | undefined;

serveParent({
  serve,
  unserve: ({ port }: { readonly port: number }) => void servers.get(port)?.close(),
  connections,
  requests,
  bulk: (args: BulkArgs) => bulk(args).catch(() => false),
  whoami,
  /** The first datagram that comes back whole, within the time-out. */
  datagram: ({ host, port, bytes }: Target & { readonly bytes: number }) =>
    new Promise<boolean>((resolve) => {
      const socket = dgram.createSocket(isSix(host) ? 'udp6' : 'udp4');
      const finish = (answer: boolean): void => {
        clearTimeout(timer);
        clearInterval(again);
        socket.close();
        resolve(answer);
      };
      const timer = setTimeout(() => finish(false), checkMs);
      const send = (): void => socket.send(Buffer.alloc(bytes, 7), port, host, () => undefined);
      const again = setInterval(send, 200);
      socket.on('error', () => finish(false));
      socket.on('message', (message) => finish(message.length === bytes && message.every((byte) => byte === 7)));
      send();
    }),
  startProbe: ({ perSecond, bytes, ...target }: Target & { readonly perSecond: number; readonly bytes: number }) => {
    probe = new Probe(target, perSecond, bytes);
  },
  probed: () => probe?.received ?? 0,
  stopProbe: () => probe?.stop(),
  startPaced: ({ perSecond, ...target }: Target & { readonly perSecond: number }) => {
    paced = new PacedRequests(target, perSecond);
  },
  stopPaced: () => paced?.stop(),
  /** A port that nothing listens on, for the next `serve`. */
  freePort: () =>
    new Promise<number>((resolve) => {
      const server = createServer().listen(0, '::', () => {
        const { port } = server.address() as AddressInfo;
        server.close(() => resolve(port));
      });
    }),
});
