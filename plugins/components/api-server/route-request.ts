/** One request from its first line to its answer: identity, routing, limits, errors, metrics. */
import type { Cluster, ClusterServer, Logger, ServedResource, UserInfo } from '../../../kernel/contract/index.ts';
import { isPintleError, PintleError } from '../../../kernel/contract/index.ts';
import { assertAllowed, resourceAccess } from './authorization.ts';
import { discoveryDocument } from './discovery.ts';
import { handleResource, verbOf } from './handle-resource.ts';
import { sendJson } from './send-answer.ts';
import { healthAnswer, healthRoots, type Check } from './health.ts';
import { onBehalfOf, send, type Exchange } from './http-exchange.ts';
import { answerNodeProxy, nodeProxyTarget } from './node-proxy/node-proxy.ts';
import { answerPodProxy, podProxyTarget, podProxyVerb } from './pod-proxy/pod-proxy.ts';
import { effectiveUser } from './impersonation.ts';
import type { InFlight } from './in-flight.ts';
import { openApi, openApiV2 } from './open-api.ts';
import { logUnexpected } from './log-unexpected.ts';
import type { RequestMetrics } from './request-metrics.ts';
import { indexResources, parseTarget, pathSegments, type ResourceTarget } from './request-target.ts';
import { servedResources } from './served-resources.ts';
import { badRequest, methodNotAllowed, noSuchPath, statusOf } from './status.ts';
import { sendLogs } from './streams/logs.ts';
import { versionInfo } from './version.ts';
import type { WatchBacklog } from './watch-backlog.ts';

export interface RouterContext {
  readonly cluster: Cluster;
  readonly server: ClusterServer;
  readonly log: Logger;
  readonly now: () => number;
  readonly bodyTimeoutMs: number;
  readonly stopping: AbortSignal;
  readonly inFlight: InFlight;
  readonly watchBacklog: WatchBacklog;
  readonly metrics: RequestMetrics;
  /** Of every plugin in this process, this one's included. */
  readonly processMetrics: () => Promise<string>;
  readonly longRunning: { count: number };
  /** Checks of the front itself. */
  readonly ownChecks: () => readonly Check[];
}

interface Label {
  verb: string;
  resource?: ServedResource;
  subresource?: string;
  scope: string;
}

export async function routeRequest(exchange: Exchange, context: RouterContext): Promise<void> {
  const begin = performance.now();
  const label: Label = { verb: exchange.request.method ?? '', scope: '' };
  try {
    await route(exchange, context, label);
  } catch (error) {
    await sendError(exchange, error, context.log);
  } finally {
    context.metrics.observe({
      verb: label.verb.toUpperCase(),
      group: label.resource?.group ?? '',
      version: label.resource?.version ?? '',
      resource: label.resource?.resource ?? '',
      subresource: label.subresource ?? '',
      scope: label.scope,
      code: exchange.response.statusCode,
      seconds: (performance.now() - begin) / 1000,
    });
  }
}

async function route(exchange: Exchange, context: RouterContext, label: Label): Promise<void> {
  const { request } = exchange;
  // Node would refuse this itself, but with no body; RFC 9112 section 3.2 wants the 400.
  if (request.httpVersion === '1.1' && request.headers.host === undefined)
    throw badRequest('the Host header is missing');
  const segments = pathSegments(exchange.path);
  const root = segments[0] ?? '';
  if ((healthRoots as readonly string[]).includes(root)) {
    readOnly(exchange);
    label.scope = 'health';
    const checks = [{ name: 'ping', failure: undefined }, ...context.ownChecks(), ...context.server.checks()];
    const { status, text } = healthAnswer(segments, exchange.query, checks);
    exchange.response.setHeader('x-content-type-options', 'nosniff');
    return send(exchange, { status, body: Buffer.from(text), contentType: 'text/plain; charset=utf-8' });
  }
  if (root === 'version' && segments.length === 1) {
    readOnly(exchange);
    return sendJson(exchange, 200, versionInfo);
  }
  if (exchange.user === undefined) throw new PintleError('UNAUTHORIZED', 'Unauthorized');
  const user = effectiveUser(request, exchange.user, context.server);
  await routeKnown(onBehalfOf(exchange, user), user, context, label, segments);
}

async function routeKnown(
  exchange: Exchange,
  user: UserInfo,
  context: RouterContext,
  label: Label,
  segments: readonly string[],
): Promise<void> {
  const root = segments[0] ?? '';
  const proxied = nodeProxyTarget(segments);
  if (proxied !== undefined) {
    readOnly(exchange);
    const nodes = indexResources(servedResources(context.server)).get('/v1/nodes');
    Object.assign(label, { verb: 'connect', resource: nodes, subresource: 'proxy', scope: 'resource' });
    const access = { verb: 'get', group: '', resource: 'nodes', subresource: 'proxy', name: proxied.node };
    assertAllowed(context.server, user, access);
    return longRunning(context, () => answerNodeProxy(exchange, proxied, context));
  }
  const forwarded = podProxyTarget(segments);
  if (forwarded !== undefined) {
    const { resource, namespace, name } = forwarded;
    const served = indexResources(servedResources(context.server)).get(`/v1/${resource}`);
    Object.assign(label, { verb: 'connect', resource: served, subresource: 'proxy', scope: 'resource' });
    const verb = podProxyVerb(exchange.request.method);
    assertAllowed(context.server, user, { verb, group: '', resource, subresource: 'proxy', namespace, name });
    return longRunning(context, () => answerPodProxy(exchange, forwarded, context));
  }
  const target =
    root === 'api' || root === 'apis'
      ? parseTarget(segments, indexResources(servedResources(context.server)))
      : undefined;
  if (target !== undefined) return routeResource(exchange, user, context, label, target);
  const method = (exchange.request.method ?? '').toLowerCase();
  const verb = method === 'head' ? 'get' : method;
  assertAllowed(context.server, user, { verb, path: exchange.path });
  switch (root) {
    case 'api':
    case 'apis':
      readOnly(exchange);
      return sendDiscovery(exchange, servedResources(context.server), segments);
    case 'openapi':
      readOnly(exchange);
      return sendOpenApi(exchange, context, segments);
    case 'metrics':
      readOnly(exchange);
      if (segments.length > 1) throw noSuchPath();
      return send(exchange, {
        status: 200,
        body: Buffer.from(await context.processMetrics()),
        contentType: 'text/plain; version=0.0.4; charset=utf-8',
      });
    case '.well-known':
    case 'openid':
      readOnly(exchange);
      return sendTokenIssuer(exchange, context, segments.join('/'));
    case '':
      readOnly(exchange);
      return sendJson(exchange, 200, { paths: rootPaths(context) });
    default:
      throw noSuchPath();
  }
}

async function routeResource(
  exchange: Exchange,
  user: UserInfo,
  context: RouterContext,
  label: Label,
  target: ResourceTarget,
): Promise<void> {
  const verb = verbOf(exchange.request.method ?? '', target, exchange.query);
  const isStream =
    target.resource.group === '' && target.resource.resource === 'pods' && isStreamName(target.subresource?.name);
  label.verb = isStream ? 'connect' : verb;
  label.resource = target.resource;
  label.subresource = target.subresource?.name ?? '';
  label.scope = target.name !== undefined ? 'resource' : target.namespace !== undefined ? 'namespace' : 'cluster';
  assertAllowed(context.server, user, resourceAccess(target, verb, exchange.query));
  if (isStream) return longRunning(context, () => handleStream(exchange, target, verb, context));
  const resourceContext = {
    ...context,
    onWatchEvents: (resource: ServedResource, count: number) =>
      context.metrics.watchEvents(resource.group, resource.version, resource.kind, count),
  };
  if (verb === 'watch') return longRunning(context, () => handleResource(exchange, target, verb, resourceContext));
  const isWrite = verb !== 'get' && verb !== 'list';
  await context.inFlight.run(isWrite, () => handleResource(exchange, target, verb, resourceContext));
}

function isStreamName(name: string | undefined): boolean {
  return name === 'log' || name === 'exec' || name === 'attach' || name === 'portforward';
}

async function longRunning(context: RouterContext, work: () => Promise<void>): Promise<void> {
  context.longRunning.count++;
  try {
    await work();
  } finally {
    context.longRunning.count--;
  }
}

async function handleStream(
  exchange: Exchange,
  target: ResourceTarget,
  verb: string,
  context: RouterContext,
): Promise<void> {
  if (target.namespace === undefined || target.name === undefined) throw methodNotAllowed();
  if (target.subresource?.name === 'log') {
    if (verb !== 'get') throw methodNotAllowed();
    return sendLogs(exchange, { namespace: target.namespace, name: target.name }, context);
  }
  if (verb !== 'get' && verb !== 'create') throw methodNotAllowed();
  throw new PintleError('BAD_REQUEST', 'Upgrade request required');
}

function sendDiscovery(
  exchange: Exchange,
  served: readonly ServedResource[],
  segments: readonly string[],
): Promise<void> {
  const document = discoveryDocument(served, segments, exchange.request.headers.accept);
  exchange.response.setHeader('etag', document.etag);
  exchange.response.setHeader('vary', 'Accept');
  if (exchange.request.headers['if-none-match'] === document.etag)
    return send(exchange, { status: 304, body: Buffer.alloc(0), contentType: document.contentType });
  return send(exchange, { status: 200, body: document.body, contentType: document.contentType });
}

/** Asked for with an @ before v1.0, which is no token character in a media type; answered with a dot. */
const openApiV2Type = 'application/com.github.proto-openapi.spec.v2.v1.0+protobuf';

async function sendOpenApi(exchange: Exchange, context: RouterContext, segments: readonly string[]): Promise<void> {
  const served = servedResources(context.server);
  const isV2 = segments[1] === 'v2' && segments.length === 2;
  if (segments[1] !== 'v3' && !isV2) throw noSuchPath();
  if (isV2 && !/proto-openapi|\*\/\*|^$/.test(exchange.request.headers.accept ?? ''))
    throw new PintleError('NOT_ACCEPTABLE', `only the following media types are accepted: ${openApiV2Type}`);
  const document = isV2 ? await openApiV2(served) : await openApi(served, segments.slice(2).join('/'));
  exchange.response.setHeader('etag', document.etag);
  const isKnown = exchange.request.headers['if-none-match'] === document.etag;
  return send(exchange, {
    status: isKnown ? 304 : 200,
    body: isKnown ? Buffer.alloc(0) : document.body,
    contentType: isV2 ? openApiV2Type : 'application/json',
  });
}

const issuerPath = '.well-known/openid-configuration';
const keysPath = 'openid/v1/jwks';

/** OpenID Connect Discovery 1.0 of the issuer of service account tokens, as kube-apiserver answers it. */
async function sendTokenIssuer(exchange: Exchange, { server }: RouterContext, path: string): Promise<void> {
  const known = server.tokenIssuer?.();
  if (known === undefined || (path !== issuerPath && path !== keysPath)) throw noSuchPath();
  const { issuer, keys } = known;
  const isKeys = path === keysPath;
  const document = isKeys
    ? { keys }
    : {
        issuer,
        jwks_uri: `${issuer}/${keysPath}`,
        response_types_supported: ['id_token'],
        subject_types_supported: ['public'],
        id_token_signing_alg_values_supported: ['ES256'],
      };
  exchange.response.setHeader('cache-control', 'public, max-age=3600');
  const contentType = isKeys ? 'application/jwk-set+json' : 'application/json';
  return send(exchange, { status: 200, body: Buffer.from(JSON.stringify(document)), contentType });
}

function rootPaths(context: RouterContext): readonly string[] {
  const versions = new Set<string>();
  for (const resource of context.server.resources())
    versions.add(resource.group === '' ? `/api/${resource.version}` : `/apis/${resource.group}/${resource.version}`);
  return [
    '/api',
    '/apis',
    ...versions,
    `/${issuerPath}`,
    '/healthz',
    '/livez',
    '/metrics',
    `/${keysPath}`,
    '/openapi/v2',
    '/openapi/v3',
    '/readyz',
    '/version',
  ].sort();
}

function readOnly(exchange: Exchange): void {
  if (exchange.request.method !== 'GET' && exchange.request.method !== 'HEAD') throw methodNotAllowed();
}

/** Also used before an upgrade is accepted; there the caller writes the answer itself. */
async function sendError(exchange: Exchange, error: unknown, log: Logger): Promise<void> {
  if (exchange.signal.aborted) return;
  const status = statusOf(error);
  logUnexpected(error, `request failed: ${exchange.request.method ?? ''} ${exchange.path}`, log);
  const retryAfter = isPintleError(error) ? error.details.retryAfterSeconds : undefined;
  // 0 is no promise. With the header, client libraries would try again by themselves, at once and unseen; without it
  // kubectl drain says that a budget holds it up, and waits.
  if (retryAfter !== undefined && retryAfter > 0) exchange.response.setHeader('retry-after', String(retryAfter));
  if (exchange.response.headersSent) {
    exchange.response.destroy();
    return;
  }
  await sendJson(exchange, status.code, status);
}
