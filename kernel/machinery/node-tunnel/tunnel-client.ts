/** The API server's end of a node tunnel: a NodeService whose calls travel to the agent, one HTTP/2 stream each. */
import { connect, type ClientHttp2Session, type ClientHttp2Stream } from 'node:http2';
import { PassThrough, type Duplex } from 'node:stream';
import {
  PintleError,
  type ErrorCode,
  type ErrorDetails,
  type NodeService,
  type NodeUsage,
  type ProcessExit,
  type ProcessStreams,
} from '../../contract/index.ts';
import { keepSessionAlive } from './keep-session-alive.ts';
import {
  frame,
  FrameReader,
  frameTypes,
  tunnelSessionMemory,
  tunnelSessionWindowBytes,
  tunnelWindowBytes,
} from './tunnel-protocol.ts';
import { tunnelTransport } from './tunnel-transport.ts';

export interface NodeTunnel {
  readonly service: NodeService;
  /** Resolves when the connection has ended, whoever ended it. */
  readonly closed: Promise<void>;
  close(): void;
}

export function openNodeTunnel(nodeName: string, socket: Duplex): NodeTunnel {
  const session = connect('http://node', {
    createConnection: () => tunnelTransport(socket),
    maxSessionMemory: tunnelSessionMemory,
    settings: { initialWindowSize: tunnelWindowBytes, enablePush: false },
  });
  const closed = new Promise<void>((resolve) => {
    session.once('close', resolve);
  });
  session.on('error', () => undefined);
  session.once('connect', () => session.setLocalWindowSize(tunnelSessionWindowBytes));
  keepSessionAlive(session);
  const open = (path: string, request: unknown, signal?: AbortSignal): Promise<ClientHttp2Stream> =>
    openStream(session, nodeName, path, request, signal);
  const whole = async (path: string, signal: AbortSignal, request: unknown = {}): Promise<string> => {
    const stream = await open(path, request, signal);
    stream.end();
    const chunks: Buffer[] = [];
    for await (const chunk of stream) chunks.push(chunk as Buffer);
    return Buffer.concat(chunks).toString();
  };
  const service: NodeService = {
    stats: async (signal) => JSON.parse(await whole('/stats', signal)) as NodeUsage,
    metrics: (signal) => whole('/metrics', signal),
    network: async (question, signal) => JSON.parse(await whole('/network', signal, question)) as never,
    async logs(request, signal) {
      const stream = await open('/logs', request, signal);
      stream.end();
      return stream;
    },
    exec: async (request) => processOver(await open('/exec', request), request),
    attach: async (request) => processOver(await open('/attach', request), request),
    portForward: (request) => open('/port-forward', request),
  };
  return { service, closed, close: () => session.destroy() };
}

function openStream(
  session: ClientHttp2Session,
  nodeName: string,
  path: string,
  request: unknown,
  signal?: AbortSignal,
): Promise<ClientHttp2Stream> {
  const unavailable = (cause?: unknown): PintleError =>
    new PintleError('UNAVAILABLE', `node ${nodeName} is not connected to the API server: its tunnel has ended`, {
      cause,
    });
  if (session.closed || session.destroyed) return Promise.reject(unavailable());
  return new Promise((resolve, reject) => {
    const stream = session.request(
      { ':method': 'POST', ':path': path },
      { endStream: false, ...(signal === undefined ? {} : { signal }) },
    );
    let isAnswered = false;
    stream.on('error', (error) => reject(signal?.aborted === true ? (signal.reason as Error) : unavailable(error)));
    stream.once('close', () => {
      if (!isAnswered) reject(unavailable());
    });
    stream.once('response', (headers) => {
      isAnswered = true;
      if (headers[':status'] === 200) resolve(stream);
      else readError(stream, nodeName).then(reject, reject);
    });
    stream.write(frame(frameTypes.request, JSON.stringify(request)));
  });
}

async function readError(stream: ClientHttp2Stream, nodeName: string): Promise<PintleError> {
  const chunks: Buffer[] = [];
  stream.end();
  for await (const chunk of stream) chunks.push(chunk as Buffer);
  try {
    const { code, message, details } = JSON.parse(Buffer.concat(chunks).toString()) as {
      code: ErrorCode;
      message: string;
      details: ErrorDetails;
    };
    return new PintleError(code, message, { details });
  } catch (cause) {
    return new PintleError('INTERNAL', `node ${nodeName} answered with an error that could not be read`, { cause });
  }
}

function processOver(
  stream: ClientHttp2Stream,
  request: { readonly stdin: boolean; readonly stdout: boolean; readonly stderr: boolean; readonly tty: boolean },
): ProcessStreams {
  const stdout = request.stdout ? new PassThrough() : undefined;
  const stderr = request.stderr && !request.tty ? new PassThrough() : undefined;
  let settle: (exit: ProcessExit) => void = () => undefined;
  let fail: (error: unknown) => void = () => undefined;
  const exited = new Promise<ProcessExit>((resolve, reject) => {
    settle = resolve;
    fail = reject;
  });
  // A caller that only reads output must not be ended by an unhandled rejection.
  exited.catch(() => undefined);
  const reader = new FrameReader();
  let isDone = false;
  const finish = (): void => {
    isDone = true;
    stdout?.end();
    stderr?.end();
  };
  /** Outputs that their reader has to catch up with. */
  const waiting = new Set<PassThrough>();
  for (const output of [stdout, stderr]) {
    const goOn = (): void => {
      if (output !== undefined && waiting.delete(output) && waiting.size === 0) stream.resume();
    };
    output?.on('drain', goOn).on('close', goOn);
  }
  const deliver = (target: PassThrough | undefined, payload: Buffer): void => {
    if (target === undefined || target.write(payload)) return;
    waiting.add(target);
    stream.pause();
  };
  const heed = (): void => {
    for (let next = reader.next(); next !== undefined; next = reader.next()) {
      if (next.type === frameTypes.stdout) deliver(stdout, Buffer.from(next.payload));
      else if (next.type === frameTypes.stderr) deliver(stderr, Buffer.from(next.payload));
      else if (next.type === frameTypes.exit) {
        finish();
        settle(JSON.parse(next.payload.toString()) as ProcessExit);
      }
    }
  };
  stream.on('data', (chunk: Buffer) => {
    reader.push(chunk);
    try {
      heed();
    } catch (error) {
      stream.destroy(error as Error);
    }
  });
  stream.once('close', () => {
    if (isDone) return;
    finish();
    fail(new PintleError('UNAVAILABLE', 'the connection to the node ended before the process did'));
  });
  let stdin: PassThrough | undefined;
  if (request.stdin) {
    stdin = new PassThrough();
    stdin.on('data', (chunk: Buffer) => {
      if (stream.destroyed || stream.writableEnded || stream.write(frame(frameTypes.stdin, chunk))) return;
      stdin?.pause();
      stream.once('drain', () => stdin?.resume());
    });
    stdin.once('end', () => {
      if (!stream.destroyed && !stream.writableEnded) stream.write(frame(frameTypes.stdinEnd));
    });
    stdin.on('error', () => undefined);
  }
  return {
    stdin,
    stdout,
    stderr,
    exited,
    resize: (size) => {
      if (!stream.destroyed && !stream.writableEnded) stream.write(frame(frameTypes.resize, JSON.stringify(size)));
    },
    close: () => stream.close(),
  };
}
