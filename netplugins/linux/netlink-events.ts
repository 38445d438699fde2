/**
 * Netlink notifications on Node's event loop, without a thread and without polling. Owns the process's SIGURG handler.
 *
 * libuv cannot watch a netlink socket. Instead each socket is put in signal-driven mode (O_ASYNC, F_SETSIG): the kernel
 * sends SIGURG when something arrives, libuv wakes the event loop, and every subscribed socket is read until it is empty.
 * SIGURG because its default action is to be ignored: a signal that arrives before or after the handler exists does no
 * harm. An idle subscription costs nothing. Main thread only (signals reach no other in Node).
 */
import type { NetlinkMessage, NetlinkSocket } from './netlink-socket.ts';
import { kernelRefused, libc } from './libc.ts';

const F_SETFL = 4;
const F_SETOWN = 8;
const F_SETSIG = 10;
const O_NONBLOCK = 0o4000;
const O_ASYNC = 0o20000;
const SIGURG = 23;

/** Notifications; `overflow` when some were lost: list again, whatever you watch may have changed. */
export type NetlinkListener = (event: readonly NetlinkMessage[] | 'overflow') => void;

const subscriptions = new Map<NetlinkSocket, NetlinkListener>();
let isHandling = false;

function drain(socket: NetlinkSocket, listener: NetlinkListener): void {
  while (subscriptions.has(socket)) {
    const received = socket.receive();
    if (received === 'nothing') return;
    listener(received);
  }
}

function drainAll(): void {
  for (const [socket, listener] of subscriptions) drain(socket, listener);
}

/** Calls `listener` for all that arrives on `socket` until the returned function is called; that closes the socket. */
export function listen(socket: NetlinkSocket, listener: NetlinkListener): () => void {
  if (!isHandling) {
    isHandling = true;
    process.on('SIGURG', drainAll);
  }
  subscriptions.set(socket, listener);
  const settings: readonly (readonly [number, number])[] = [
    [F_SETSIG, SIGURG],
    [F_SETOWN, process.pid],
    [F_SETFL, O_NONBLOCK | O_ASYNC],
  ];
  for (const [command, argument] of settings) {
    if (libc().fcntl(socket.fd, command, argument) >= 0) continue;
    const error = kernelRefused('Subscribing to netlink notifications', libc().errno());
    subscriptions.delete(socket);
    socket.close();
    throw error;
  }
  // What arrived between the bind and O_ASYNC raised no signal.
  setImmediate(() => drain(socket, listener));
  return () => {
    subscriptions.delete(socket);
    socket.close();
  };
}
