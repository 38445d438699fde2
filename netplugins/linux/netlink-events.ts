/** Netlink notifications on Node's event loop. Owns the sockets that are subscribed. */
import type { NetlinkMessage, NetlinkSocket } from './netlink-socket.ts';
import { watchReadable } from './signal-driven.ts';

/** Notifications; `overflow` when some were lost: list again, whatever you watch may have changed. */
export type NetlinkListener = (event: readonly NetlinkMessage[] | 'overflow') => void;

/** Calls `listener` for all that arrives on `socket` until the returned function is called; that closes the socket. */
export function listen(socket: NetlinkSocket, listener: NetlinkListener): () => void {
  let isOpen = true;
  const drain = (): void => {
    while (isOpen) {
      const received = socket.receive();
      if (received === 'nothing') return;
      listener(received);
    }
  };
  let unwatch: () => void;
  try {
    unwatch = watchReadable(socket.fd, 'Subscribing to netlink notifications', drain);
  } catch (error) {
    socket.close();
    throw error;
  }
  return () => {
    isOpen = false;
    unwatch();
    socket.close();
  };
}
