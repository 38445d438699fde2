/**
 * Ends connections to the API whose own address the node has lost. The kernel keeps such a connection and sends into the
 * void until its timers run out, a minute and more, in which the node can tell nobody its new address.
 */
import { createSocket } from 'node:dgram';
import type { Socket } from 'node:net';
import { networkInterfaces } from 'node:os';

const lookMs = 1_000;

export interface HeldConnections {
  /** Watches over it until it closes. One that has no address (a unix socket) is left alone. */
  hold(socket: Socket): void;
  close(): void;
}

/** By the kernel's word: an interface without a carrier is on no list of Node's, and keeps its addresses and connections. */
function isGone(address: string): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = createSocket(address.includes(':') ? 'udp6' : 'udp4');
    const answer = (gone: boolean): void => {
      probe.close();
      resolve(gone);
    };
    probe.once('error', ({ code }: NodeJS.ErrnoException) => answer(code === 'EADDRNOTAVAIL'));
    probe.bind({ address, port: 0, exclusive: true }, () => answer(false));
  });
}

function listedAddresses(): ReadonlySet<string> {
  const all = Object.values(networkInterfaces()).flatMap((each) => each ?? []);
  return new Set(all.map(({ address }) => address));
}

export function holdConnections(): HeldConnections {
  const held = new Set<Socket>();
  const look = async (): Promise<void> => {
    const listed = listedAddresses();
    const unlisted = new Set([...held].map((socket) => socket.localAddress));
    for (const address of unlisted) {
      // A link-local address is one only together with its interface, which nobody says here.
      if (address === undefined || listed.has(address) || address.startsWith('fe80')) continue;
      if (!(await isGone(address))) continue;
      for (const socket of held)
        if (socket.localAddress === address) socket.destroy(new Error(`this node has lost its address ${address}`));
    }
  };
  let timer: NodeJS.Timeout | undefined;
  return {
    hold(socket) {
      if (held.has(socket)) return;
      held.add(socket);
      socket.once('close', () => held.delete(socket));
      timer ??= setInterval(() => void look(), lookMs).unref();
    },
    close() {
      clearInterval(timer);
      held.clear();
    },
  };
}
