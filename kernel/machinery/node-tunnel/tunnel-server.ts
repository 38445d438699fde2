/** The agent's end of a node tunnel: answers the API server's requests from a NodeService. */
import { performServerHandshake, type ServerHttp2Stream } from 'node:http2';
import { pipeline, type Duplex } from 'node:stream';
import {
  isPintleError,
  PintleError,
  type AttachRequest,
  type ExecRequest,
  type LogRequest,
  type NetworkQuestion,
  type NodeService,
  type ProcessStreams,
} from '../../contract/index.ts';
import { keepSessionAlive } from './keep-session-alive.ts';
import {
  frame,
  FrameReader,
  frameTypes,
  tunnelSessionMemory,
  tunnelSessionWindowBytes,
  tunnelStreams,
  tunnelWindowBytes,
} from './tunnel-protocol.ts';
import { tunnelTransport } from './tunnel-transport.ts';

/** Serves until the connection ends or `signal` aborts; then resolves. */
export function serveNodeTunnel(socket: Duplex, service: NodeService, signal: AbortSignal): Promise<void> {
  const session = performServerHandshake(tunnelTransport(socket), {
    maxSessionMemory: tunnelSessionMemory,
    settings: { initialWindowSize: tunnelWindowBytes, maxConcurrentStreams: tunnelStreams },
  });
  session.setLocalWindowSize(tunnelSessionWindowBytes);
  session.on('error', () => undefined);
  keepSessionAlive(session);
  session.on('stream', (stream, headers) => {
    stream.on('error', () => undefined);
    answer(stream, String(headers[':path']), service).catch((error: unknown) => refuse(stream, error));
  });
  const stop = (): void => session.destroy();
  signal.addEventListener('abort', stop, { once: true });
  if (signal.aborted) stop();
  return new Promise((resolve) => {
    const onClose = (): void => {
      signal.removeEventListener('abort', stop);
      resolve();
    };
    if (session.destroyed) onClose();
    else session.once('close', onClose);
  });
}

async function answer(stream: ServerHttp2Stream, path: string, service: NodeService): Promise<void> {
  const request = await firstFrame(stream);
  switch (path) {
    case '/logs': {
      const stopped = new AbortController();
      stream.once('close', () => stopped.abort());
      const lines = await service.logs(request as LogRequest, stopped.signal);
      begin(stream);
      stream.resume();
      pipeline(lines, stream, () => undefined);
      return;
    }
    case '/stats':
      return answerWhole(stream, async (signal) => JSON.stringify(await service.stats(signal)));
    case '/network':
      return answerWhole(stream, async (signal) =>
        JSON.stringify(await service.network(request as NetworkQuestion, signal)),
      );
    case '/metrics':
      return answerWhole(stream, (signal) => service.metrics(signal));
    case '/port-forward': {
      const connection = await service.portForward(request as never);
      begin(stream);
      carryConnection(stream, connection);
      return;
    }
    case '/exec':
      return carryProcess(stream, await service.exec(request as ExecRequest));
    case '/attach':
      return carryProcess(stream, await service.attach(request as AttachRequest));
    default:
      throw new PintleError('NOT_FOUND', `a node answers no requests for ${path}`);
  }
}

async function answerWhole(stream: ServerHttp2Stream, work: (signal: AbortSignal) => Promise<string>): Promise<void> {
  const stopped = new AbortController();
  stream.once('close', () => stopped.abort());
  const text = await work(stopped.signal);
  begin(stream);
  stream.resume();
  if (!stream.destroyed) stream.end(text);
}

/**
 * Both ways, each with an end of its own. Not by pipeline(): a connection that its peer ends closes at once, which would
 * reset the stream before what came on it, and its end, have been read.
 */
function carryConnection(stream: ServerHttp2Stream, connection: Duplex): void {
  connection.pipe(stream);
  stream.pipe(connection);
  connection.on('error', () => stream.close());
  connection.once('close', () => {
    if (!stream.destroyed && !stream.writableEnded) stream.end();
    // What the client still sends has nowhere to go.
    stream.resume();
  });
  stream.once('close', () => connection.destroy());
}

function begin(stream: ServerHttp2Stream): void {
  if (!stream.destroyed) stream.respond({ ':status': 200 });
}

/** Reads the request and leaves what follows it in the stream. */
function firstFrame(stream: ServerHttp2Stream): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const reader = new FrameReader();
    const settle = (act: () => void): void => {
      stream.off('readable', onReadable).off('end', onEnd).off('close', onEnd);
      act();
    };
    const onEnd = (): void =>
      settle(() => reject(new PintleError('BAD_REQUEST', 'the request ended before its first frame was whole')));
    const onReadable = (): void => {
      for (let chunk = stream.read() as Buffer | null; chunk !== null; chunk = stream.read() as Buffer | null) {
        try {
          reader.push(chunk);
          const found = reader.next();
          if (found === undefined) continue;
          if (found.type !== frameTypes.request) throw new RangeError('the first frame is no request');
          const request: unknown = JSON.parse(found.payload.toString());
          settle(() => {
            if (reader.rest.length > 0) stream.unshift(reader.rest);
            resolve(request);
          });
        } catch (cause) {
          settle(() => reject(new PintleError('BAD_REQUEST', 'the request frame is malformed', { cause })));
        }
        return;
      }
    };
    stream.on('readable', onReadable).on('end', onEnd).on('close', onEnd);
  });
}

function carryProcess(stream: ServerHttp2Stream, process: ProcessStreams): void {
  if (stream.destroyed) {
    process.close();
    return;
  }
  begin(stream);
  const outputs = [
    carryOutput(stream, process.stdout, frameTypes.stdout),
    carryOutput(stream, process.stderr, frameTypes.stderr),
  ];
  process.stdin?.on('error', () => undefined);
  const reader = new FrameReader();
  stream.on('data', (chunk: Buffer) => {
    reader.push(chunk);
    try {
      for (let next = reader.next(); next !== undefined; next = reader.next()) {
        if (next.type === frameTypes.stdin) {
          const { stdin } = process;
          if (stdin === undefined || stdin.destroyed || stdin.writableEnded || stdin.write(Buffer.from(next.payload)))
            continue;
          // Frames that came along are still delivered, and may ask for the same.
          if (stream.isPaused()) continue;
          stream.pause();
          const resume = (): void => {
            stdin.off('drain', resume).off('close', resume);
            stream.resume();
          };
          stdin.on('drain', resume).on('close', resume);
        } else if (next.type === frameTypes.stdinEnd) process.stdin?.end();
        else if (next.type === frameTypes.resize)
          process.resize(JSON.parse(next.payload.toString()) as { columns: number; rows: number });
      }
    } catch {
      stream.close();
    }
  });
  let isExited = false;
  stream.once('close', () => {
    if (!isExited) process.close();
  });
  Promise.all([process.exited, ...outputs]).then(
    ([exit]) => {
      isExited = true;
      if (!stream.destroyed) stream.end(frame(frameTypes.exit, JSON.stringify(exit)));
    },
    () => stream.close(),
  );
}

/** Resolves when the output has been read to its end and handed to the stream. */
async function carryOutput(
  stream: ServerHttp2Stream,
  output: ProcessStreams['stdout'],
  type: typeof frameTypes.stdout | typeof frameTypes.stderr,
): Promise<void> {
  if (output === undefined) return;
  try {
    for await (const chunk of output) {
      if (stream.destroyed || stream.writableEnded) return;
      if (!stream.write(frame(type, chunk as Buffer))) await drained(stream);
    }
  } catch {
    // The process ended in the middle of its output: its exit code says the rest.
  }
}

function drained(stream: ServerHttp2Stream): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      stream.off('drain', done).off('close', done);
      resolve();
    };
    stream.on('drain', done).on('close', done);
  });
}

function refuse(stream: ServerHttp2Stream, error: unknown): void {
  if (stream.destroyed || stream.headersSent) {
    stream.close();
    return;
  }
  const known = isPintleError(error) ? error : new PintleError('INTERNAL', String((error as Error).message ?? error));
  stream.respond({ ':status': known.code === 'INTERNAL' ? 500 : 400 });
  stream.end(JSON.stringify({ code: known.code, message: known.message, details: known.details }));
}
