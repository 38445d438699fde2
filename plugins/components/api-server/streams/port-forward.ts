/**
 * Port-forward. Over SPDY (plain, or tunnelled in a WebSocket): for each connection of the user one `error` and one `data`
 * stream with the same `requestid`. Over WebSocket channels (v4.channel.k8s.io): two channels for each port of the query.
 */
import type { Duplex, Writable } from 'node:stream';
import type { WebSocket } from 'ws';
import type { NodeService } from '../../../../kernel/contract/index.ts';
import type { PodKey } from './pod-container.ts';
import type { SpdyConnection, SpdyStream } from '../../../../kernel/machinery/spdy/spdy-connection.ts';
import { bytesOf, channelWriter } from './web-socket-channels.ts';

export const spdyPortForwardProtocols = ['portforward.k8s.io'] as const;
export const tunnelledPortForwardProtocol = 'SPDY/3.1+portforward.k8s.io';

/** A pair of which the second stream does not come is given up. */
const pairTimeoutMs = 30_000;

export function forwardOverSpdy(connection: SpdyConnection, service: NodeService, pod: PodKey): void {
  const waiting = new Map<string, { readonly stream: SpdyStream; readonly timer: NodeJS.Timeout }>();
  const connections = new Set<Duplex>();
  connection.onClose(() => {
    for (const { timer } of waiting.values()) clearTimeout(timer);
    for (const open of connections) open.destroy();
  });
  connection.onStream((stream) => {
    const type = stream.headers.get('streamtype');
    if (type !== 'error' && type !== 'data') {
      stream.destroy();
      return;
    }
    // Clients older than request ids open the error stream first, and the data stream directly after it.
    const id = stream.headers.get('requestid') ?? String(type === 'error' ? stream.id : stream.id - 2);
    const other = waiting.get(id);
    if (other === undefined) {
      const timer = setTimeout(() => {
        waiting.delete(id);
        stream.destroy();
      }, pairTimeoutMs);
      waiting.set(id, { stream, timer });
      return;
    }
    clearTimeout(other.timer);
    waiting.delete(id);
    const [data, error] = type === 'data' ? [stream, other.stream] : [other.stream, stream];
    void forwardPair(data, error, service, pod, connections);
  });
}

async function forwardPair(
  data: SpdyStream,
  error: SpdyStream,
  service: NodeService,
  pod: PodKey,
  connections: Set<Duplex>,
): Promise<void> {
  const port = portOf(data.headers.get('port') ?? '');
  error.resume();
  if (port === undefined) {
    error.end(`the port ${JSON.stringify(data.headers.get('port'))} is not valid`);
    data.end();
    return;
  }
  try {
    const target = await service.portForward({ namespace: pod.namespace, pod: pod.name, port });
    connections.add(target);
    // Without an end before it, it was reset; the user's connection ends all the same.
    target.once('close', () => {
      connections.delete(target);
      data.end();
      error.end();
    });
    target.on('error', () => data.end());
    data.once('close', () => target.destroy());
    data.pipe(target);
    target.pipe(data);
    target.once('end', () => error.end());
  } catch (failure) {
    error.end(failureText(port, pod, failure));
    data.end();
    data.resume();
  }
}

export function portOf(text: string): number | undefined {
  const port = /^\d{1,5}$/.test(text) ? Number(text) : 0;
  return port >= 1 && port <= 65535 ? port : undefined;
}

function failureText(port: number, pod: PodKey, failure: unknown): string {
  return `error forwarding port ${port} to pod ${pod.name}, ${String((failure as Error).message)}`;
}

/** Channel 2i carries the data of port i, 2i+1 its errors; each begins with the port, 2 bytes little-endian. */
export function forwardOverChannels(
  webSocket: WebSocket,
  service: NodeService,
  pod: PodKey,
  ports: readonly number[],
): void {
  const targets: (Duplex | undefined)[] = ports.map(() => undefined);
  const early: Buffer[][] = ports.map(() => []);
  webSocket.on('message', (raw) => {
    const message = bytesOf(raw);
    const index = (message[0] ?? 0) / 2;
    const payload = message.subarray(1);
    if (payload.length === 0 || !Number.isInteger(index)) return;
    const target = targets[index];
    if (target === undefined) early[index]?.push(payload);
    else if (!target.write(payload)) {
      webSocket.pause();
      target.once('drain', () => webSocket.resume());
    }
  });
  webSocket.once('close', () => {
    for (const target of targets) target?.destroy();
  });
  webSocket.resume();
  ports.forEach((port, index) => {
    const head = Buffer.alloc(2);
    head.writeUInt16LE(port);
    const data = channelWriter(webSocket, index * 2);
    const error = channelWriter(webSocket, index * 2 + 1);
    data.write(head);
    error.write(head);
    connectChannel({ webSocket, service, pod, port }, data, error).then(
      (target) => {
        targets[index] = target;
        for (const piece of early[index]?.splice(0) ?? []) target?.write(piece);
      },
      () => undefined,
    );
  });
}

async function connectChannel(
  {
    webSocket,
    service,
    pod,
    port,
  }: { readonly webSocket: WebSocket; readonly service: NodeService; readonly pod: PodKey; readonly port: number },
  data: Writable,
  error: Writable,
): Promise<Duplex | undefined> {
  try {
    const target = await service.portForward({ namespace: pod.namespace, pod: pod.name, port });
    if (webSocket.readyState !== webSocket.OPEN) {
      target.destroy();
      return undefined;
    }
    target.on('error', (failure) => error.write(failureText(port, pod, failure)));
    target.pipe(data, { end: false });
    target.once('close', () => webSocket.close(1000));
    return target;
  } catch (failure) {
    error.write(failureText(port, pod, failure));
    return undefined;
  }
}
