/** What the main thread hands its workers, and what they share. */
import { receiveMessageOnPort, type MessagePort } from 'node:worker_threads';
import { PeerTable, type PeerRoute } from '../peer-table.ts';

export interface WorkerSettings {
  /** A queue of the device. */
  readonly tun: number;
  /** Where datagrams arrive, and from where they are sent: may be one. */
  readonly socket: number;
  readonly sender: number;
  readonly port: number;
  readonly sources: readonly string[];
  readonly checkSource: boolean;
  readonly segments: boolean;
  readonly gathers: boolean;
  /** One word, counted up after new peers have been sent on `peers`. */
  readonly peersVersion: SharedArrayBuffer;
  /** Of type PeerRoute[]. */
  readonly peers: MessagePort;
  /** Numbers in the order of `counterNames`, written by one worker only. */
  readonly counters: SharedArrayBuffer;
}

/** From a worker to the main thread. `sign`: a packet that the shortcut had left to it, see receiver-program.ts. */
export type WorkerMessage = { readonly kind: 'ended'; readonly reason: string } | { readonly kind: 'sign' };

export const counterNames = [
  'sentPackets',
  'receivedPackets',
  'sentSupers',
  'noRoute',
  'expired',
  'unknownSource',
  'failed',
] as const;

/** The peers as a worker knows them that sits in system calls and never sees an event: it looks before each packet. */
export class FollowedPeers {
  readonly #version: Int32Array;
  readonly #port: MessagePort;
  #seen = 0;
  table = new PeerTable([]);

  constructor({ peersVersion, peers }: WorkerSettings) {
    this.#version = new Int32Array(peersVersion);
    this.#port = peers;
  }

  follow(): void {
    const version = Atomics.load(this.#version, 0);
    if (version === this.#seen) return;
    this.#seen = version;
    for (let got = receiveMessageOnPort(this.#port); got !== undefined; got = receiveMessageOnPort(this.#port))
      this.table = new PeerTable(got.message as readonly PeerRoute[]);
  }
}
