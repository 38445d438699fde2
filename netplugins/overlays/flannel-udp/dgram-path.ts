/**
 * The portable data path: one packet at a time, TUN to node:dgram and back. Owns the UDP socket and the raw sockets; reads
 * and writes the TUN device's descriptor, which it is given.
 *
 * What comes from a peer goes into the node through package raw-socket, or through the TUN device: IPv6, which the package
 * does not do here, and everything on a Node that the package was not compiled for.
 */
import { createSocket, type Socket } from 'node:dgram';
import { libc } from '../../linux/libc.ts';
import { openRawSocket, type RawSender } from '../../linux/raw-ip.ts';
import { watchReadable } from '../../linux/signal-driven.ts';
import type { DataPath } from './data-path.ts';
import type { Counters, DataPathSettings } from './data-path-protocol.ts';
import { IcmpSender } from './icmp-sender.ts';
import { countDown, versionOf, type IcmpReason } from './inner-packet.ts';
import { PeerTable, type PeerRoute } from './peer-table.ts';

/** The longest packet that a device can be given. */
const longestPacket = 65_535;
/** Packets are read into pieces of a slab, so that a burst is not one allocation a packet. */
const slabBytes = 1 << 20;
/** After so many packets others get their turn: a flood from pods must not keep the event loop from peers and the agent. */
const burst = 256;

export async function openDgramPath(settings: DataPathSettings, tun: number): Promise<DataPath> {
  const { local, port } = settings;
  // Addresses are literal: without a look-up, datagrams leave inside send().
  const socket = createSocket({
    type: 'udp4',
    lookup: (host, _, done) => done(null, host, 4),
    recvBufferSize: 4 << 20,
    sendBufferSize: 4 << 20,
  });
  await new Promise<void>((resolve, reject) => {
    socket.once('error', reject);
    socket.bind({ address: local, port, exclusive: true }, () => {
      socket.off('error', reject);
      resolve();
    });
  });
  const raw = settings.inject === 'tun' ? 'config says tun' : openRawSocket();
  if (settings.inject === 'raw-socket' && typeof raw === 'string') throw new Error(raw);
  return new DgramPath(settings, tun, socket, raw);
}

class DgramPath implements DataPath {
  readonly features: Readonly<Record<string, string>>;
  readonly #settings: DataPathSettings;
  readonly #tun: number;
  readonly #socket: Socket;
  readonly #raw: RawSender | undefined;
  readonly #icmp: IcmpSender;
  #peers = new PeerTable([]);
  #slab = Buffer.alloc(0);
  #counters = {
    sentPackets: 0,
    receivedPackets: 0,
    sentSupers: 0,
    sentByKernel: 0,
    receivedByKernel: 0,
    gatheredByKernel: 0,
    unmarkedByKernel: 0,
    steeredByKernel: 0,
    noRoute: 0,
    expired: 0,
    unknownSource: 0,
    failed: 0,
  };

  constructor(settings: DataPathSettings, tun: number, socket: Socket, raw: RawSender | string) {
    this.#settings = settings;
    this.#tun = tun;
    this.#socket = socket;
    this.#raw = typeof raw === 'string' ? undefined : raw;
    this.features = {
      path: settings.fallback === undefined ? 'dgram' : `dgram (no offload: ${settings.fallback})`,
      inject: typeof raw === 'string' ? `tun (${raw})` : 'raw-socket (IPv6: tun)',
    };
    this.#icmp = new IcmpSender(settings.sources);
    socket.on('message', (message, { address }) => this.#receive(message, address));
    socket.on('error', () => (this.#counters.failed += 1));
    watchReadable(tun, 'Watching the TUN device', () => this.#drain());
  }

  setPeers(peers: readonly PeerRoute[]): void {
    this.#peers = new PeerTable(peers);
  }

  counters(): Counters {
    return { ...this.#counters };
  }

  #drain(): void {
    for (let count = 0; count < burst; count += 1) {
      if (this.#slab.length < longestPacket) this.#slab = Buffer.allocUnsafeSlow(slabBytes);
      const length = libc().read(this.#tun, this.#slab, longestPacket);
      if (length <= 0) return;
      const packet = this.#slab.subarray(0, length);
      this.#slab = this.#slab.subarray(length);
      this.#send(packet);
    }
    setImmediate(() => this.#drain());
  }

  #send(packet: Buffer): void {
    const version = versionOf(packet);
    if (version === undefined) return;
    const peer = version === 4 ? this.#peers.find4(packet, 16) : this.#peers.find6(packet, 24);
    if (peer === undefined) return this.#answer(packet, 'no-route');
    if (!countDown(packet)) return this.#answer(packet, 'expired');
    this.#counters.sentPackets += 1;
    this.#socket.send(packet, this.#settings.port, peer.address, (error) => {
      if (error !== null) this.#counters.failed += 1;
    });
  }

  #receive(packet: Buffer, address: string): void {
    const version = versionOf(packet);
    if (version === undefined) return;
    if (this.#settings.checkSource && !this.#peers.hasPeer(address)) {
      this.#counters.unknownSource += 1;
      return;
    }
    if (!countDown(packet)) return this.#answer(packet, 'expired');
    this.#counters.receivedPackets += 1;
    if (version === 4 && this.#raw !== undefined) this.#raw.send(packet);
    else if (libc().write(this.#tun, packet, packet.length) < 0) this.#counters.failed += 1;
  }

  #answer(packet: Buffer, reason: IcmpReason): void {
    this.#counters[reason === 'no-route' ? 'noRoute' : 'expired'] += 1;
    this.#icmp.answer(packet, reason);
  }
}
