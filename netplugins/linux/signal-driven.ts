/**
 * Readiness of descriptors that libuv cannot watch (netlink sockets, TUN devices), on Node's event loop, without a thread and
 * without polling. Owns the process's SIGURG handler.
 *
 * Each descriptor is put in signal-driven mode (O_ASYNC, F_SETSIG): the kernel sends SIGURG when something arrives, libuv
 * wakes the event loop, and every watched descriptor is read until it is empty. SIGURG because its default action is to be
 * ignored: a signal that arrives before or after the handler exists does no harm. An idle watch costs nothing. Main thread
 * only (signals reach no other in Node).
 */
import { kernelRefused, libc } from './libc.ts';

const F_SETFL = 4;
const F_SETOWN = 8;
const F_SETSIG = 10;
const O_NONBLOCK = 0o4000;
const O_ASYNC = 0o20000;
const SIGURG = 23;

const drains = new Map<number, () => void>();
let isHandling = false;

function drainAll(): void {
  for (const drain of drains.values()) drain();
}

/**
 * Makes `fd` non-blocking and calls `drain`, which must read until nothing is left, whenever something may have arrived.
 * Returns the way to stop, to be called before the descriptor is closed. Throws KERNEL_REFUSED, saying `what` was tried.
 */
export function watchReadable(fd: number, what: string, drain: () => void): () => void {
  if (!isHandling) {
    isHandling = true;
    process.on('SIGURG', drainAll);
  }
  const settings: readonly (readonly [number, number])[] = [
    [F_SETSIG, SIGURG],
    [F_SETOWN, process.pid],
    [F_SETFL, O_NONBLOCK | O_ASYNC],
  ];
  for (const [command, argument] of settings)
    if (libc().fcntl(fd, command, argument) < 0) throw kernelRefused(what, libc().errno());
  drains.set(fd, drain);
  // What arrived before O_ASYNC raised no signal.
  setImmediate(() => {
    if (drains.get(fd) === drain) drain();
  });
  return () => {
    if (drains.get(fd) === drain) drains.delete(fd);
  };
}
