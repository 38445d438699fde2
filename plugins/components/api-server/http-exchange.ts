/**
 * One request and its answer, over HTTP/1.1 or HTTP/2 alike. Headers that every answer carries (Audit-Id, Warning,
 * Cache-Control) are added here and nowhere else.
 */
import type { IncomingMessage } from 'node:http';
import type { Http2ServerRequest } from 'node:http2';
import { randomUUID } from 'node:crypto';
import type { Writable } from 'node:stream';
import { promisify } from 'node:util';
import { constants, gzip } from 'node:zlib';
import type { UserInfo } from '../../../kernel/contract/index.ts';

export type HttpRequest = IncomingMessage | Http2ServerRequest;

/** What http.ServerResponse and http2's compatibility answer have in common. */
export interface HttpResponse extends Writable {
  statusCode: number;
  readonly headersSent: boolean;
  setHeader(name: string, value: string | readonly string[]): unknown;
  flushHeaders(): void;
}

/** Smaller answers gain nothing from gzip on a loopback or LAN (kube-apiserver's own limit). */
const gzipAboveBytes = 128 * 1024;
/** All Warning headers of one answer together; a proxy refuses header blocks much above 8 KiB. */
const warningBytes = 4096;

const gzipBytes = promisify(gzip);

export interface Exchange {
  readonly request: HttpRequest;
  readonly response: HttpResponse;
  /** Undefined: nobody has proved who they are. */
  readonly user: UserInfo | undefined;
  /** Raw, still percent-encoded. */
  readonly path: string;
  readonly query: URLSearchParams;
  /** Aborts when the client goes away. */
  readonly signal: AbortSignal;
  warn(message: string): void;
  readonly warnings: readonly string[];
}

export function openExchange(request: HttpRequest, response: HttpResponse, user: UserInfo | undefined): Exchange {
  const url = request.url ?? '/';
  const mark = url.indexOf('?');
  const warnings: string[] = [];
  const leaving = leavingOf(response);
  const given = request.headers['audit-id'];
  const auditId = typeof given === 'string' && /^[A-Za-z0-9-]{1,64}$/.test(given) ? given : randomUUID();
  response.setHeader('audit-id', auditId);
  response.setHeader('cache-control', 'no-cache, private');
  return {
    request,
    response,
    user,
    path: mark < 0 ? url : url.slice(0, mark),
    query: new URLSearchParams(mark < 0 ? '' : url.slice(mark + 1)),
    get signal() {
      return leaving.signal;
    },
    warnings,
    warn: (message) => {
      if (!warnings.includes(message)) warnings.push(message);
    },
  };
}

/** The same exchange on somebody else's behalf. */
export function onBehalfOf(exchange: Exchange, user: UserInfo): Exchange {
  return user === exchange.user
    ? exchange
    : (Object.create(exchange, { user: { value: user, enumerable: true } }) as Exchange);
}

/** One for all: an error with a stack for each request would cost more than what it says. */
const gone = new DOMException('the client has gone, or has its whole answer', 'AbortError');

/** Most requests never ask for the signal, and a controller for each would be a good part of what they cost. */
function leavingOf(response: HttpResponse): { readonly signal: AbortSignal } {
  let controller: AbortController | undefined;
  let hasLeft = false;
  // `close` on the answer comes both after its end and when the client left before it.
  response.once('close', () => {
    hasLeft = true;
    controller?.abort(gone);
  });
  return {
    get signal() {
      if (controller === undefined) {
        controller = new AbortController();
        if (hasLeft) controller.abort(gone);
      }
      return controller.signal;
    },
  };
}

/** RFC 7234 warn-code 299, agent "-", quoted text: what client-go parses and kubectl prints. */
export function warningHeaders(warnings: readonly string[]): readonly string[] {
  const headers: string[] = [];
  let left = warningBytes;
  for (const warning of warnings) {
    const text = warning
      // Header values are latin1 and must not hold control characters.
      .replace(/[^\x20-\x7e]+/g, ' ')
      .replace(/["\\]/g, (character) => `\\${character}`);
    left -= text.length;
    if (left < 0) break;
    headers.push(`299 - "${text}"`);
  }
  return headers;
}

export interface Answer {
  readonly status: number;
  readonly body: Buffer;
  readonly contentType: string;
  readonly headers?: Readonly<Record<string, string>>;
}

export async function send(exchange: Exchange, answer: Answer): Promise<void> {
  const { request, response } = exchange;
  if (response.headersSent || response.destroyed) return;
  let body = answer.body;
  let isZipped = false;
  if (body.length > gzipAboveBytes && acceptsGzip(request.headers['accept-encoding'])) {
    body = await gzipBytes(body, { level: constants.Z_BEST_SPEED });
    if (response.headersSent || response.destroyed) return;
    isZipped = true;
  }
  response.setHeader('content-type', answer.contentType);
  for (const [name, value] of Object.entries(answer.headers ?? {})) response.setHeader(name, value);
  if (isZipped) {
    response.setHeader('content-encoding', 'gzip');
    response.setHeader('vary', 'Accept-Encoding');
  }
  if (exchange.warnings.length > 0) response.setHeader('warning', warningHeaders(exchange.warnings));
  response.setHeader('content-length', String(body.length));
  response.statusCode = answer.status;
  if (request.httpVersionMajor === 1 && !request.complete) {
    // The rest of a body that nobody will read must not be taken for the next request.
    response.setHeader('connection', 'close');
  }
  if (request.method === 'HEAD') response.end();
  else response.end(body);
}

function acceptsGzip(header: string | string[] | undefined): boolean {
  return String(header ?? '')
    .split(',')
    .some((part) => /^\s*(gzip|\*)\s*(;\s*q=(?!0(\.0*)?\s*$).*)?$/i.test(part));
}
