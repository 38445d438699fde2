/**
 * What stands between a node tunnel's HTTP/2 session and its socket. Node's HTTP/2 does not read while a write is under
 * way (Http2Session::MaybeStopReading, 20 to 24): when both ends fill their socket's buffer at the same time, each waits
 * for the other to read, for ever. Here a write is over when it is queued. The queue needs no limit of its own: the
 * session's flow control lets at most tunnelSessionWindowBytes be on their way.
 */
import { Duplex } from 'node:stream';

export function tunnelTransport(socket: Duplex): Duplex {
  const transport = new Duplex({
    // The socket says when it is gone; HTTP/2 must not be told that a write failed before.
    allowHalfOpen: false,
    read: () => void socket.resume(),
    write(chunk: Buffer, _encoding, callback) {
      socket.write(chunk);
      callback();
    },
    writev(pieces, callback) {
      socket.cork();
      for (const { chunk } of pieces) socket.write(chunk as Buffer);
      socket.uncork();
      callback();
    },
    final(callback) {
      socket.end(() => callback());
    },
    destroy(error, callback) {
      socket.destroy();
      callback(error);
    },
  });
  socket.on('data', (chunk: Buffer) => {
    if (!transport.push(chunk)) socket.pause();
  });
  socket.pause();
  socket.once('end', () => transport.push(null));
  socket.on('error', (error) => transport.destroy(error));
  socket.once('close', () => transport.destroy());
  // Its session listens; before and after it there is nobody.
  transport.on('error', () => undefined);
  return transport;
}
