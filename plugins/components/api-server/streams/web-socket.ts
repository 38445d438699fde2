/** WebSocket handshakes. `ws` takes 30 ms to load: only when the first client asks. */
import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import type { WebSocket } from 'ws';
import { badRequest } from '../status.ts';

/** kubectl and client-go send at most 32 KiB a message; browsers and others may send more. */
const maxMessageBytes = 4 * 1024 * 1024;
/** Keeps NATs and proxies from dropping a quiet terminal. */
const pingMs = 30_000;

export function offeredProtocols(request: IncomingMessage): readonly string[] {
  return String(request.headers['sec-websocket-protocol'] ?? '')
    .split(',')
    .map((entry) => entry.trim())
    .filter((entry) => entry !== '');
}

export function isWebSocket(request: IncomingMessage): boolean {
  return (request.headers.upgrade ?? '').toLowerCase() === 'websocket';
}

/** Picks the first of `supported` that the client offers, and refuses a client that offers none. */
export function chooseProtocol(offered: readonly string[], supported: readonly string[]): string {
  const chosen = supported.find((entry) => offered.includes(entry));
  if (chosen === undefined)
    throw badRequest(
      `unable to negotiate protocol: client supports [${offered.join(' ')}], server accepts [${supported.join(' ')}]`,
    );
  return chosen;
}

/** The WebSocket comes paused: listen to its messages, then `resume()`. */
export async function acceptWebSocket(
  request: IncomingMessage,
  socket: Socket,
  head: Buffer,
  protocol: string,
): Promise<WebSocket> {
  const { WebSocketServer } = await import('ws');
  const server = new WebSocketServer({
    noServer: true,
    clientTracking: false,
    perMessageDeflate: false,
    maxPayload: maxMessageBytes,
    handleProtocols: () => protocol,
  });
  // Chosen already, and sent as it is: "SPDY/3.1+portforward.k8s.io" is no token of RFC 7230, which `ws` would insist on.
  request.headers['sec-websocket-protocol'] = 'chosen';
  // RFC 6455 wants GET; older clients of the API use POST as for SPDY.
  if (request.method === 'POST') request.method = 'GET';
  return new Promise((resolve, reject) => {
    socket.once('close', () => reject(badRequest('the client went away during the WebSocket handshake')));
    server.handleUpgrade(request, socket, head, (webSocket) => {
      webSocket.on('error', () => webSocket.terminate());
      const timer = setInterval(() => webSocket.ping(), pingMs);
      timer.unref();
      webSocket.once('close', () => clearInterval(timer));
      // Messages may be here already; they wait until the caller listens, and resumes.
      webSocket.pause();
      resolve(webSocket);
    });
  });
}
