/** The node's streams (logs, exec, attach, port-forward) and figures, for the API server (kernel/contract/node-service.ts). */
import { connect } from 'node:net';
import type { Duplex } from 'node:stream';
import type { Pod } from '../../../kernel/contract/kubernetes.ts';
import {
  PintleError,
  type Clock,
  type Container,
  type ContainerRef,
  type NodeService,
  type NodeUsage,
  type Runtime,
  type Sandbox,
} from '../../../kernel/contract/index.ts';
import { attachFromStart } from './attach-from-start.ts';
import { detachAtEnd, isInputForOne } from './detach-at-end.ts';
import { readLogs, type LogSource } from './log-reader.ts';
import { allDefinitions, attemptsOf } from './pod-status.ts';
import { staticUidOf } from './static-pods.ts';

export interface NodeServiceParts {
  readonly runtime: Runtime;
  readonly clock: Clock;
  readonly maxLogFiles: number;
  /** The newest sampling of the node's usage. */
  usage(): NodeUsage;
  /** Prometheus text of the agent. */
  metrics(): Promise<string>;
  /** The pod of this name that the API wants on this node. */
  pod(namespace: string, name: string): Pod | undefined;
  readonly network: NodeService['network'];
  /** A TCP connection to 127.0.0.1:port inside a network namespace. */
  connectIn(netns: string, port: number): Promise<Duplex>;
}

/**
 * Who attaches to a container this young has just made it (`kubectl run --attach`) and wants all that it prints. Kubernetes
 * loses what was printed before.
 */
const youngMs = 30_000;
const maxRemembered = 256;

export function createNodeService(parts: NodeServiceParts): NodeService {
  const { runtime } = parts;
  /** Ids of containers that somebody has been attached to. */
  const attached = new Set<string>();

  async function sandboxesOf(namespace: string, pod: string, uid?: string): Promise<readonly Sandbox[]> {
    const all = await runtime.listSandboxes();
    const found = all.filter(
      (each) => each.podNamespace === namespace && each.podName === pod && (uid === undefined || each.podUid === uid),
    );
    return found.sort((a, b) => b.createdMs - a.createdMs);
  }

  async function attemptsFor(ref: ContainerRef): Promise<readonly Container[]> {
    const staticUid = staticUidOf(parts.pod(ref.namespace, ref.pod));
    const sandboxes = await sandboxesOf(ref.namespace, ref.pod, staticUid ?? ref.podUid);
    const uid = sandboxes[0]?.podUid;
    const containers: Container[] = [];
    for (const sandbox of sandboxes) {
      if (sandbox.podUid === uid) containers.push(...(await runtime.listContainers(sandbox.id)));
    }
    return attemptsOf(containers, ref.container);
  }

  function mustRun(ref: ContainerRef, latest: Container | undefined): Container {
    if (latest?.state === 'running') return latest;
    const where = `container "${ref.container}" of pod "${ref.namespace}/${ref.pod}"`;
    throw latest
      ? new PintleError('CONTAINER_NOT_RUNNING', `${where} is not running; wait until it runs (kubectl get pod)`)
      : new PintleError('CONTAINER_NOT_FOUND', `${where} is not on this node yet`);
  }

  async function forgetGone(): Promise<void> {
    const known = new Set((await runtime.listContainers()).map(({ id }) => id));
    for (const id of attached) if (!known.has(id)) attached.delete(id);
  }

  function definitionOf(ref: ContainerRef) {
    const pod = parts.pod(ref.namespace, ref.pod);
    return pod && allDefinitions(pod).find(({ name }) => name === ref.container);
  }

  /** In kubectl's words: it is what a user sees who looks too early. */
  function notStarted(ref: ContainerRef): PintleError {
    const status = parts.pod(ref.namespace, ref.pod)?.status;
    const statuses = [
      ...(status?.initContainerStatuses ?? []),
      ...(status?.containerStatuses ?? []),
      ...(status?.ephemeralContainerStatuses ?? []),
    ];
    const reason = statuses.find(({ name }) => name === ref.container)?.state?.waiting?.reason ?? 'ContainerCreating';
    const words: Record<string, string> = {
      ErrImagePull: "image can't be pulled",
      ImagePullBackOff: 'trying and failing to pull image',
    };
    return new PintleError(
      'BAD_REQUEST',
      `container "${ref.container}" in pod "${ref.pod}" is waiting to start: ${words[reason] ?? reason}`,
    );
  }

  const logSource = (container: Container): LogSource => ({
    path: container.logPath,
    maxLogFiles: parts.maxLogFiles,
    // One that is about to start has all of its lines before it.
    isRunning: async () =>
      (await runtime.listContainers(container.sandboxId)).some(
        (each) => each.id === container.id && each.state !== 'exited',
      ),
  });

  return {
    stats: async () => parts.usage(),
    metrics: () => parts.metrics(),
    network: (question, signal) => parts.network(question, signal),
    async logs(request, signal) {
      const [latest, before] = await attemptsFor(request);
      if (request.previous && !before)
        throw new PintleError(
          'BAD_REQUEST',
          `previous terminated container "${request.container}" in pod "${request.pod}" not found`,
        );
      const container = request.previous ? before : latest;
      if (!container) throw notStarted(request);
      return readLogs(logSource(container), request, signal);
    },
    async exec(request) {
      const container = mustRun(request, (await attemptsFor(request))[0]);
      return runtime.exec(container.id, { command: request.command, stdin: request.stdin, tty: request.tty });
    },
    async attach(request) {
      const [latest] = await attemptsFor(request);
      const definition = definitionOf(request);
      const isFirst = latest !== undefined && !attached.has(latest.id);
      const isYoung =
        latest?.state === 'running' && parts.clock.now() - (latest.startedMs ?? latest.createdMs) < youngMs;
      // An input for one client belongs to this one, who so far has seen nothing.
      const isWhole = isFirst && (isYoung || isInputForOne(definition));
      const container = isWhole ? latest : mustRun(request, latest);
      attached.add(container.id);
      if (attached.size > maxRemembered) await forgetGone();
      const streams = { stdin: request.stdin, tty: request.tty };
      const live = container.state === 'running' ? await runtime.attach(container.id, streams) : undefined;
      const whole = () => attachFromStart(logSource(container), live, request, { tty: definition?.tty ?? false });
      const all = !isWhole && live !== undefined ? live : whole();
      return isInputForOne(definition) ? all : detachAtEnd(all);
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
