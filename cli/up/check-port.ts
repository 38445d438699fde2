/** Asks for the API's port before anything is started: the usual reason for it to be taken is another cluster. */
import { once } from 'node:events';
import { createServer, isIPv6 } from 'node:net';
import { PintleError } from '../../kernel/contract/errors.ts';
import type { HostPort } from '../options.ts';

const text = ({ address, port }: HostPort): string => `${isIPv6(address) ? `[${address}]` : address}:${port}`;

export async function checkPort(listen: HostPort): Promise<void> {
  const server = createServer();
  try {
    server.listen(listen.port, listen.address);
    await once(server, 'listening');
  } catch (cause) {
    const isTaken = (cause as NodeJS.ErrnoException).code === 'EADDRINUSE';
    const what = isTaken ? 'in use, perhaps by another cluster' : `no place to listen: ${(cause as Error).message}`;
    throw new PintleError(
      'PLUGIN_START_FAILED',
      `${text(listen)} is ${what}; choose another one with --listen ADDRESS:PORT`,
      { cause },
    );
  } finally {
    server.close();
  }
}
