/** Opens the two doors of the API server: a TCP port and a unix socket. Owns the socket file. */
import { chmod, lstat, unlink } from 'node:fs/promises';
import { connect, type Server } from 'node:net';
import { PintleError } from '../../../kernel/contract/index.ts';

/** sockaddr_un holds 108 bytes with the final zero. */
const maxSocketPathBytes = 107;
/** A thousand nodes that come at once open a few connections each; beyond this a unix socket refuses at once. The kernel may know a lower limit. */
const backlog = 4096;

export async function listenOnPort(server: Server, host: string, port: number): Promise<number> {
  try {
    await listening(server, () => server.listen({ host, port, exclusive: true, backlog }));
  } catch (error) {
    throw new PintleError('PLUGIN_START_FAILED', portMessage(host, port, error as NodeJS.ErrnoException), {
      details: { host, port },
      cause: error,
    });
  }
  const address = server.address();
  return typeof address === 'object' && address !== null ? address.port : port;
}

function portMessage(host: string, port: number, error: NodeJS.ErrnoException): string {
  const subject = `the API server cannot listen on ${host}:${port}`;
  switch (error.code) {
    case 'EADDRINUSE':
      return `${subject}: port ${port} is in use by another program; stop it, or set another \`port\` for component api-server`;
    case 'EACCES':
      return `${subject}: this user may not open port ${port}; choose one above 1023`;
    case 'EADDRNOTAVAIL':
      return `${subject}: no interface of this machine has the address ${host}; set \`address\` for component api-server`;
    default:
      return `${subject}: ${error.message}`;
  }
}

export async function listenOnSocket(server: Server, path: string): Promise<void> {
  if (Buffer.byteLength(path) > maxSocketPathBytes)
    throw new PintleError(
      'PLUGIN_START_FAILED',
      `the API server cannot open the unix socket ${path}: the path has ${Buffer.byteLength(path)} bytes, at most ${maxSocketPathBytes} are possible; set a shorter \`socket\` for component api-server`,
    );
  await removeStaleSocket(path);
  // The file must never be open to others, not even for the moment between bind and chmod. Node binds within listen().
  const before = process.umask(0o177);
  try {
    await listening(server, () => {
      try {
        server.listen({ path, backlog });
      } finally {
        process.umask(before);
      }
    });
  } catch (error) {
    throw new PintleError(
      'PLUGIN_START_FAILED',
      `the API server cannot open the unix socket ${path}: ${(error as Error).message}`,
      { cause: error },
    );
  } finally {
    process.umask(before);
  }
  await chmod(path, 0o600);
}

async function removeStaleSocket(path: string): Promise<void> {
  let isSocket: boolean;
  try {
    isSocket = (await lstat(path)).isSocket();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
    throw error;
  }
  if (!isSocket)
    throw new PintleError(
      'PLUGIN_START_FAILED',
      `the API server cannot open the unix socket ${path}: a file that is no socket is there; move it away`,
    );
  if (await isAnswered(path))
    throw new PintleError(
      'PLUGIN_START_FAILED',
      `the API server cannot open the unix socket ${path}: another server is listening there; stop it first`,
    );
  await unlink(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT') throw error;
  });
}

function isAnswered(path: string): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const socket = connect({ path });
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'ECONNREFUSED' || error.code === 'ENOENT') resolve(false);
      else reject(error);
    });
  });
}

function listening(server: Server, listen: () => void): Promise<void> {
  return new Promise((resolve, reject) => {
    const onError = (error: Error): void => {
      server.off('listening', onListening);
      reject(error);
    };
    const onListening = (): void => {
      server.off('error', onError);
      resolve();
    };
    server.once('error', onError).once('listening', onListening);
    listen();
  });
}
