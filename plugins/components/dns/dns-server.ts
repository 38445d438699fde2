/** The DNS server: UDP and TCP on the given addresses, EDNS sizes, truncation (RFC 1035, RFC 6891). */
import { randomInt } from 'node:crypto';
import { createSocket, type Socket as UdpSocket } from 'node:dgram';
import { createServer, type Server, type Socket } from 'node:net';
import packet from 'dns-packet';
import { PintleError, type Logger } from '../../../kernel/contract/index.ts';
import type { ClusterNames, DnsRecord } from './records.ts';
import type { Upstream } from './upstream.ts';

const authoritative = 0x0400;
const recursionAvailable = 0x0080;
const codes = { ok: 0, formatError: 1, serverFailure: 2, nameError: 3, notImplemented: 4 } as const;
const plainUdpBytes = 512;
const maxUdpBytes = 1232;
const maxTcpConnections = 256;

export interface DnsServerParts {
  readonly names: ClusterNames;
  readonly upstream: Upstream;
  readonly domain: string;
  readonly log: Logger;
}

export interface DnsCounters {
  queries: number;
  answered: number;
  forwarded: number;
  failed: number;
}

/** Negative answers carry the zone's SOA (RFC 2308). */
function authority(domain: string) {
  const data = {
    mname: `ns.dns.${domain}`,
    rname: `hostmaster.${domain}`,
    serial: Math.floor(Date.now() / 1000),
    refresh: 7200,
    retry: 1800,
    expire: 86_400,
    minimum: 5,
  };
  return [{ name: domain, type: 'SOA' as const, ttl: 5, data }];
}

/** Rotates answers so that clients that take the first spread over all. */
let turn = 0;
function rotate<T>(items: readonly T[]): T[] {
  turn += 1;
  const at = items.length > 1 ? turn % items.length : 0;
  return [...items.slice(at), ...items.slice(0, at)];
}

export class DnsServer {
  readonly #parts: DnsServerParts;
  readonly #udp: UdpSocket[] = [];
  readonly #tcp: Server[] = [];
  readonly #connections = new Set<Socket>();
  readonly counters: DnsCounters = { queries: 0, answered: 0, forwarded: 0, failed: 0 };

  constructor(parts: DnsServerParts) {
    this.#parts = parts;
  }

  /** Undefined: the query is no DNS message at all and gets no answer. */
  async answer(message: Buffer, overTcp: boolean): Promise<Buffer | undefined> {
    if (message.length < 12 || (message.readUInt16BE(2) & 0x8000) !== 0) return undefined;
    this.counters.queries += 1;
    const id = message.readUInt16BE(0);
    let query: packet.DecodedPacket;
    try {
      query = packet.decode(message);
    } catch {
      this.counters.failed += 1;
      return packet.encode({ id, type: 'response', flags: codes.formatError });
    }
    const recursionDesired = (query.flags ?? 0) & packet.RECURSION_DESIRED;
    const reply = (
      code: number,
      answers: readonly DnsRecord[],
      more: readonly DnsRecord[],
      authorities: readonly packet.Answer[],
      ours: boolean,
    ) => {
      const flags = recursionDesired | recursionAvailable | (ours ? authoritative : 0) | code;
      const edns = query.additionals?.find((each) => each.type === 'OPT');
      const base = { id, type: 'response' as const, questions: query.questions ?? [], authorities: [...authorities] };
      // The typings ask for fields of OPT that the encoder fills in.
      const opt = (edns
        ? [{ type: 'OPT' as const, name: '.', udpPayloadSize: maxUdpBytes, flags: 0, options: [] }]
        : []) as unknown as packet.Answer[];
      const full = {
        ...base,
        flags,
        answers: rotate(answers) as packet.Answer[],
        additionals: [...(more as packet.Answer[]), ...opt],
      };
      const encoded = packet.encode(full);
      const asked = edns && 'udpPayloadSize' in edns ? Number(edns.udpPayloadSize) : plainUdpBytes;
      const limit = overTcp ? 65_535 : Math.min(Math.max(asked, plainUdpBytes), maxUdpBytes);
      if (encoded.length <= limit) return encoded;
      const bare = packet.encode({ ...full, additionals: opt });
      if (bare.length <= limit) return bare;
      return packet.encode({ ...base, flags: flags | packet.TRUNCATED_RESPONSE, additionals: opt });
    };
    if (((query.flags ?? 0) & 0x7800) !== 0) return reply(codes.notImplemented, [], [], [], false);
    const [question] = query.questions ?? [];
    if (!question || query.questions!.length !== 1) return reply(codes.formatError, [], [], [], false);

    const found = this.#parts.names.resolve(question);
    if (found.kind === 'foreign') {
      this.counters.forwarded += 1;
      const answer = await this.#parts.upstream.ask(message, overTcp);
      if (answer) return answer;
      this.counters.failed += 1;
      return reply(codes.serverFailure, [], [], [], false);
    }
    this.counters.answered += 1;
    const soa = authority(this.#parts.domain) as packet.Answer[];
    if (found.kind === 'absent') return reply(codes.nameError, [], [], soa, true);
    const records = [...found.records, ...(await this.#follow(found.records, question.type))];
    return reply(codes.ok, records, found.additionals, records.length === 0 ? soa : [], true);
  }

  /** The addresses behind an ExternalName's CNAME, ours or upstream's. */
  async #follow(records: readonly DnsRecord[], type: string): Promise<readonly DnsRecord[]> {
    const [alias] = records;
    if (alias?.type !== 'CNAME' || (type !== 'A' && type !== 'AAAA')) return [];
    const own = this.#parts.names.resolve({ name: alias.data, type });
    if (own.kind === 'answer') return own.records;
    if (own.kind === 'absent') return [];
    const id = randomInt(65_536);
    const query = packet.encode({
      id,
      type: 'query',
      flags: packet.RECURSION_DESIRED,
      questions: [{ name: alias.data, type }],
    });
    const answer = await this.#parts.upstream.ask(query, false);
    return answer ? ((packet.decode(answer).answers ?? []) as DnsRecord[]) : [];
  }

  /** On UDP and TCP, or on neither. */
  async listen(address: string, port: number): Promise<void> {
    const inUse = (error: NodeJS.ErrnoException) =>
      new PintleError(
        'PLUGIN_START_FAILED',
        error.code === 'EADDRINUSE'
          ? `dns: ${address} port ${port} is in use by another program; set \`port\` in the config of component dns`
          : `dns: cannot listen on ${address} port ${port}: ${error.message}`,
        { cause: error },
      );
    const udp = createSocket({ type: address.includes(':') ? 'udp6' : 'udp4', recvBufferSize: 1 << 20 });
    await new Promise<void>((resolve, reject) => {
      udp.once('error', (error: NodeJS.ErrnoException) => reject(inUse(error)));
      udp.bind({ address, port, exclusive: true }, resolve);
    });
    udp.on('error', (error) => this.#parts.log.warn('dns socket error', { error: error.message }));
    udp.on('message', (message, from) => {
      this.#handle(message, false, (answer) => udp.send(answer, from.port, from.address, () => undefined));
    });
    const tcp = createServer((socket) => this.#serve(socket));
    tcp.maxConnections = maxTcpConnections;
    await new Promise<void>((resolve, reject) => {
      tcp.once('error', (error: NodeJS.ErrnoException) => udp.close(() => reject(inUse(error))));
      tcp.listen({ host: address, port: udp.address().port, exclusive: true }, resolve);
    });
    this.#udp.push(udp);
    this.#tcp.push(tcp);
  }

  #handle(message: Buffer, overTcp: boolean, send: (answer: Buffer) => void): void {
    this.answer(message, overTcp).then(
      (answer) => {
        if (answer) send(answer);
      },
      (error: unknown) => {
        this.counters.failed += 1;
        this.#parts.log.error('dns query failed', { error: String(error) });
      },
    );
  }

  #serve(socket: Socket): void {
    this.#connections.add(socket);
    let received = Buffer.alloc(0);
    socket.setTimeout(10_000, () => socket.destroy());
    socket.on('error', () => socket.destroy());
    socket.on('close', () => this.#connections.delete(socket));
    socket.on('data', (chunk) => {
      received = Buffer.concat([received, chunk]);
      while (received.length >= 2 && received.length >= 2 + received.readUInt16BE(0)) {
        const size = received.readUInt16BE(0);
        const message = received.subarray(2, 2 + size);
        received = received.subarray(2 + size);
        this.#handle(message, true, (answer) => {
          const length = Buffer.alloc(2);
          length.writeUInt16BE(answer.length);
          socket.write(Buffer.concat([length, answer]));
        });
      }
    });
  }

  async close(): Promise<void> {
    for (const socket of this.#connections) socket.destroy();
    await Promise.all([
      ...this.#udp.map((socket) => new Promise<void>((resolve) => socket.close(() => resolve()))),
      ...this.#tcp.map((server) => new Promise<void>((resolve) => server.close(() => resolve()))),
    ]);
    this.#udp.length = 0;
    this.#tcp.length = 0;
  }
}
