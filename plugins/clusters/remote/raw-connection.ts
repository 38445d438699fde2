/** A connection to the API's TLS port with nothing said on it yet, the way that calls go: TCP, or the server's unix socket. */
import { connect, type Socket } from 'node:net';
import type { Endpoint } from './endpoint.ts';
import { unreachable } from './http-client.ts';

const connectTimeoutMs = 10_000;

export function rawConnection({ socketPath, host, port, url }: Endpoint): Promise<Socket> {
  const target = socketPath === undefined ? { host, port } : { path: socketPath };
  return new Promise((resolve, reject) => {
    const socket = connect({ ...target, allowHalfOpen: true });
    const timer = setTimeout(
      () => socket.destroy(new Error(`no connection within ${connectTimeoutMs} ms`)),
      connectTimeoutMs,
    );
    socket.once('connect', () => {
      clearTimeout(timer);
      socket.off('error', onError);
      resolve(socket);
    });
    const onError = (error: Error): void => {
      clearTimeout(timer);
      reject(unreachable(url, error));
    };
    socket.once('error', onError);
  });
}
