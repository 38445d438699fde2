/** A TCP listener that joins each connection with one to an endpoint. Owns its server socket and both ends of each pair. */
import { connect, createServer, type Server, type Socket } from 'node:net';
import { plainAddress, type Choose, type Front } from './front.ts';
import { targetKey } from './plan.ts';

/**
 * An endpoint that does not answer is given up for the next one after so long: a retransmitted SYN fits in. Where there is
 * no next one, it may only be slow, and is tried again.
 */
const connectMs = [1_500, 3_000, 5_000];

export function openTcpFront(choose: Choose, address: string, port: number): Promise<Front> {
  const open = new Set<Socket>();
  const keep = (socket: Socket): void => {
    open.add(socket);
    socket.once('close', () => open.delete(socket));
  };
  const server: Server = createServer({ allowHalfOpen: true, pauseOnConnect: true, noDelay: true }, (client) => {
    keep(client);
    client.on('error', () => client.destroy());
    const from = plainAddress(client.remoteAddress);
    void dial(choose, from, client, keep).then((endpoint) => {
      if (endpoint === undefined) return client.resetAndDestroy();
      splice(client, endpoint);
    });
  });
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen({ host: address, port, backlog: 1_024 }, () => {
      server.removeListener('error', reject);
      // An accept that fails (no descriptor left) loses that connection only.
      server.on('error', () => undefined);
      const bound = server.address();
      resolve({
        port: typeof bound === 'object' && bound !== null ? bound.port : port,
        refresh: () => undefined,
        // Connections that are there go on: an endpoint that is gone ends its own.
        close: () => void server.close(),
        destroy: () => {
          server.close();
          for (const socket of open) socket.destroy();
        },
      });
    });
  });
}

async function dial(
  choose: Choose,
  from: string,
  client: Socket,
  keep: (socket: Socket) => void,
): Promise<Socket | undefined> {
  const balancer = choose(from);
  const failed = new Set<string>();
  const slow = new Set<string>();
  for (const timeoutMs of connectMs) {
    let target = balancer?.pick(from, failed);
    if (target === undefined && slow.size > 0) {
      for (const key of slow) failed.delete(key);
      slow.clear();
      target = balancer?.pick(from, failed);
    }
    if (target === undefined || client.destroyed) return undefined;
    const socket = connect({ host: target.address, port: target.port, allowHalfOpen: true, noDelay: true });
    keep(socket);
    const isOpen = await new Promise<boolean>((resolve) => {
      const timer = setTimeout(() => {
        slow.add(targetKey(target));
        // On a busy node its answer may have come while this process waited for a processor: it is read before.
        setImmediate(() => resolve(false));
      }, timeoutMs);
      const end = (value: boolean) => () => {
        clearTimeout(timer);
        resolve(value);
      };
      socket.once('connect', end(true));
      socket.once('error', end(false));
      client.once('close', end(false));
    });
    if (isOpen) return socket;
    socket.on('error', () => undefined);
    socket.destroy();
    failed.add(targetKey(target));
  }
  return undefined;
}

/** Pipes keep the pace of the slower side and pass each side's end on by itself. An error of one resets the other. */
function splice(client: Socket, endpoint: Socket): void {
  for (const [one, other] of [
    [client, endpoint],
    [endpoint, client],
  ] as const) {
    one.on('error', () => other.resetAndDestroy());
    one.on('close', () => {
      // Without an end the peer would wait for ever.
      if (!one.readableEnded && !other.destroyed) other.resetAndDestroy();
    });
    one.pipe(other);
  }
}
