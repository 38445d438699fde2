/**
 * exec and attach as Kubernetes' container runtimes stream them: a URL from the CRI, upgraded to SPDY/3.1, one stream for
 * each of error, stdin, stdout, stderr and resize. (WebSocket, the other way, cannot end the input alone before its v5.)
 */
import { request as httpRequest } from 'node:http';
import { request as httpsRequest } from 'node:https';
import type { Duplex, Readable } from 'node:stream';
import { PintleError, type ProcessExit } from '../../../kernel/contract/index.ts';
import { SpdyConnection } from '../../../kernel/machinery/spdy/spdy-connection.ts';

export interface RemoteStreams {
  readonly stdin: Duplex | undefined;
  readonly stdout: Duplex;
  readonly stderr: Duplex | undefined;
  resize(size: { readonly columns: number; readonly rows: number }): void;
  /** What the runtime says of the end: the exit of an exec, or why it failed. Undefined: the connection was cut. */
  readonly status: Promise<ProcessExit | undefined>;
  close(): void;
}

/** v4: exit codes are told. */
const protocol = 'v4.channel.k8s.io';

export async function openRemoteCommand(
  url: string,
  wants: { readonly stdin: boolean; readonly tty: boolean },
): Promise<RemoteStreams> {
  const connection = new SpdyConnection(await upgrade(new URL(url)));
  const open = (streamtype: string): Promise<Duplex> => connection.open({ streamtype });
  // In this order: the runtime begins when the last of them is there.
  const error = await open('error');
  const stdin = wants.stdin ? await open('stdin') : undefined;
  const stdout = await open('stdout');
  const stderr = wants.tty ? undefined : await open('stderr');
  const resize = wants.tty ? await open('resize') : undefined;
  // Said now that nothing will be written. Said later (a reset after the last byte read), it can meet a socket that the
  // runtime has closed, and that failure would drop the status that still waits to be read.
  for (const readOnly of [error, stdout, stderr]) readOnly?.end();
  return {
    stdin,
    stdout,
    stderr,
    resize: ({ columns, rows }) => {
      if (resize?.writable === true) resize.write(`${JSON.stringify({ Width: columns, Height: rows })}\n`);
    },
    status: readStatus(error).finally(() => resize?.end()),
    close: () => connection.close(),
  };
}

function upgrade(url: URL): Promise<Duplex> {
  const request = url.protocol === 'https:' ? httpsRequest : httpRequest;
  return new Promise((resolve, reject) => {
    const call = request(url, {
      method: 'POST',
      headers: {
        connection: 'Upgrade',
        upgrade: 'SPDY/3.1',
        'x-stream-protocol-version': protocol,
        'content-length': 0,
      },
      // The runtime's certificate is its own, and the address came from it over its socket.
      ...(url.protocol === 'https:' ? { rejectUnauthorized: false } : {}),
    });
    call.once('upgrade', (_answer, socket, head) => {
      if (head.length > 0) socket.unshift(head);
      resolve(socket);
    });
    call.once('response', (answer) => {
      answer.resume();
      reject(unavailable(url, `it answers ${answer.statusCode}`));
    });
    call.once('error', (error) => reject(unavailable(url, error.message)));
    call.end();
  });
}

const unavailable = (url: URL, why: string): PintleError =>
  new PintleError(
    'UNAVAILABLE',
    `the streaming server of the container runtime at ${url.host} cannot be used: ${why}; the agent must be in its network namespace`,
  );

interface Status {
  readonly status: string;
  readonly reason?: string;
  readonly message?: string;
  readonly details?: { readonly causes?: readonly { readonly reason?: string; readonly message?: string }[] };
}

async function readStatus(error: Readable): Promise<ProcessExit | undefined> {
  let text = '';
  try {
    for await (const chunk of error) text += String(chunk);
  } catch {
    // cut: what was read counts
  }
  if (text === '') return undefined;
  let status: Status;
  try {
    status = JSON.parse(text) as Status;
  } catch {
    return { exitCode: 126, message: text };
  }
  if (status.status === 'Success') return { exitCode: 0 };
  const exitCode = status.details?.causes?.find(({ reason }) => reason === 'ExitCode')?.message;
  if (exitCode !== undefined) return { exitCode: Number(exitCode) };
  return { exitCode: 126, message: status.message ?? '' };
}
