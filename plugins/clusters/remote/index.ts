/** Cluster `remote`: the Kubernetes API of a server that is reached over HTTPS or a unix socket. */
import { z } from 'zod';
import { definePlugin, PintleError, type Cluster } from '../../../kernel/contract/index.ts';
import { readEndpoint, type Endpoint } from './endpoint.ts';
import { holdConnections } from './held-connections.ts';
import { createHttpClient } from './http-client.ts';
import { remoteCluster } from './remote-cluster.ts';
import { rawConnection } from './raw-connection.ts';
import { nodeServer } from './serve-node.ts';

/** Renewed certificates are taken up after at most this time; they are renewed long before they end. */
const rereadMs = 60_000;

const config = z.strictObject({
  server: z.string().min(1).optional().describe('"https://HOST:PORT" or "unix:/PATH"'),
  kubeconfig: z.string().min(1).optional().describe('Path of a kubeconfig; used when server is not set'),
  context: z.string().min(1).optional().describe('Context of the kubeconfig; default: its current one'),
  certificateAuthority: z.string().min(1).optional().describe('Path of the CA certificate (PEM)'),
  clientCertificate: z.string().min(1).optional().describe('Path of the client certificate (PEM)'),
  clientKey: z.string().min(1).optional().describe('Path of its key (PEM)'),
  maxConnections: z.int().min(1).max(1000).default(8).describe('Connections for calls; watches have their own'),
  callTimeoutSeconds: z.int().min(1).default(60).describe('A call whose connection is silent for so long is given up'),
});

export default definePlugin({
  kind: 'cluster',
  name: 'remote',
  api: 1,
  summary: 'The Kubernetes API of a server, over HTTPS or a unix socket',
  role: 'any',
  config,
  async start(context, _signal) {
    const { config: options } = context;
    // A wrong file or address is told now; a server that is not there yet is not.
    let endpoint = await readEndpoint(options);
    let readAt = context.clock.now();
    const currentEndpoint = async (): Promise<Endpoint> => {
      if (context.clock.now() - readAt < rereadMs) return endpoint;
      readAt = context.clock.now();
      // A file that is being replaced right now is read the next time.
      endpoint = await readEndpoint(options).catch(() => endpoint);
      return endpoint;
    };
    const connections = holdConnections();
    const client = createHttpClient({
      connections,
      endpoint: currentEndpoint,
      maxConnections: options.maxConnections,
      callTimeoutMs: options.callTimeoutSeconds * 1000,
    });
    const stopping = new AbortController();
    const cluster: Cluster & AsyncDisposable = {
      ...remoteCluster(
        client,
        nodeServer(client, { log: context.log, clock: context.clock, stopping: stopping.signal }),
      ),
      connect: async () => {
        const socket = await rawConnection(await currentEndpoint());
        connections.hold(socket);
        return socket;
      },
      async [Symbol.asyncDispose]() {
        stopping.abort(new PintleError('UNAVAILABLE', 'cluster remote is stopping'));
        client.close();
        connections.close();
      },
    };
    return cluster;
  },
});
