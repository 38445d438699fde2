/**
 * TLS on the unix socket as well. A node whose only way to the API is that socket forwards its pods' connections into it
 * unopened: they are strangers who must prove themselves with a token or certificate, not the owner of the socket. The
 * first byte tells the two apart: 0x16 opens a TLS handshake (RFC 8446, 5.1) and no HTTP request.
 */
import type { Server as HttpServer } from 'node:http';
import type { Server, Socket } from 'node:net';
import { limitSilence } from './limit-silence.ts';

const handshake = 0x16;

export function takeTlsOverSocket(plain: HttpServer, tls: Pick<Server, 'emit'>, firstByteMs: number): void {
  const serveHttp = plain.listeners('connection') as ((this: HttpServer, socket: Socket) => void)[];
  plain.removeAllListeners('connection');
  plain.on('connection', (socket: Socket) => {
    const onEnd = (): void => void socket.destroy();
    let isSilent = true;
    limitSilence(socket, firstByteMs, () => isSilent);
    socket.on('error', () => undefined);
    socket.once('end', onEnd);
    socket.once('data', (chunk: Buffer) => {
      isSilent = false;
      socket.off('end', onEnd);
      socket.pause();
      socket.unshift(chunk);
      if (chunk[0] === handshake) {
        // Sockets of an HTTP server stay half open after a FIN; those of a TLS server do not.
        socket.allowHalfOpen = false;
        tls.emit('connection', socket);
      } else {
        for (const serve of serveHttp) serve.call(plain, socket);
        process.nextTick(() => socket.resume());
      }
    });
  });
}
