/** The tunnels that agents have opened: makes each a NodeService of the cluster. A newer tunnel of a node replaces the older. */
import type { Socket } from 'node:net';
import { PintleError, type Cluster, type Logger, type UserInfo } from '../../../../kernel/contract/index.ts';
import { openNodeTunnel } from '../../../../kernel/machinery/node-tunnel/tunnel-client.ts';
import { tunnelUpgrade } from '../../../../kernel/machinery/node-tunnel/tunnel-protocol.ts';
import { isMaster } from '../authentication.ts';
import { badRequest } from '../status.ts';

const nodeNamePattern = /^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$/;

/** The node's name of a tunnel path: ["apis", "pintle.dev", "v1", "nodes", NAME, "tunnel"]. */
export function tunnelNode(segments: readonly string[]): string | undefined {
  const [apis, group, version, nodes, name, tunnel] = segments;
  const isTunnel =
    segments.length === 6 &&
    apis === 'apis' &&
    group === 'pintle.dev' &&
    version === 'v1' &&
    nodes === 'nodes' &&
    tunnel === 'tunnel';
  return isTunnel ? name : undefined;
}

/** Throws FORBIDDEN unless the caller is that node or an administrator. */
export function assertMayServe(user: UserInfo, nodeName: string): void {
  if (!nodeNamePattern.test(nodeName)) throw badRequest(`${JSON.stringify(nodeName)} is not a node name`);
  const isNode = user.name === `system:node:${nodeName}` && user.groups.includes('system:nodes');
  if (isNode || isMaster(user)) return;
  throw new PintleError(
    'FORBIDDEN',
    `nodes "${nodeName}" is forbidden: User "${user.name}" cannot serve the streams of node "${nodeName}"`,
    {
      details: { resource: 'nodes', name: nodeName },
    },
  );
}

const open = new WeakMap<Cluster, Map<string, AbortController>>();

export async function acceptTunnel(
  nodeName: string,
  socket: Socket,
  head: Buffer,
  context: { readonly cluster: Cluster; readonly log: Logger; readonly stopping: AbortSignal },
): Promise<void> {
  const { cluster, log, stopping } = context;
  let tunnels = open.get(cluster);
  if (tunnels === undefined) open.set(cluster, (tunnels = new Map()));
  const ending = new AbortController();
  const previous = tunnels.get(nodeName);
  tunnels.set(nodeName, ending);
  // A node that comes back before its old connection is known to be dead must not wait for it.
  previous?.abort();
  socket.setTimeout(0);
  socket.setNoDelay(true);
  // Sockets of an HTTP server stay half open after a FIN: HTTP/2 would not learn that the agent has gone.
  socket.allowHalfOpen = false;
  await written(socket, `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: ${tunnelUpgrade}\r\n\r\n`);
  if (socket.destroyed || ending.signal.aborted) {
    if (tunnels.get(nodeName) === ending) tunnels.delete(nodeName);
    socket.destroy();
    return;
  }
  if (head.length > 0) socket.unshift(head);
  const tunnel = openNodeTunnel(nodeName, socket);
  const stop = (): void => ending.abort();
  stopping.addEventListener('abort', stop, { once: true });
  ending.signal.addEventListener('abort', () => {
    stopping.removeEventListener('abort', stop);
    if (tunnels.get(nodeName) === ending) tunnels.delete(nodeName);
    tunnel.close();
  });
  if (stopping.aborted) stop();
  void tunnel.closed.then(() => {
    log.debug(`tunnel of node ${nodeName} has ended`);
    ending.abort();
    socket.destroy();
  });
  log.debug(`tunnel of node ${nodeName} is open`);
  await cluster.serveNode(nodeName, tunnel.service, ending.signal).catch((error: unknown) => {
    if (!ending.signal.aborted) log.error(`node ${nodeName} cannot be registered: ${String((error as Error).message)}`);
    ending.abort();
  });
}

/**
 * Resolves when the bytes have left, one turn of the loop later. HTTP/2 takes over the socket's handle, and Node 20 ends
 * the process with "Assertion failed: is_write_in_progress()" when a write from before completes after that.
 */
async function written(socket: Socket, text: string): Promise<void> {
  await new Promise<void>((resolve) => {
    socket.once('close', resolve);
    socket.write(text, () => resolve());
  });
  await new Promise((resolve) => setImmediate(resolve));
}
