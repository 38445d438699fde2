/** A peer that is none of ours: sends and takes datagrams, as flannel's UDP backend does (one plain inner packet each) or VXLAN. */
import { createSocket, type Socket } from 'node:dgram';
import { closeSync } from 'node:fs';
import { AF_INET, parseIp } from '../../../netplugins/linux/ip-address.ts';
import { libc } from '../../../netplugins/linux/libc.ts';
import { runInNetns } from '../../../netplugins/linux/namespaces.ts';
import { onesSum } from '../../../netplugins/overlays/flannel-udp/inner-packet.ts';
import { until, type Place } from './topology.ts';

export interface Datagram {
  readonly packet: Buffer;
  readonly address: string;
  readonly port: number;
}

export class FlannelPeer {
  readonly #socket: Socket;
  readonly #port: number;
  readonly #unchecked: number | undefined;
  readonly received: Datagram[] = [];

  constructor(
    t: { teardown(undo: () => unknown): void },
    node: Place,
    address: string,
    { port = 8285, checksums = true }: { readonly port?: number; readonly checksums?: boolean } = {},
  ) {
    this.#port = port;
    this.#socket = runInNetns(node.netns, () => {
      // Without a look-up the socket is made and bound before bind() returns: inside.
      const socket = createSocket({ type: 'udp4', lookup: (host, _, done) => done(null, host, 4) });
      return socket.bind({ address, port, exclusive: true });
    });
    const unchecked = checksums ? undefined : runInNetns(node.netns, () => openUnchecked(address));
    if (unchecked !== undefined) t.teardown(() => closeSync(unchecked));
    this.#unchecked = unchecked;
    this.#socket.on('message', (packet, from) =>
      this.received.push({ packet, address: from.address, port: from.port }),
    );
    t.teardown(() => this.#socket.close());
  }

  send(packet: Buffer, address: string): void {
    if (this.#unchecked === undefined) this.#socket.send(packet, this.#port, address);
    else libc().sendto(this.#unchecked, packet, packet.length, 0, socketAddress(address, this.#port), 16);
  }

  /** The first inner packet that came and that `matches`. */
  async packet(what: string, matches: (packet: Buffer) => boolean): Promise<Datagram> {
    const find = (): Datagram | undefined => this.received.find(({ packet }) => matches(packet));
    await until(what, () => find() !== undefined);
    return find()!;
  }
}

function socketAddress(address: string, port: number): Buffer {
  const bytes = Buffer.alloc(16);
  bytes.writeUInt16LE(AF_INET, 0);
  bytes.writeUInt16BE(port, 2);
  parseIp(address).copy(bytes, 4);
  return bytes;
}

/** A UDP socket whose datagrams have no checksum (SO_NO_CHECK of SOL_SOCKET), which node:dgram does not do. */
function openUnchecked(address: string): number {
  const fd = libc().socket(AF_INET, 2, 0);
  libc().setsockopt(fd, 1, 11, Buffer.from([1, 0, 0, 0]), 4);
  libc().bind(fd, socketAddress(address, 0), 16);
  return fd;
}

export interface UdpPacket {
  readonly source: string;
  readonly sourcePort: number;
  readonly destination: string;
  readonly destinationPort: number;
  readonly ttl: number;
  readonly payload: string;
}

const address4 = (text: string): number[] => text.split('.').map(Number);

/** An IPv4 UDP packet, built here by RFC 791 and 768 and by no code that is tested with it. */
export function udpPacket({ source, sourcePort, destination, destinationPort, ttl, payload }: UdpPacket): Buffer {
  const length = 28 + payload.length;
  const ports = [sourcePort >> 8, sourcePort & 255, destinationPort >> 8, destinationPort & 255];
  const packet = Buffer.from([
    ...[0x45, 0, length >> 8, length & 255, 0, 1, 0x40, 0, ttl, 17, 0, 0],
    ...[...address4(source), ...address4(destination), ...ports, 0, 8 + payload.length, 0, 0],
    ...Buffer.from(payload),
  ]);
  packet.writeUInt16BE(~onesSum(packet.subarray(0, 20)) & 0xffff, 10);
  packet.writeUInt16BE(~udpSum(packet) & 0xffff, 26);
  return packet;
}

/** 0xffff (or with a checksum of zero any) when the checksum is right. */
export function udpSum(packet: Buffer): number {
  return onesSum(packet.subarray(20), onesSum(packet.subarray(12, 20), 17 + packet.length - 20));
}
