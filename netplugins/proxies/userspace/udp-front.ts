/** A UDP listener with one socket to an endpoint per client, which ends after some time without a datagram. */
import { createSocket, type Socket } from 'node:dgram';
import { isIPv6 } from 'node:net';
import { plainAddress, type Choose, type Front } from './front.ts';
import { targetKey, type Target } from './plan.ts';

/** Clients of one listener at a time; beyond, the longest silent goes. */
const mostSessions = 8_192;

interface Session {
  readonly socket: Socket;
  readonly target: string;
  readonly client: string;
  lastMs: number;
}

export function openUdpFront(choose: Choose, address: string, port: number, idleMs: number): Promise<Front> {
  const kind = isIPv6(address) ? 'udp6' : 'udp4';
  const server = createSocket(kind);
  const sessions = new Map<string, Session>();
  const end = (key: string, session: Session): void => {
    if (sessions.get(key) !== session) return;
    sessions.delete(key);
    session.socket.close();
  };
  const begin = (key: string, client: string, clientPort: number, target: Target): Session => {
    const socket = createSocket(kind);
    const session: Session = { socket, target: targetKey(target), client, lastMs: performance.now() };
    socket.on('message', (message) => {
      session.lastMs = performance.now();
      server.send(message, clientPort, client);
    });
    // The endpoint refuses (ICMP) or cannot be reached: the next datagram is given another.
    socket.on('error', () => end(key, session));
    socket.connect(target.port, target.address);
    sessions.set(key, session);
    return session;
  };
  server.on('message', (message, from) => {
    const key = `${from.address} ${from.port}`;
    const client = plainAddress(from.address);
    let session = sessions.get(key);
    if (session === undefined) {
      const target = choose(client)?.pick(client);
      if (target === undefined) return;
      session = begin(key, from.address, from.port, target);
      for (const [oldest, other] of sessions) {
        if (sessions.size <= mostSessions) break;
        end(oldest, other);
      }
    } else {
      session.lastMs = performance.now();
      sessions.delete(key);
      sessions.set(key, session);
    }
    const { socket } = session;
    const send = (): void => socket.send(message, () => undefined);
    try {
      socket.remoteAddress();
      send();
    } catch {
      // Not connected yet: that takes a tick.
      socket.once('connect', send);
    }
  });
  const sweep = setInterval(
    () => {
      const limit = performance.now() - idleMs;
      for (const [key, session] of sessions) if (session.lastMs < limit) end(key, session);
    },
    Math.max(250, idleMs / 4),
  );
  sweep.unref();
  const destroy = (): void => {
    clearInterval(sweep);
    for (const [key, session] of sessions) end(key, session);
    server.close();
  };
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.bind({ address, port, exclusive: true }, () => {
      server.removeListener('error', reject);
      server.on('error', () => undefined);
      resolve({
        port: server.address().port,
        refresh: () => {
          for (const [key, session] of sessions)
            if (choose(session.client)?.pool.living.has(session.target) !== true) end(key, session);
        },
        close: destroy,
        destroy,
      });
    });
  });
}
