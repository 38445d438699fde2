/** Upgrades: exec, attach, port-forward and node tunnels. A refused upgrade is answered and its connection closed. */
import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import { PintleError, type UserInfo } from '../../../../kernel/contract/index.ts';
import type { RouterContext } from '../route-request.ts';
import { statusOf } from '../status.ts';

export async function handleUpgrade(
  _request: IncomingMessage,
  socket: Socket,
  _head: Buffer,
  _user: UserInfo | undefined,
  _context: RouterContext,
): Promise<void> {
  refuseUpgrade(socket, new PintleError('NOT_FOUND', 'the server could not find the requested resource'));
}

export function refuseUpgrade(socket: Socket, error: unknown): void {
  const status = statusOf(error);
  const body = `${JSON.stringify(status)}\n`;
  socket.end(
    `HTTP/1.1 ${status.code} ${status.reason ?? ''}\r\nContent-Type: application/json\r\nContent-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`,
  );
}
