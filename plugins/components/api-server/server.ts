/**
 * The HTTP server: one TLS port for HTTP/2, HTTP/1.1 and upgrades, and a unix socket for HTTP/1.1. Owns the listeners and
 * every connection; the routes are in route-request.ts, upgrades in streams/.
 */
import { setMaxListeners } from 'node:events';
import { createServer as createHttpServer, type IncomingMessage } from 'node:http';
import { createSecureServer, type Http2SecureServer, type ServerHttp2Session } from 'node:http2';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { rm } from 'node:fs/promises';
import { PintleError, type Cluster, type Logger, type UserInfo } from '../../../kernel/contract/index.ts';
import { tlsUser, unixUser } from './authentication.ts';
import { openExchange, type HttpRequest, type HttpResponse } from './http-exchange.ts';
import { InFlight, type InFlightLimits } from './in-flight.ts';
import { listenOnPort, listenOnSocket } from './listen.ts';
import { limitSilence } from './limit-silence.ts';
import { publishServer } from './publish-server.ts';
import { takeTlsOverSocket } from './tls-over-socket.ts';
import { ensureCertificates, writeKubeconfigs, type CertificateOptions } from './pki/cluster-certificates.ts';
import { createRequestMetrics } from './request-metrics.ts';
import { routeRequest, type RouterContext } from './route-request.ts';
import { statusOf } from './status.ts';
import { handleUpgrade } from './streams/handle-upgrade.ts';
import { WatchBacklog } from './watch-backlog.ts';

/** How often certificates are looked at. */
const renewalCheckMs = 60 * 60_000;
/** Connections that are still busy after this much of a stop are cut. */
const stopGraceMs = 1000;

/** A command line for exec travels in the URL. */
const maxHeaderSize = 128 * 1024;

export interface ApiServerOptions {
  readonly cluster: Cluster;
  readonly log: Logger;
  readonly now: () => number;
  readonly stateDir: string;
  readonly address: string;
  readonly port: number;
  readonly socket: string;
  /** Host (and port) that kubeconfigs name; undefined: the listening address. */
  readonly advertise: string | undefined;
  /** Keep what the cluster knows of this server. */
  readonly publish: boolean;
  readonly certificates: Omit<CertificateOptions, 'stateDir' | 'now'>;
  /** How often certificates are looked at; default: by their lifetime. */
  readonly renewalCheckMs?: number | undefined;
  readonly limits: InFlightLimits;
  /** What may wait for all clients of watches together. */
  readonly watchBacklogBytes: number;
  readonly bodyTimeoutMs: number;
  readonly headersTimeoutMs: number;
  /** What GET /metrics answers; default: this server's own. */
  readonly processMetrics?: (() => Promise<string>) | undefined;
}

export interface RunningApiServer {
  readonly port: number;
  readonly url: string;
  readonly socket: string;
  readonly kubeconfigPath: string;
  metrics(): Promise<string>;
  close(): Promise<void>;
}

export async function startApiServer(options: ApiServerOptions): Promise<RunningApiServer> {
  const { cluster, log } = options;
  const clusterServer = cluster.server;
  if (clusterServer === undefined)
    throw new PintleError(
      'PLUGIN_UNSUPPORTED',
      'component api-server needs a cluster with the capability "serve": use cluster local in the server',
    );
  const certificateOptions = { ...options.certificates, stateDir: options.stateDir, now: options.now };
  let certificates = await ensureCertificates(certificateOptions);
  const stopping = new AbortController();
  // Each watch and stream listens to it.
  setMaxListeners(0, stopping.signal);
  const http1Options = {
    maxHeaderSize,
    requireHostHeader: false,
  };
  const inFlight = new InFlight(options.limits);
  const longRunning = { count: 0 };
  let certificateFailure: string | undefined;
  const metrics = createRequestMetrics({ inFlight: () => inFlight.counts, longRunning: () => longRunning.count });
  const context: RouterContext = {
    cluster,
    server: clusterServer,
    log,
    now: options.now,
    bodyTimeoutMs: options.bodyTimeoutMs,
    stopping: stopping.signal,
    inFlight,
    watchBacklog: new WatchBacklog(options.watchBacklogBytes, () => metrics.watcherCut()),
    longRunning,
    metrics,
    processMetrics: options.processMetrics ?? (() => metrics.text()),
    ownChecks: () => [
      { name: 'certificates', failure: certificateFailure },
      { name: 'shutdown', failure: stopping.signal.aborted ? 'the server is stopping' : undefined },
    ],
  };

  const onRequest =
    (userOf: (request: HttpRequest) => UserInfo | undefined) => (request: HttpRequest, response: HttpResponse) => {
      request.on('error', () => undefined);
      response.on('error', () => undefined);
      void routeRequest(openExchange(request, response, userOf(request)), context);
    };
  const onUpgrade =
    (userOf: (request: HttpRequest) => UserInfo | undefined) =>
    (request: IncomingMessage, socket: Duplex, head: Buffer) => {
      socket.on('error', () => undefined);
      void handleUpgrade(request, socket as Socket, head, userOf(request), context);
    };
  const sockets = new Set<Socket>();
  const sessions = new Set<ServerHttp2Session>();
  const track = (socket: Socket): void => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
  };

  const tls = createSecureServer({
    allowHTTP1: true,
    key: certificates.serving.key,
    cert: certificates.serving.certificate,
    ca: certificates.authority,
    requestCert: true,
    rejectUnauthorized: false,
    minVersion: 'TLSv1.2',
    // What nobody reads is held back by flow control, stream by stream.
    settings: { maxConcurrentStreams: 250, initialWindowSize: 256 * 1024 },
    maxSessionMemory: 32,
    // Taken by the HTTP/1.1 side of the port; Node's types of http2 do not know them.
    ...(http1Options as object),
  });
  limitSlowClients(tls as never, options.headersTimeoutMs);
  const userOfTls = (request: HttpRequest) => tlsUser(request, clusterServer);
  tls.on('request', onRequest(userOfTls) as never);
  tls.on('upgrade', onUpgrade(userOfTls));
  tls.on('secureConnection', track as never);
  tls.on('connection', dropSilent(options.headersTimeoutMs));
  tls.on('session', (session) => {
    sessions.add(session);
    session.once('close', () => sessions.delete(session));
    session.on('error', () => undefined);
  });
  const plain = createHttpServer({ keepAlive: true, ...http1Options });
  limitSlowClients(plain as never, options.headersTimeoutMs);
  plain.on('request', onRequest(() => unixUser) as never);
  plain.on(
    'upgrade',
    onUpgrade(() => unixUser),
  );
  plain.on('connection', track);
  takeTlsOverSocket(plain, tls, options.headersTimeoutMs);
  for (const server of [tls, plain]) {
    (server as Http2SecureServer).on('clientError', refuseGarbage);
    server.on('tlsClientError' as never, ((_: unknown, socket: Socket) => socket.destroy()) as never);
  }

  const closeAll = async (): Promise<void> => {
    await publishing?.close();
    stopping.abort(new PintleError('UNAVAILABLE', 'the API server is stopping'));
    clearInterval(renewal);
    // It writes files.
    await renewing;
    const closed = [tls, plain].map(
      (server) => new Promise<void>((resolve) => (server.listening ? server.close(() => resolve()) : resolve())),
    );
    for (const session of sessions) session.close();
    plain.closeIdleConnections();
    const cut = setTimeout(
      () => {
        for (const socket of sockets) socket.destroy();
        for (const session of sessions) session.destroy();
      },
      longRunning.count + inFlight.counts.reads + inFlight.counts.writes === 0 ? 50 : stopGraceMs,
    );
    await Promise.all(closed);
    clearTimeout(cut);
    // Closing the server has removed it, as a rule.
    await rm(options.socket, { force: true });
  };

  let publishing: { close(): Promise<void> } | undefined;
  const checkEveryMs = Math.max(1000, Math.min(renewalCheckMs, options.certificates.lifetimeMs / 10));
  let renewing: Promise<void> | undefined;
  const renewal = setInterval(
    () => void (renewing ??= renew().finally(() => (renewing = undefined))),
    options.renewalCheckMs ?? checkEveryMs,
  );
  renewal.unref();
  let url = '';
  const renew = async (): Promise<void> => {
    try {
      const fresh = await ensureCertificates(certificateOptions);
      certificateFailure = undefined;
      if (!fresh.changed) return;
      certificates = fresh;
      tls.setSecureContext({ key: fresh.serving.key, cert: fresh.serving.certificate, ca: fresh.authority });
      await writeKubeconfigs(options.stateDir, url, fresh);
      log.info('certificates renewed');
    } catch (error) {
      certificateFailure = `the certificates could not be renewed: ${String((error as Error).message)}`;
      log.error(certificateFailure);
    }
  };

  try {
    const port = await listenOnPort(tls as never, options.address, options.port);
    await listenOnSocket(plain as never, options.socket);
    url = `https://${options.advertise ?? urlHost(options.address)}:${port}`;
    const kubeconfigPath = await writeKubeconfigs(options.stateDir, url, certificates);
    if (options.publish)
      publishing = publishServer({
        cluster,
        log,
        address: options.address,
        advertise: options.advertise,
        port,
        authority: () => certificates.authority,
      });
    log.info(`API served at ${url} and unix:${options.socket}; kubeconfig ${kubeconfigPath}`);
    return {
      port,
      url,
      socket: options.socket,
      kubeconfigPath,
      metrics: () => context.metrics.text(),
      close: once(closeAll),
    };
  } catch (error) {
    clearInterval(renewal);
    if (tls.listening) tls.close();
    if (plain.listening) plain.close();
    throw error;
  }
}

function once(work: () => Promise<void>): () => Promise<void> {
  let running: Promise<void> | undefined;
  return () => (running ??= work());
}

/** What a client on this machine dials when the server listens on every address. */
function urlHost(address: string): string {
  if (address === '0.0.0.0') return '127.0.0.1';
  if (address === '::') return '[::1]';
  return address.includes(':') ? `[${address}]` : address;
}

/** HTTP/1.1 heads that trickle in (slowloris). Bodies have their own deadline in read-body.ts. */
function limitSlowClients(
  server: {
    headersTimeout: number;
    connectionsCheckingInterval: number;
    requestTimeout: number;
    keepAliveTimeout: number;
  },
  headersTimeoutMs: number,
): void {
  server.headersTimeout = headersTimeoutMs;
  // How often Node looks for slow clients.
  server.connectionsCheckingInterval = Math.min(headersTimeoutMs, 5000);
  server.requestTimeout = 0;
  server.keepAliveTimeout = 90_000;
}

/** A connection that never says a word, not even TLS, is not kept. */
function dropSilent(timeoutMs: number): (socket: Socket) => void {
  return (socket) => limitSilence(socket, timeoutMs, () => socket.bytesRead === 0);
}

/** Bytes that are no HTTP at all still get a Status. */
function refuseGarbage(error: NodeJS.ErrnoException, socket: Duplex): void {
  if (error.code === 'ECONNRESET' || !socket.writable) {
    socket.destroy();
    return;
  }
  const isTimeout = error.code === 'ERR_HTTP_REQUEST_TIMEOUT';
  const isHeaderOverflow = error.code === 'HPE_HEADER_OVERFLOW';
  const status = statusOf(
    new PintleError(
      isTimeout ? 'TIMEOUT' : 'BAD_REQUEST',
      isTimeout
        ? 'the request did not arrive in time'
        : isHeaderOverflow
          ? 'the request headers are too large'
          : 'the request is not valid HTTP',
    ),
  );
  const body = `${JSON.stringify(status)}\n`;
  socket.end(
    `HTTP/1.1 ${status.code} ${status.reason ?? ''}\r\nContent-Type: application/json\r\nContent-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`,
  );
}
