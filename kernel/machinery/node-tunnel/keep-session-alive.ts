/** Pings an HTTP/2 session and destroys it when the peer no longer answers: a dead machine sends no FIN. */
import type { Http2Session } from 'node:http2';
import { tunnelPingMs } from './tunnel-protocol.ts';

export function keepSessionAlive(session: Http2Session, everyMs: number = tunnelPingMs): void {
  let isAnswered = true;
  const timer = setInterval(() => {
    if (session.destroyed) return;
    if (!isAnswered) {
      session.destroy();
      return;
    }
    isAnswered = false;
    session.ping((error) => {
      if (error === null) isAnswered = true;
    });
  }, everyMs);
  timer.unref();
  session.once('close', () => clearInterval(timer));
}
