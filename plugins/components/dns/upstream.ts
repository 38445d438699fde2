/** Asks the resolvers outside the cluster, each in turn, over the transport of the client: one that sees a cut answer comes back over TCP. */
import { createSocket } from 'node:dgram';
import { readFileSync } from 'node:fs';
import { connect } from 'node:net';

export interface Upstream {
  /** The raw answer with the query's own id, or undefined when no server answered. */
  ask(query: Buffer, overTcp: boolean): Promise<Buffer | undefined>;
}

/** Nameservers of a resolv.conf that are not in `without` (ours: asking it would loop). */
export function nameserversOf(path: string, without: ReadonlySet<string>): readonly string[] {
  let text = '';
  try {
    text = readFileSync(path, 'utf8');
  } catch {
    return [];
  }
  const all = [...text.matchAll(/^\s*nameserver\s+(\S+)/gm)].map((match) => match[1]!);
  return all.filter((server) => !without.has(server));
}

function parseServer(server: string): { readonly host: string; readonly port: number } {
  const match = /^\[?([^\]]+?)\]?(?::(\d+))?$/.exec(
    server.includes('.') || server.startsWith('[') ? server : `[${server}]`,
  )!;
  return { host: match[1]!, port: Number(match[2] ?? 53) };
}

function askUdp(query: Buffer, server: string, timeoutMs: number): Promise<Buffer | undefined> {
  const { host, port } = parseServer(server);
  return new Promise((resolve) => {
    // A fresh socket and a fresh port for each question: answers cannot be guessed (RFC 5452).
    const socket = createSocket(host.includes(':') ? 'udp6' : 'udp4');
    const finish = (answer: Buffer | undefined) => {
      clearTimeout(timer);
      socket.close();
      resolve(answer);
    };
    const timer = setTimeout(() => finish(undefined), timeoutMs);
    socket.on('error', () => finish(undefined));
    socket.connect(port, host, () => socket.send(query));
    socket.on('message', (answer) => {
      if (answer.length >= 12 && answer.readUInt16BE(0) === query.readUInt16BE(0)) finish(answer);
    });
  });
}

function askTcp(query: Buffer, server: string, timeoutMs: number): Promise<Buffer | undefined> {
  return new Promise((resolve) => {
    const socket = connect({ ...parseServer(server), timeout: timeoutMs });
    const length = Buffer.alloc(2);
    length.writeUInt16BE(query.length);
    let received = Buffer.alloc(0);
    const finish = (answer: Buffer | undefined) => {
      socket.destroy();
      resolve(answer);
    };
    socket.on('connect', () => socket.write(Buffer.concat([length, query])));
    socket.on('timeout', () => finish(undefined));
    socket.on('error', () => finish(undefined));
    socket.on('close', () => finish(undefined));
    socket.on('data', (chunk) => {
      received = Buffer.concat([received, chunk]);
      if (received.length >= 2 && received.length >= 2 + received.readUInt16BE(0)) {
        finish(received.subarray(2, 2 + received.readUInt16BE(0)));
      }
    });
  });
}

export function createUpstream(servers: () => readonly string[], timeoutMs: number): Upstream {
  return {
    async ask(query, overTcp) {
      for (const server of servers()) {
        const answer = overTcp ? await askTcp(query, server, timeoutMs) : await askUdp(query, server, timeoutMs);
        if (answer) return answer;
      }
      return undefined;
    },
  };
}
