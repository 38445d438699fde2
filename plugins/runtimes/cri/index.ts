/** Plugin runtime/cri: containers of containerd or CRI-O, in the pod network of Pintle. See README.md. */
import { z } from 'zod';
import { definePlugin } from '../../../kernel/contract/index.ts';
import { installPlaceholder, removePlaceholder } from './cni-placeholder.ts';
import { CriRuntime } from './cri-runtime.ts';

const config = z.strictObject({
  endpoint: z
    .string()
    .regex(/^unix:\/\/\/.+$/, 'expected unix:///PATH')
    .default('unix:///run/containerd/containerd.sock')
    .describe('Where the container runtime listens'),
  runtimeHandler: z.string().default('').describe("Which of the runtime's handlers runs pods; empty: its default"),
  installCni: z
    .strictObject({ confDir: z.string().startsWith('/'), binDir: z.string().startsWith('/') })
    .optional()
    .describe("The runtime's CNI folders, to put a network there that leaves pods to the attachment"),
});

export default definePlugin({
  kind: 'runtime',
  name: 'cri',
  api: 1,
  summary: 'Containers of containerd or CRI-O, in the pod network of Pintle',
  config,
  capabilities: ['images', 'limits', 'tty', 'real', 'shared-pid'],
  preflight: async (host, { endpoint }) => {
    if (!host.isPrivileged)
      return { ok: false, reason: 'connecting pods to the network needs root', fix: 'run as root' };
    const socket = endpoint.slice('unix://'.length);
    if (host.exists(socket)) return { ok: true };
    return {
      ok: false,
      reason: `no container runtime listens at ${socket}`,
      fix: 'start containerd (apt-get install containerd) or CRI-O, or name its socket as endpoint',
    };
  },
  start: async ({ config: { endpoint, runtimeHandler, installCni }, stateDir, nodeName, log, clock }) => {
    if (installCni !== undefined) installPlaceholder(installCni);
    return CriRuntime.open({
      ...{ endpoint, runtimeHandler, stateDir, log, clock },
      nodeName: nodeName ?? '',
      awaitsNetwork: installCni !== undefined,
      onPurge: () => {
        if (installCni !== undefined) removePlaceholder(installCni);
      },
    });
  },
  offline: async ({ config: { endpoint, runtimeHandler, installCni }, stateDir, nodeName }) => {
    const { offlineRuntime } = await import('./offline.ts');
    const log = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };
    const clock = {
      now: () => Date.now(),
      sleep: (ms: number) => new Promise<void>((done) => void setTimeout(done, ms)),
    };
    return offlineRuntime({
      ...{ endpoint, runtimeHandler, stateDir, log, clock, nodeName: nodeName ?? '', awaitsNetwork: false },
      onPurge: () => {
        if (installCni !== undefined) removePlaceholder(installCni);
      },
    });
  },
});
