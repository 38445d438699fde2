/**
 * /api/v1/namespaces/NS/{pods,services}/[SCHEME:]NAME[:PORT]/proxy/...: HTTP to a program in a pod, for whoever reaches
 * the API and not the pods. The bytes go as those of a port-forward do, over the tunnel of the pod's node.
 */
import { request as httpRequest, type IncomingMessage, type OutgoingHttpHeaders } from 'node:http';
import type { Duplex } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { connect as connectTls } from 'node:tls';
import { PintleError, type Cluster, type ClusterServer } from '../../../../kernel/contract/index.ts';
import type { Exchange } from '../http-exchange.ts';
import { linkSignals } from '../linked-signal.ts';
import { nodeServiceOf } from '../streams/pod-container.ts';
import { podPlace, servicePlace, type ProxyPlace } from './proxy-place.ts';

export interface PodProxyTarget {
  readonly resource: 'pods' | 'services';
  readonly namespace: string;
  /** As it stands in the path: what a role's resourceNames are compared with. */
  readonly name: string;
}

interface PodProxyContext {
  readonly cluster: Cluster;
  readonly server: ClusterServer;
  readonly stopping: AbortSignal;
}

/** Of one hop only (RFC 9110, section 7.6.1), or the caller's business with the API server and not with the pod. */
const ownHeaders = new Set([
  ...['connection', 'keep-alive', 'proxy-authenticate', 'proxy-authorization', 'proxy-connection', 'te', 'trailer'],
  ...['transfer-encoding', 'upgrade', 'http2-settings', 'authorization', 'host', 'expect'],
]);

/** Undefined for other paths. */
export function podProxyTarget(segments: readonly string[]): PodProxyTarget | undefined {
  const [api, version, namespaces, namespace, resource, name, proxy] = segments;
  if (api !== 'api' || version !== 'v1' || namespaces !== 'namespaces' || proxy !== 'proxy') return undefined;
  if (resource !== 'pods' && resource !== 'services') return undefined;
  return { resource, namespace: namespace!, name: name! };
}

const verbs: ReadonlyMap<string, string> = new Map([
  ['POST', 'create'],
  ['PUT', 'update'],
  ['PATCH', 'patch'],
  ['DELETE', 'delete'],
]);

export function podProxyVerb(method: string | undefined): string {
  return verbs.get(method ?? '') ?? 'get';
}

export async function answerPodProxy(
  exchange: Exchange,
  target: PodProxyTarget,
  context: PodProxyContext,
): Promise<void> {
  const place = await (target.resource === 'pods' ? podPlace : servicePlace)(target, context.cluster, exchange.user);
  const { signal, unlink } = linkSignals(exchange.signal, context.stopping);
  try {
    const answer = await ask(exchange, place, context.server, signal);
    await passOn(exchange, answer);
  } catch (error) {
    if (exchange.response.headersSent) exchange.response.destroy();
    else throw error;
  } finally {
    unlink();
  }
}

async function ask(
  exchange: Exchange,
  { pod, port, isTls }: ProxyPlace,
  server: ClusterServer,
  signal: AbortSignal,
): Promise<IncomingMessage> {
  const { name, namespace } = pod.metadata;
  const unreachable = (cause: unknown): PintleError =>
    new PintleError('UNAVAILABLE', `error trying to reach port ${port} of pod ${name}: ${(cause as Error).message}`, {
      cause,
    });
  let way: Duplex;
  try {
    way = await nodeServiceOf(server, pod).portForward({ namespace: namespace ?? '', pod: name, port });
  } catch (cause) {
    throw unreachable(cause);
  }
  // Whose certificate it is cannot be known: the way to the pod is the node's.
  const connection = isTls ? connectTls({ socket: way, rejectUnauthorized: false }) : way;
  const { request } = exchange;
  const onward = httpRequest({
    createConnection: () => connection as never,
    method: request.method,
    path: pathBehind(request.url ?? '/'),
    headers: {
      ...headersOf(request.headers),
      ...(hasOpenBody(exchange) ? { 'transfer-encoding': 'chunked' } : {}),
      host: `${hostOf(pod.status?.podIP ?? name)}:${port}`,
    },
    setHost: false,
    signal,
  });
  onward.once('close', () => way.destroy());
  const answered = new Promise<IncomingMessage>((resolve, reject) => {
    onward.once('response', resolve).on('error', reject);
  });
  request.pipe(onward);
  return answered.catch((cause: unknown) => {
    throw unreachable(cause);
  });
}

async function passOn({ request, response, path }: Exchange, answer: IncomingMessage): Promise<void> {
  response.statusCode = answer.statusCode ?? 502;
  for (const [name, value] of Object.entries(headersOf(answer.headers))) response.setHeader(name, value as string);
  const { location } = answer.headers;
  // A place on the pod's own server is one below this path here.
  if (location?.startsWith('/') === true && !location.startsWith('//'))
    response.setHeader('location', `${path.slice(0, path.indexOf('/proxy') + '/proxy'.length)}${location}`);
  if (request.method === 'HEAD') response.end();
  else await pipeline(answer, response);
}

/** A body whose length nobody has said. */
function hasOpenBody({ request }: Exchange): boolean {
  if (request.headers['content-length'] !== undefined) return false;
  return 'stream' in request ? !request.stream.endAfterHeaders : request.headers['transfer-encoding'] !== undefined;
}

/** What follows `.../NAME/proxy`, query included: a NAME cannot hold a slash. */
function pathBehind(url: string): string {
  const behind = /^\/api\/v1\/namespaces\/[^/]+\/[^/]+\/[^/]+\/proxy([^]*)$/.exec(url)?.[1] ?? '';
  return behind.startsWith('/') ? behind : `/${behind}`;
}

function headersOf(given: IncomingMessage['headers']): OutgoingHttpHeaders {
  // `Connection` may name more of them.
  const more = String(given.connection ?? '').toLowerCase();
  const named = new Set(more.split(',').map((name) => name.trim()));
  return Object.fromEntries(
    Object.entries(given).filter(
      ([name]) =>
        !name.startsWith(':') && !name.startsWith('impersonate-') && !ownHeaders.has(name) && !named.has(name),
    ),
  );
}

/** As a URL has it. */
function hostOf(address: string): string {
  return address.includes(':') ? `[${address}]` : address;
}
