/**
 * What the agent and the data path's process say to each other: one JSON object a line on a unix socket. The agent asks,
 * each answer has the number of its question. Whoever may open the socket may ask.
 */
import type { Socket } from 'node:net';
import { availableParallelism } from 'node:os';
import type { PeerRoute } from './peer-table.ts';

/** Counted up when either side would misunderstand the other: a data path of another version is replaced. */
export const protocolVersion = 5;

/** Of path offload: how many threads carry packets, each with a queue of the device and a socket of its own. */
export type Threads = 'auto' | 1 | 2 | 4 | 8;

/** A power of two, at most half of the processors and at most 4, unless told otherwise: the others are for those whose packets they are. */
export function mostThreads(threads: Threads, processors = availableParallelism()): number {
  if (threads !== 'auto') return threads;
  return processors >= 8 ? 4 : processors >= 4 ? 2 : 1;
}

/** All that a data path is started with. Equal settings: the running one serves. */
export interface DataPathSettings {
  readonly version: number;
  readonly device: string;
  readonly path: 'dgram' | 'offload';
  /** Why it is `dgram` although the config says `offload`. */
  readonly fallback?: string | undefined;
  /** Underlay address (0.0.0.0: all of them) and UDP port of this node. */
  readonly local: string;
  readonly port: number;
  /** From where ICMP errors come: addresses of the device, one a family. */
  readonly sources: readonly string[];
  readonly inject: 'auto' | 'raw-socket' | 'tun';
  readonly threads: Threads;
  /** Of path offload: whether UDP_SEGMENT and UDP_GRO are used where the kernel has them. */
  readonly udpSegment: boolean;
  readonly udpGro: boolean;
  /** Of path offload: whether packets may pass without coming to user space, where the kernel can. */
  readonly shortcut: boolean;
  /** Whether datagrams from addresses that are no peer's are dropped. */
  readonly checkSource: boolean;
}

export type Question =
  | { readonly verb: 'hello' }
  | { readonly verb: 'peers'; readonly peers: readonly PeerRoute[] }
  | { readonly verb: 'counters' }
  | { readonly verb: 'stop' };

export interface Hello {
  readonly settings: DataPathSettings;
  readonly pid: number;
  /** What it found this kernel able to do, and uses. */
  readonly features: Readonly<Record<string, string>>;
}

export interface Counters {
  readonly sentPackets: number;
  readonly receivedPackets: number;
  /** Those of the sent that travelled as super-packets. */
  readonly sentSupers: number;
  /** Those of the sent and received that did not come to user space. */
  readonly sentByKernel: number;
  readonly receivedByKernel: number;
  /** Those of the latter that went through the link that gathers. */
  readonly gatheredByKernel: number;
  /** Those of them that arrived large, or among such, and went through a tunnel of the kernel's own on their way to a bridge. */
  readonly unmarkedByKernel: number;
  /** TCP acknowledgements that were led to another processor, so that the peer's packets stay in order. */
  readonly steeredByKernel: number;
  readonly noRoute: number;
  readonly expired: number;
  readonly unknownSource: number;
  readonly failed: number;
}

/** The answer to each verb; `stop` has none but the end of the connection. */
export interface Answers {
  readonly hello: Hello;
  readonly peers: { readonly changed: number };
  readonly counters: Counters;
  readonly stop: never;
}

/** Where the process listens, in the plugin's folder. */
export const socketName = 'data-path.sock';

/** Calls `onMessage` for each line. Lines that are no JSON end the connection. */
export function readMessages(socket: Socket, onMessage: (message: unknown) => void): void {
  let rest = '';
  socket.setEncoding('utf8');
  socket.on('data', (chunk: string) => {
    const lines = (rest + chunk).split('\n');
    rest = lines.pop() ?? '';
    try {
      for (const line of lines) onMessage(JSON.parse(line));
    } catch {
      socket.destroy();
    }
  });
  socket.on('error', () => undefined);
}

export function writeMessage(socket: Socket, message: unknown): void {
  socket.write(`${JSON.stringify(message)}\n`);
}
