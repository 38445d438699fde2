/** The node's streams (logs, exec, attach, port-forward) and figures, for the API server (kernel/contract/node-service.ts). */
import { connect } from 'node:net';
import type { Duplex } from 'node:stream';
import {
  PintleError,
  type Container,
  type ContainerRef,
  type NodeService,
  type NodeUsage,
  type Runtime,
  type Sandbox,
} from '../../../kernel/contract/index.ts';
import { readLogs } from './log-reader.ts';
import { attemptsOf } from './pod-status.ts';

export interface NodeServiceParts {
  readonly runtime: Runtime;
  readonly maxLogFiles: number;
  /** The newest sampling of the node's usage. */
  usage(): NodeUsage;
  /** Prometheus text of the agent. */
  metrics(): Promise<string>;
  /** A TCP connection to 127.0.0.1:port inside a network namespace. */
  connectIn(netns: string, port: number): Promise<Duplex>;
}

export function createNodeService(parts: NodeServiceParts): NodeService {
  const { runtime } = parts;

  async function sandboxesOf(namespace: string, pod: string, uid?: string): Promise<readonly Sandbox[]> {
    const all = await runtime.listSandboxes();
    const found = all.filter(
      (each) => each.podNamespace === namespace && each.podName === pod && (uid === undefined || each.podUid === uid),
    );
    return found.sort((a, b) => b.createdMs - a.createdMs);
  }

  async function attemptsFor(ref: ContainerRef): Promise<readonly Container[]> {
    const sandboxes = await sandboxesOf(ref.namespace, ref.pod, ref.podUid);
    const uid = sandboxes[0]?.podUid;
    const containers: Container[] = [];
    for (const sandbox of sandboxes) {
      if (sandbox.podUid === uid) containers.push(...(await runtime.listContainers(sandbox.id)));
    }
    return attemptsOf(containers, ref.container);
  }

  async function running(ref: ContainerRef): Promise<Container> {
    const [latest] = await attemptsFor(ref);
    if (latest?.state === 'running') return latest;
    const where = `container "${ref.container}" of pod "${ref.namespace}/${ref.pod}"`;
    throw latest
      ? new PintleError('CONTAINER_NOT_RUNNING', `${where} is not running; wait until it runs (kubectl get pod)`)
      : new PintleError('CONTAINER_NOT_FOUND', `${where} is not on this node yet`);
  }

  return {
    stats: async () => parts.usage(),
    metrics: () => parts.metrics(),
    async logs(request, signal) {
      const [latest, before] = await attemptsFor(request);
      const container = request.previous ? before : latest;
      if (!container) {
        throw new PintleError(
          request.previous && latest ? 'BAD_REQUEST' : 'CONTAINER_NOT_FOUND',
          request.previous && latest
            ? `previous terminated container "${request.container}" in pod "${request.pod}" not found`
            : `container "${request.container}" in pod "${request.pod}" is waiting to start: ContainerCreating`,
        );
      }
      const source = {
        path: container.logPath,
        maxLogFiles: parts.maxLogFiles,
        isRunning: async () =>
          (await runtime.listContainers(container.sandboxId)).some(
            (each) => each.id === container.id && each.state === 'running',
          ),
      };
      return readLogs(source, request, signal);
    },
    async exec(request) {
      const container = await running(request);
      return runtime.exec(container.id, { command: request.command, stdin: request.stdin, tty: request.tty });
    },
    async attach(request) {
      const container = await running(request);
      return runtime.attach(container.id, { stdin: request.stdin, tty: request.tty });
    },
    async portForward({ namespace, pod, port }) {
      const sandbox = (await sandboxesOf(namespace, pod)).find((each) => each.ready);
      if (!sandbox) throw new PintleError('CONTAINER_NOT_FOUND', `pod "${namespace}/${pod}" does not run on this node`);
      if (sandbox.netns !== undefined) return parts.connectIn(sandbox.netns, port);
      return new Promise<Duplex>((resolve, reject) => {
        const socket = connect({ host: '127.0.0.1', port });
        socket.once('connect', () => resolve(socket));
        socket.once('error', reject);
      });
    },
  };
}
