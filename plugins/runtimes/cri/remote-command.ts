/**
 * exec and attach as Kubernetes' container runtimes stream them: a URL from the CRI, upgraded to SPDY/3.1, one stream for
 * each of error, stdin, stdout, stderr and resize. (WebSocket, the other way, cannot end the input alone before its v5.)
 */
import { request as httpRequest } from 'node:http';
import { request as httpsRequest } from 'node:https';
import type { Socket } from 'node:net';
import type { Duplex, Readable } from 'node:stream';
import { connect as connectTls } from 'node:tls';
import { PintleError, type ProcessExit } from '../../../kernel/contract/index.ts';
import { SpdyConnection } from '../../../kernel/machinery/spdy/spdy-connection.ts';
import { connectInNetns } from '../../../netplugins/linux/connect.ts';

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
  netns: string | undefined,
): Promise<RemoteStreams> {
  const connection = new SpdyConnection(await upgrade(new URL(url), netns));
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

const loopbacks: readonly string[] = ['127.0.0.1', 'localhost'];

/** In the namespace only what listens on its loopback: other addresses are everybody's. */
async function connectionTo(url: URL, netns: string | undefined): Promise<Socket | undefined> {
  if (netns === undefined || !loopbacks.includes(url.hostname)) return undefined;
  try {
    return await connectInNetns(netns, Number(url.port));
  } catch (error) {
    throw unavailable(url, netns, (error as Error).message);
  }
}

async function upgrade(url: URL, netns: string | undefined): Promise<Duplex> {
  const isSecure = url.protocol === 'https:';
  const socket = await connectionTo(url, netns);
  const request = isSecure ? httpsRequest : httpRequest;
  // The runtime's certificate is its own, and the address came from it over its socket.
  const trust = isSecure ? { rejectUnauthorized: false } : {};
  return new Promise((resolve, reject) => {
    const call = request(url, {
      method: 'POST',
      headers: {
        connection: 'Upgrade',
        upgrade: 'SPDY/3.1',
        'x-stream-protocol-version': protocol,
        'content-length': 0,
      },
      ...trust,
      ...(socket === undefined
        ? {}
        : { createConnection: () => (isSecure ? connectTls({ socket, ...trust }) : socket) }),
    });
    call.once('upgrade', (_answer, connection, head) => {
      if (head.length > 0) connection.unshift(head);
      resolve(connection);
    });
    call.once('response', (answer) => {
      answer.resume();
      reject(unavailable(url, netns, `it answers ${answer.statusCode}`));
    });
    call.once('error', (error) => reject(unavailable(url, netns, error.message)));
    call.end();
  });
}

const unavailable = (url: URL, netns: string | undefined, why: string): PintleError => {
  const advice =
    netns === undefined
      ? 'expected it in the network namespace of the agent; if it is in another one, say where that is kept (netns of runtime cri)'
      : `expected it in the network namespace at ${netns}`;
  return new PintleError(
    'UNAVAILABLE',
    `the streaming server of the container runtime at ${url.host} cannot be used: ${why}; ${advice}`,
  );
};

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
