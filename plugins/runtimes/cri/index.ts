/** Plugin runtime/cri: containers of containerd or CRI-O, in the pod network of Pintle. See README.md. */
import { z } from 'zod';
import { definePlugin } from '../../../kernel/contract/index.ts';
import { ownerOf } from '../../../kernel/machinery/engine/engine-labels.ts';
import { openStateFolder } from '../../../kernel/machinery/engine/state-folder.ts';
import { installPlaceholder, removePlaceholder } from './cni-placeholder.ts';
import { CriRuntime } from './cri-runtime.ts';

const config = z.strictObject({
  endpoint: z
    .string()
    .regex(/^unix:\/\/\/.+$/, 'expected unix:///PATH')
    .default('unix:///run/containerd/containerd.sock')
    .describe('Where the container runtime listens'),
  runtimeHandler: z.string().default('').describe("Which of the runtime's handlers runs pods; empty: its default"),
  netns: z
    .string()
    .startsWith('/')
    .optional()
    .describe("Where the container runtime's own network namespace is kept, if agents are in another one"),
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
  preflight: async (host, { endpoint, netns }) => {
    if (!host.isPrivileged)
      return { ok: false, reason: 'connecting pods to the network needs root', fix: 'run as root' };
    const socket = endpoint.slice('unix://'.length);
    if (host.exists(socket) && netns !== undefined && !host.exists(netns))
      return {
        ok: false,
        reason: `the network namespace of the container runtime is not at ${netns}`,
        fix: 'keep it there before the agents start: touch PATH && mount --bind /proc/1/ns/net PATH',
      };
    if (host.exists(socket)) return { ok: true };
    return {
      ok: false,
      reason: `no container runtime listens at ${socket}`,
      fix: 'start containerd (apt-get install containerd) or CRI-O, or name its socket as endpoint',
    };
  },
  start: async ({ config, stateDir, nodeName, log, clock }) => {
    const { endpoint, runtimeHandler, netns, installCni } = config;
    if (installCni !== undefined) installPlaceholder(installCni, ownerOf(openStateFolder(stateDir)));
    return CriRuntime.open({
      ...{ endpoint, runtimeHandler, netns, stateDir, log, clock },
      nodeName: nodeName ?? '',
      awaitsNetwork: installCni !== undefined,
      onPurge: () => {
        if (installCni !== undefined) removePlaceholder(installCni, ownerOf(openStateFolder(stateDir)));
      },
    });
  },
  offline: async ({ config: { endpoint, runtimeHandler, netns, installCni }, stateDir, nodeName }) => {
    const { offlineRuntime } = await import('./offline.ts');
    const log = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };
    const clock = {
      now: () => Date.now(),
      sleep: (ms: number) => new Promise<void>((done) => void setTimeout(done, ms)),
    };
    return offlineRuntime({
      ...{ endpoint, runtimeHandler, netns, stateDir, log, clock, nodeName: nodeName ?? '', awaitsNetwork: false },
      onPurge: () => {
        if (installCni !== undefined) removePlaceholder(installCni, ownerOf(openStateFolder(stateDir)));
      },
    });
  },
});
