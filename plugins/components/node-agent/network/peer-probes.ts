/**
 * Echo listeners and the probes that use them: whether packets get from this node to another as they should, small, of full
 * size and many. Bounded in number and time; both ends close by themselves.
 */
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Server } from 'node:net';
import { PintleError, type ProbeResult, type ProbeTarget } from '../../../../kernel/contract/index.ts';
import { openWholeUdp } from '../../../../netplugins/linux/fragment-free-udp.ts';
import { familyOf } from '../../../../netplugins/linux/ip-address.ts';

const ipHeader = { 4: 20, 6: 40 } as const;
const udpHeader = 8;
const smallProbes = 5;
/** Nobody is there when so many of the first are lost: a busy agent may leave one or two without an answer. */
const enoughLost = 4;
const sizeProbes = 3;
const sizeRounds = 3;
/** A round trip between nodes of one cluster; a probe that takes longer is lost. */
const patienceMs = 700;
const bulkBytes = 256 * 1024;
const bulkPatienceMs = 8_000;
const smallest = 68;

export interface Listeners {
  readonly tcpPort: number;
  readonly udpPort: number;
}

/** At most one pair at a time; a second asker gets the first one's, kept open longer. */
export class EchoListeners {
  #open: { readonly tcp: Server; readonly udp: Socket } | undefined;
  #timer: NodeJS.Timeout | undefined;

  async listen(seconds: number): Promise<Listeners> {
    if (!(seconds > 0 && seconds <= 300))
      throw new PintleError('BAD_REQUEST', `listen for ${seconds} s: expected more than 0 and at most 300`);
    this.#open ??= await open();
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.close(), seconds * 1000).unref();
    const { tcp, udp } = this.#open;
    return { tcpPort: (tcp.address() as AddressInfo).port, udpPort: udp.address().port };
  }

  close(): void {
    clearTimeout(this.#timer);
    this.#open?.tcp.close();
    this.#open?.udp.close();
    this.#open = undefined;
  }
}

async function open(): Promise<{ readonly tcp: Server; readonly udp: Socket }> {
  const tcp = createServer((socket) => {
    socket.setTimeout(bulkPatienceMs * 2, () => socket.destroy());
    socket.on('error', () => undefined);
    socket.pipe(socket);
  });
  tcp.maxConnections = 64;
  tcp.listen(0);
  await once(tcp, 'listening');
  const udp = createSocket({ type: 'udp6', ipv6Only: false });
  udp.on('message', (message, from) => udp.send(message, from.port, from.address, () => undefined));
  udp.on('error', () => undefined);
  udp.bind(0);
  await once(udp, 'listening');
  return { tcp, udp };
}

export async function probe(target: ProbeTarget): Promise<ProbeResult> {
  const family = familyOf(target.address);
  const overhead = (target.address.includes(':') ? ipHeader[6] : ipHeader[4]) + udpHeader;
  const socket = await openWholeUdp(family);
  try {
    const echo = echoes(socket, target);
    const times: number[] = [];
    for (let count = 0; count < smallProbes; count += 1) {
      const began = performance.now();
      if (await echo(32)) times.push(performance.now() - began);
      else if (count + 1 === enoughLost && times.length === 0) break;
    }
    // All at once: a size that does not fit costs the patience for one, and the search tries eight or so. A small one goes
    // after them: where that is lost as well, one of the two ends was busy, and nothing is known of the size.
    const fits = async (bytes: number): Promise<boolean> => {
      for (let round = 0; round < sizeRounds; round += 1) {
        const large = Array.from({ length: sizeProbes }, () => echo(bytes - overhead));
        const small = echo(32);
        if (await isAny(large)) return true;
        if (await small) return false;
      }
      return false;
    };
    const fullSize = times.length > 0 && (await fits(target.mtuBytes));
    const largestBytes =
      times.length === 0 ? undefined : fullSize ? target.mtuBytes : await largest(fits, target.mtuBytes);
    return {
      node: target.node,
      address: target.address,
      roundTripMs: times.length === 0 ? undefined : times.sort((a, b) => a - b)[times.length >> 1],
      fullSize,
      largestBytes,
      // Where datagrams do not come through, waiting for a connection too tells nothing more.
      bulk: fullSize && (await bulk(target)),
    };
  } finally {
    socket.close();
  }
}

/** As soon as one is true; false when all are false. */
function isAny(answers: readonly Promise<boolean>[]): Promise<boolean> {
  return new Promise((resolve) => {
    for (const answer of answers) void answer.then((isTrue) => isTrue && resolve(true));
    void Promise.all(answers).then((all) => resolve(all.includes(true)));
  });
}

function echoes(socket: Socket, target: ProbeTarget): (bytes: number) => Promise<boolean> {
  let sequence = 0;
  const waiting = new Map<string, () => void>();
  socket.on('message', (message) => waiting.get(message.toString('latin1', 0, 8))?.());
  socket.on('error', () => undefined);
  return (bytes) =>
    new Promise((resolve) => {
      sequence += 1;
      const id = String(sequence).padStart(8, '0');
      const finish = (result: boolean): void => {
        clearTimeout(timer);
        waiting.delete(id);
        resolve(result);
      };
      // What arrived while this process was busy is read first.
      const timer = setTimeout(() => setImmediate(() => finish(false)), patienceMs);
      waiting.set(id, () => finish(true));
      const message = Buffer.alloc(Math.max(bytes, 8), 0x5a);
      message.write(id, 'latin1');
      // Larger than the first link: refused at once.
      socket.send(message, target.udpPort, target.address, (error) => error && finish(false));
    });
}

/** To 8 bytes. */
async function largest(fits: (bytes: number) => Promise<boolean>, limit: number): Promise<number> {
  let [good, bad] = [smallest, limit];
  while (bad - good > 8) {
    const middle = (good + bad) >> 1;
    if (await fits(middle)) good = middle;
    else bad = middle;
  }
  return good;
}

/** A checksum that an offload spoils, or segments that are too large, show here and not with small datagrams. */
function bulk(target: ProbeTarget): Promise<boolean> {
  return new Promise((resolve) => {
    const sent = Buffer.alloc(bulkBytes);
    for (let at = 0; at < bulkBytes; at += 1) sent[at] = (at * 31) & 0xff;
    const chunks: Buffer[] = [];
    const socket = connect({ host: target.address, port: target.tcpPort });
    const finish = (result: boolean): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve(result);
    };
    const timer = setTimeout(() => finish(false), bulkPatienceMs);
    socket.on('connect', () => socket.end(sent));
    socket.on('data', (chunk: Buffer) => chunks.push(chunk));
    socket.on('end', () => finish(Buffer.concat(chunks).equals(sent)));
    socket.on('error', () => finish(false));
  });
}
