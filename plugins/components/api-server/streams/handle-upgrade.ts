/**
 * Upgrades: exec, attach, port-forward and node tunnels. Everything is checked before the upgrade is accepted; a refused
 * upgrade is answered with a Status and its connection closed, so that nothing of it can be taken for another request.
 */
import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import { PintleError, type ExecRequest, type NodeService, type UserInfo } from '../../../../kernel/contract/index.ts';
import type { Pod } from '../../../../kernel/contract/kubernetes.ts';
import { assertAllowed, resourceAccess } from '../authorization.ts';
import { effectiveUser } from '../impersonation.ts';
import { indexResources, parseTarget, pathSegments } from '../request-target.ts';
import type { RouterContext } from '../route-request.ts';
import { servedResources } from '../served-resources.ts';
import { badRequest, isUnexpected, methodNotAllowed, noSuchPath, statusOf } from '../status.ts';
import { carryProcess } from './carry-process.ts';
import { acceptTunnel, assertMayServe, tunnelNode } from './node-tunnels.ts';
import { containerOf, nodeServiceOf, podOf, type PodKey } from './pod-container.ts';
import {
  forwardOverChannels,
  forwardOverSpdy,
  portOf,
  spdyPortForwardProtocols,
  tunnelledPortForwardProtocol,
} from './port-forward.ts';
import { SpdyConnection } from '../../../../kernel/machinery/spdy/spdy-connection.ts';
import { spdyChannels, spdyProcessProtocols } from './spdy-process.ts';
import { acceptWebSocket, chooseProtocol, isWebSocket, offeredProtocols } from './web-socket.ts';
import { processProtocols, webSocketChannels } from './web-socket-channels.ts';
import { tunnelUpgrade } from '../../../../kernel/machinery/node-tunnel/tunnel-protocol.ts';

interface Upgrade {
  readonly request: IncomingMessage;
  readonly socket: Socket;
  readonly head: Buffer;
  readonly query: URLSearchParams;
  readonly context: RouterContext;
}

export async function handleUpgrade(
  request: IncomingMessage,
  socket: Socket,
  head: Buffer,
  caller: UserInfo | undefined,
  context: RouterContext,
): Promise<void> {
  const begin = performance.now();
  let subresource = '';
  let code = 101;
  try {
    if (caller === undefined) throw new PintleError('UNAUTHORIZED', 'Unauthorized');
    const user = effectiveUser(request, caller, context.server);
    const url = request.url ?? '/';
    const mark = url.indexOf('?');
    const segments = pathSegments(mark < 0 ? url : url.slice(0, mark));
    const node = tunnelNode(segments);
    if (node !== undefined) {
      openTunnel(node, { request, socket, head, user, context });
      return;
    }
    const target = parseTarget(segments, indexResources(servedResources(context.server)));
    subresource = target?.subresource?.name ?? '';
    const isPod = target?.resource.group === '' && target.resource.resource === 'pods';
    if (
      !isPod ||
      target.namespace === undefined ||
      target.name === undefined ||
      !['exec', 'attach', 'portforward'].includes(subresource)
    )
      throw target === undefined ? noSuchPath() : badRequest('this path cannot be upgraded');
    if (request.method !== 'GET' && request.method !== 'POST') throw methodNotAllowed();
    const verb = request.method === 'GET' ? 'get' : 'create';
    assertAllowed(context.server, user, resourceAccess(target, verb, new URLSearchParams()));
    const key = { namespace: target.namespace, name: target.name };
    const pod = await podOf(context.cluster, key, user);
    const upgrade: Upgrade = {
      request,
      socket,
      head,
      query: new URLSearchParams(mark < 0 ? '' : url.slice(mark + 1)),
      context,
    };
    if (subresource === 'portforward') await openPortForward(upgrade, key, pod);
    else await openProcess(upgrade, key, pod, subresource);
  } catch (error) {
    code = statusOf(error).code;
    if (isUnexpected(error))
      context.log.error(`upgrade failed: ${request.url ?? ''}: ${String((error as Error).stack ?? error)}`);
    refuseUpgrade(socket, error);
  } finally {
    context.metrics.observe({
      verb: 'CONNECT',
      group: '',
      version: 'v1',
      resource: subresource === '' ? '' : 'pods',
      subresource,
      scope: 'resource',
      code,
      seconds: (performance.now() - begin) / 1000,
    });
  }
}

function openTunnel(
  node: string,
  { request, socket, head, user, context }: Omit<Upgrade, 'query'> & { readonly user: UserInfo },
): void {
  if (request.method !== 'POST') throw methodNotAllowed();
  if ((request.headers.upgrade ?? '').toLowerCase() !== tunnelUpgrade)
    throw badRequest(`a node tunnel needs "Upgrade: ${tunnelUpgrade}"`);
  assertMayServe(user, node);
  void acceptTunnel(node, socket, head, context);
}

async function openProcess(
  { request, socket, head, query, context }: Upgrade,
  key: PodKey,
  pod: Pod,
  subresource: string,
): Promise<void> {
  const wants = streamsOf(query);
  const container = containerOf(pod, query.get('container'));
  const ref = { namespace: key.namespace, pod: key.name, podUid: pod.metadata.uid, container, ...wants };
  const service = nodeServiceOf(context.server, pod);
  const protocol = processProtocolOf(request);
  const process =
    subresource === 'exec' ? await service.exec({ ...ref, command: commandOf(query) }) : await service.attach(ref);
  let isAccepted = false;
  try {
    if (socket.destroyed) throw badRequest('the client went away');
    isAccepted = true;
    const channels = isWebSocket(request)
      ? webSocketChannels(await acceptWebSocket(request, socket, head, protocol), wants)
      : await spdyChannels(acceptSpdy(socket, head, protocol), wants);
    endWithServer(context, channels.onClose, () => process.close());
    // A client that attached reads how the container ended in the pod's status; here a failure would be the connection's.
    const exited = subresource === 'attach' ? process.exited.then(() => ({ exitCode: 0 })) : process.exited;
    track(context, carryProcess({ ...process, exited }, channels));
  } catch (error) {
    process.close();
    if (!isAccepted) throw error;
    // After a 101 there is nobody to answer any more.
    socket.destroy();
  }
}

function processProtocolOf(request: IncomingMessage): string {
  return isWebSocket(request)
    ? chooseProtocol(offeredProtocols(request), processProtocols)
    : spdyProtocol(request, spdyProcessProtocols);
}

async function openPortForward(
  { request, socket, head, query, context }: Upgrade,
  key: PodKey,
  pod: Pod,
): Promise<void> {
  const service = nodeServiceOf(context.server, pod);
  if (!isWebSocket(request)) {
    const connection = acceptSpdy(socket, head, spdyProtocol(request, spdyPortForwardProtocols));
    forward(connection, service, key, context);
    return;
  }
  const protocol = chooseProtocol(offeredProtocols(request), [tunnelledPortForwardProtocol, 'v4.channel.k8s.io']);
  if (protocol === tunnelledPortForwardProtocol) {
    const { createWebSocketStream } = await import('ws');
    const webSocket = await acceptWebSocket(request, socket, head, protocol);
    forward(new SpdyConnection(createWebSocketStream(webSocket)), service, key, context);
    return;
  }
  const ports = query
    .getAll('ports')
    .flatMap((text) => text.split(','))
    .map(portOf);
  if (ports.length === 0 || ports.length > 100 || ports.includes(undefined))
    throw badRequest('the query parameter "ports" must name 1 to 100 ports between 1 and 65535');
  forwardOverChannels(await acceptWebSocket(request, socket, head, protocol), service, key, ports as number[]);
}

function forward(connection: SpdyConnection, service: NodeService, key: PodKey, context: RouterContext): void {
  track(context, new Promise<void>((resolve) => connection.onClose(resolve)));
  endWithServer(
    context,
    (listener) => connection.onClose(listener),
    () => connection.close(),
  );
  forwardOverSpdy(connection, service, key);
}

/** Streams count as long-running requests while they last. */
function track(context: RouterContext, work: Promise<void>): void {
  context.longRunning.count++;
  const done = (): void => void context.longRunning.count--;
  work.then(done, done);
}

function endWithServer(context: RouterContext, onClose: (listener: () => void) => void, stop: () => void): void {
  context.stopping.addEventListener('abort', stop, { once: true });
  onClose(() => context.stopping.removeEventListener('abort', stop));
}

function flag(query: URLSearchParams, name: string): boolean {
  const value = query.get(name);
  return value !== null && value !== '0' && value.toLowerCase() !== 'false';
}

function streamsOf(
  query: URLSearchParams,
): Omit<ExecRequest, 'namespace' | 'pod' | 'podUid' | 'container' | 'command'> {
  const wants = {
    stdin: flag(query, 'stdin'),
    stdout: flag(query, 'stdout'),
    stderr: flag(query, 'stderr'),
    tty: flag(query, 'tty'),
  };
  if (!wants.stdin && !wants.stdout && !wants.stderr)
    throw badRequest('you must specify at least 1 of stdin, stdout, stderr');
  return wants;
}

function commandOf(query: URLSearchParams): readonly string[] {
  const command = query.getAll('command');
  if (command.length === 0 || command[0] === '')
    throw badRequest('you must specify at least 1 command for the container');
  if (command.some((argument) => argument.includes('\0'))) throw badRequest('a command argument holds a NUL byte');
  return command;
}

function spdyProtocol(request: IncomingMessage, supported: readonly string[]): string {
  if ((request.headers.upgrade ?? '').toLowerCase() !== 'spdy/3.1')
    throw badRequest('Upgrade request required: SPDY/3.1 or websocket');
  const offered = String(request.headers['x-stream-protocol-version'] ?? '')
    .split(',')
    .map((entry) => entry.trim())
    .filter((entry) => entry !== '');
  return chooseProtocol(offered, supported);
}

function acceptSpdy(socket: Socket, head: Buffer, protocol: string): SpdyConnection {
  socket.setTimeout(0);
  socket.setNoDelay(true);
  socket.write(
    `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: ${protocol}\r\n\r\n`,
  );
  if (head.length > 0) socket.unshift(head);
  return new SpdyConnection(socket);
}

function refuseUpgrade(socket: Socket, error: unknown): void {
  const status = statusOf(error);
  const body = `${JSON.stringify(status)}\n`;
  socket.end(
    `HTTP/1.1 ${status.code} ${status.reason ?? ''}\r\nContent-Type: application/json\r\nContent-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`,
  );
}
