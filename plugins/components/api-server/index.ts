/**
 * Component `api-server`: the Kubernetes API over HTTPS and a unix socket.
 *
 * Files in its state folder: `pki/` (see pki/certificate-store.ts), `admin.kubeconfig` (for kubectl, cluster
 * administrator), and unless configured elsewhere `api.sock`.
 */
import { isIP } from 'node:net';
import { join } from 'node:path';
import { z } from 'zod';
import { definePlugin, type Component } from '../../../kernel/contract/index.ts';
import { namesInCluster } from './pki/cluster-certificates.ts';
import { reachableAddress } from './publish-server.ts';
import { startApiServer } from './server.ts';

const config = z.strictObject({
  address: z.string().min(1).default('127.0.0.1').describe('Address to listen on'),
  port: z.int().min(0).max(65535).default(6443).describe('TCP port; 0 takes a free one'),
  socket: z.string().min(1).optional().describe('Path of the unix socket; default: api.sock in the state folder'),
  advertise: z.string().min(1).optional().describe('Host name or address that kubeconfigs name; default: address'),
  publish: z
    .boolean()
    .default(true)
    .describe('Keep Service default/kubernetes leading to this server, and the CA where the cluster looks for it'),
  names: z.array(z.string().min(1)).default([]).describe('Further DNS names and addresses of the serving certificate'),
  nodes: z.array(z.string().min(1)).default([]).describe('Nodes that get a client certificate in pki/nodes'),
  certificateLifetimeMinutes: z
    .int()
    .min(1)
    .default(365 * 24 * 60)
    .describe('Life of certificates; renewed when a third is left'),
  maxReads: z.int().min(1).default(400).describe('Reading requests served at once'),
  maxWrites: z.int().min(1).default(200).describe('Writing requests served at once'),
  maxWaiting: z
    .int()
    .min(0)
    .default(4000)
    .describe('Reading, and writing, requests that wait for their turn; more are refused with 429'),
  watchBacklogMegabytes: z
    .number()
    .positive()
    .max(4096)
    .default(32)
    .describe(
      'What may wait for all clients of watches together; above it, those that are behind for the longest are cut',
    ),
  bodyTimeoutSeconds: z.int().min(1).default(30).describe('Time for a request body to arrive'),
  headersTimeoutSeconds: z.int().min(1).default(15).describe('Time for request headers to arrive'),
});

const wildcards = ['0.0.0.0', '::'];

export default definePlugin({
  kind: 'component',
  name: 'api-server',
  api: 1,
  summary: 'The Kubernetes API over HTTPS and a unix socket',
  role: 'server',
  config,
  needs: ['cluster'],
  async start(context, _signal) {
    const { config: options } = context;
    const reachable = reachableAddress(options.address, options.advertise);
    const server = await startApiServer({
      cluster: context.uses.cluster,
      log: context.log,
      now: () => context.clock.now(),
      stateDir: context.stateDir,
      address: options.address,
      port: options.port,
      socket: options.socket ?? join(context.stateDir, 'api.sock'),
      advertise: options.advertise,
      publish: options.publish,
      certificates: {
        lifetimeMs: options.certificateLifetimeMinutes * 60_000,
        extraNames: [
          ...namesInCluster(context.cluster),
          ...options.names,
          ...(options.advertise === undefined ? [] : [options.advertise]),
          ...(isIP(options.address) === 0 || wildcards.includes(options.address) ? [] : [options.address]),
          ...(reachable === undefined ? [] : [reachable]),
        ],
        nodes: options.nodes,
      },
      limits: { reads: options.maxReads, writes: options.maxWrites, waiting: options.maxWaiting },
      watchBacklogBytes: options.watchBacklogMegabytes * 2 ** 20,
      bodyTimeoutMs: options.bodyTimeoutSeconds * 1000,
      headersTimeoutMs: options.headersTimeoutSeconds * 1000,
      processMetrics: context.processMetrics,
    });
    let isStopped = false;
    const component: Component & AsyncDisposable = {
      status: () => (isStopped ? { ready: false, reason: 'stopped' } : { ready: true }),
      metrics: () => server.metrics(),
      async [Symbol.asyncDispose]() {
        isStopped = true;
        await server.close();
      },
    };
    return component;
  },
});
