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
export async function hasLost(address: string): Promise<boolean> {
  const all = Object.values(networkInterfaces()).flatMap((each) => each ?? []);
  if (all.some((each) => each.address === address)) return false;
  return new Promise((resolve) => {
    const probe = createSocket(address.includes(':') ? 'udp6' : 'udp4');
    const answer = (isLost: boolean): void => {
      probe.close();
      resolve(isLost);
    };
    probe.once('error', ({ code }: NodeJS.ErrnoException) => answer(code === 'EADDRNOTAVAIL'));
    probe.bind({ address, port: 0, exclusive: true }, () => answer(false));
  });
}

export function holdConnections(isLost = hasLost): HeldConnections {
  const held = new Set<Socket>();
  const look = async (): Promise<void> => {
    for (const address of new Set([...held].map((socket) => socket.localAddress))) {
      // A link-local address is one only together with its interface, which nobody says here.
      if (address === undefined || address.startsWith('fe80') || !(await isLost(address))) continue;
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
