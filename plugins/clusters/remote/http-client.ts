/**
 * HTTP/1.1 to one API server: a few kept-alive connections for calls, an own connection for each watch and tunnel, so that
 * long streams never use up the calls' connections. Nothing here needs the server to be there at the start.
 */
import {
  Agent as HttpAgent,
  request as httpRequest,
  type ClientRequest,
  type IncomingMessage,
  type RequestOptions,
} from 'node:http';
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https';
import type { Socket } from 'node:net';
import { createSecureContext, type SecureContext } from 'node:tls';
import { isPintleError, PintleError } from '../../../kernel/contract/index.ts';
import type { Endpoint, TlsMaterial } from './endpoint.ts';
import type { HeldConnections } from './held-connections.ts';
import { statusError } from './status-error.ts';

export interface Call {
  readonly method: string;
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>> | undefined;
  /** JSON text. */
  readonly body?: string | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface Answer {
  readonly headers: IncomingMessage['headers'];
  readonly body: unknown;
}

export interface HttpClient {
  /** Rejects with the server's Status as a PintleError, UNAVAILABLE when it cannot be reached. */
  call(call: Call): Promise<Answer>;
  /** The answer's body as it comes; the same errors. */
  stream(call: Call): Promise<IncomingMessage>;
  /** Resolves to the socket after a 101. */
  upgrade(
    path: string,
    protocol: string,
    signal: AbortSignal,
  ): Promise<{ readonly socket: Socket; readonly head: Buffer }>;
  close(): void;
}

export interface HttpClientOptions {
  /** Called before each new request: files may have changed. */
  readonly endpoint: () => Promise<Endpoint>;
  readonly maxConnections: number;
  /** A call whose connection is silent for so long is given up. */
  readonly callTimeoutMs: number;
  readonly connections?: HeldConnections | undefined;
}

const keepAliveProbeMs = 15_000;
const maxAnswerBytes = 512 * 1024 * 1024;

export function createHttpClient(options: HttpClientOptions): HttpClient {
  const agentOptions = {
    keepAlive: true,
    maxSockets: options.maxConnections,
    maxFreeSockets: 4,
    scheduling: 'lifo' as const,
  };
  const agents = { plain: new HttpAgent(agentOptions), tls: new HttpsAgent({ ...agentOptions, maxCachedSessions: 0 }) };

  const streams = new Set<IncomingMessage>();

  const open = async (
    call: Call,
    kept: boolean,
    extraHeaders: Readonly<Record<string, string>> = {},
  ): Promise<{ readonly request: ClientRequest; readonly url: string }> => {
    const endpoint = await options.endpoint();
    const { tls } = endpoint;
    const requestOptions: RequestOptions = {
      method: call.method,
      path: endpoint.basePath + call.path,
      headers: {
        accept: 'application/json',
        'user-agent': 'pintle',
        ...(endpoint.bearerToken === undefined ? {} : { authorization: `Bearer ${endpoint.bearerToken}` }),
        ...(call.body === undefined
          ? {}
          : { 'content-type': 'application/json', 'content-length': String(Buffer.byteLength(call.body)) }),
        ...call.headers,
        ...extraHeaders,
      },
      ...(endpoint.socketPath === undefined
        ? { host: endpoint.host, port: endpoint.port }
        : { socketPath: endpoint.socketPath }),
      ...(call.signal === undefined ? {} : { signal: call.signal }),
      ...(kept ? { agent: tls === undefined ? agents.plain : agents.tls } : { agent: false }),
    };
    const request =
      tls === undefined
        ? httpRequest(requestOptions)
        : httpsRequest({
            ...requestOptions,
            ...withContext(tls),
            ...(tls.serverName === undefined ? {} : { servername: tls.serverName }),
            rejectUnauthorized: !tls.skipVerification,
          });
    request.once('socket', (socket) => options.connections?.hold(socket));
    return { request, url: endpoint.url };
  };

  const answerOf = async (call: Call, kept: boolean, mayRetry = call.method === 'GET'): Promise<IncomingMessage> => {
    const { request, url } = await open(call, kept);
    return new Promise((resolve, reject) => {
      if (kept)
        request.setTimeout(options.callTimeoutMs, () =>
          request.destroy(new Error(`no answer within ${options.callTimeoutMs} ms`)),
        );
      request.once('socket', (socket) => socket.setKeepAlive(true, keepAliveProbeMs));
      request.once('response', resolve);
      request.on('error', (error) => {
        if (call.signal?.aborted === true) reject(call.signal.reason as Error);
        // The server closed a kept connection just as it was taken up again: a read may simply be asked anew.
        else if (request.reusedSocket && mayRetry) answerOf(call, kept, false).then(resolve, reject);
        else reject(unreachable(url, error));
      });
      request.end(call.body);
    });
  };

  const checked = async (call: Call, kept: boolean): Promise<IncomingMessage> => {
    call.signal?.throwIfAborted();
    const answer = await answerOf(call, kept);
    if ((answer.statusCode ?? 500) < 300) return answer;
    throw await errorOf(answer, call);
  };

  return {
    async call(call) {
      const answer = await checked(call, true);
      const text = await textOf(answer, call);
      try {
        return { headers: answer.headers, body: JSON.parse(text) };
      } catch (cause) {
        throw new PintleError('INTERNAL', `${call.method} ${call.path} was answered with something that is no JSON`, {
          cause,
        });
      }
    },
    async stream(call) {
      const answer = await checked(call, false);
      streams.add(answer);
      answer.once('close', () => streams.delete(answer));
      return answer;
    },
    async upgrade(path, protocol, signal) {
      const call: Call = { method: 'POST', path, signal, headers: { 'content-length': '0' } };
      const { request, url } = await open(call, false, { connection: 'Upgrade', upgrade: protocol });
      return new Promise((resolve, reject) => {
        request.setTimeout(options.callTimeoutMs, () =>
          request.destroy(new Error(`no answer within ${options.callTimeoutMs} ms`)),
        );
        request.once('upgrade', (_answer, socket: Socket, head: Buffer) => {
          socket.setTimeout(0);
          socket.removeAllListeners('timeout');
          socket.setKeepAlive(true, keepAliveProbeMs);
          resolve({ socket, head });
        });
        request.once('response', (answer) => {
          errorOf(answer, call).then(reject, reject);
        });
        request.on('error', (error) => reject(signal.aborted ? (signal.reason as Error) : unreachable(url, error)));
        request.end();
      });
    },
    close() {
      for (const stream of streams) stream.destroy();
      agents.plain.destroy();
      agents.tls.destroy();
    },
  };
}

const materialOf = ({ ca, cert, key }: TlsMaterial) => ({
  ...(ca === undefined ? {} : { ca }),
  ...(cert === undefined ? {} : { cert }),
  ...(key === undefined ? {} : { key }),
});

const contexts = new WeakMap<TlsMaterial, SecureContext>();

/**
 * Certificates are parsed once, not with each of the many watches' connections. The material stays beside what was made of
 * it: by that, kept connections are told apart.
 */
function withContext(tls: TlsMaterial) {
  const material = materialOf(tls);
  const secureContext = contexts.get(tls) ?? createSecureContext(material);
  contexts.set(tls, secureContext);
  return { ...material, secureContext };
}

async function errorOf(answer: IncomingMessage, call: Call): Promise<PintleError> {
  const text = await textOf(answer, call).catch(() => '');
  let document: unknown;
  try {
    document = JSON.parse(text);
  } catch {
    document = undefined;
  }
  return statusError(document, answer.statusCode ?? 500, `${call.method} ${call.path.split('?')[0] ?? ''}`);
}

/** By its events: an iterator over a stream costs as much as all else that is done for a small answer. */
function textOf(answer: IncomingMessage, call: Call): Promise<string> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let size = 0;
    const fail = (error: unknown): void => {
      if (call.signal?.aborted === true) reject(call.signal.reason as Error);
      else reject(isPintleError(error) ? error : unreachable(call.path, error));
    };
    // Of an answer that was given up before anybody listened, nothing more is heard.
    if (answer.destroyed) return fail(answer.errored ?? new Error('the connection ended within the answer'));
    answer.on('data', (chunk: Buffer) => {
      size += chunk.length;
      if (size <= maxAnswerBytes) chunks.push(chunk);
      else {
        const message = `the answer to ${call.method} ${call.path} is larger than ${maxAnswerBytes} bytes`;
        answer.destroy(new PintleError('TOO_LARGE', message));
      }
    });
    answer.once('end', () => resolve((chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks, size)).toString()));
    answer.once('error', fail);
    answer.once('close', () => answer.readableEnded || fail(new Error('the connection ended within the answer')));
  });
}

export function unreachable(url: string, cause: unknown): PintleError {
  const { code, message } = cause as NodeJS.ErrnoException;
  return new PintleError('UNAVAILABLE', `the API server at ${url} cannot be reached: ${code ?? message}`, { cause });
}
