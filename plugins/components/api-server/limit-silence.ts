import type { Socket } from 'node:net';

/**
 * Ends a connection of which nothing has come within a time. A process that was busy for longer than that finds its timers
 * due before it has read what came meanwhile: so it reads once more before it judges.
 */
export function limitSilence(socket: Socket, timeoutMs: number, isSilent: () => boolean): void {
  const timer = setTimeout(() => {
    setImmediate(() => {
      if (isSilent()) socket.destroy();
    });
  }, timeoutMs);
  timer.unref();
  socket.once('close', () => clearTimeout(timer));
}
