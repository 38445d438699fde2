/**
 * A real API (cluster `local` on store `memory`) for tests of control loops, what starts them, and the test's own hand
 * as the kubelet: it sets nodes and pods to the states that a node agent would report.
 */
import type {
  Cluster,
  ClusterFacts,
  Clock,
  Controller,
  KubernetesObject,
  Logger,
  ObjectKey,
  ResourceType,
  StandardSchemaV1,
} from '../../../kernel/contract/index.ts';
import { isPintleError } from '../../../kernel/contract/index.ts';
import type { Event, Node, Pod, PodSpec, PodStatus } from '../../../kernel/contract/kubernetes.ts';
import { systemClock } from '../../../kernel/machinery/clock.ts';
import { keyOf, splitKey } from '../../../kernel/machinery/metadata.ts';
import { resources } from '../../../kernel/machinery/resources.ts';
import local from '../../../plugins/clusters/local/index.ts';
import memory from '../../../plugins/stores/memory/index.ts';

export const quiet: Logger = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: (message, fields) => process.stderr.write(`${message} ${JSON.stringify(fields)}\n`),
};

const facts: ClusterFacts = {
  podCidrs: ['10.244.0.0/16'],
  serviceCidrs: ['10.96.0.0/12'],
  dnsDomain: 'cluster.local',
  dnsServiceIp: '10.96.0.10',
};

/** Starts a plugin as the kernel would. */
export async function startPlugin<Result>(
  plugin: { readonly config: StandardSchemaV1<unknown, unknown>; readonly start: unknown },
  given: {
    readonly config?: object;
    readonly uses?: object;
    readonly clock?: Clock | undefined;
    readonly facts?: Partial<ClusterFacts>;
    readonly nodeName?: string;
  } = {},
): Promise<Result & AsyncDisposable> {
  const checked = await plugin.config['~standard'].validate(given.config ?? {});
  if (checked.issues !== undefined) throw new Error(`bad config: ${JSON.stringify(checked.issues)}`);
  const context = {
    config: checked.value,
    cluster: { ...facts, ...given.facts },
    uses: given.uses ?? {},
    log: quiet,
    clock: given.clock ?? systemClock,
    stateDir: '',
    nodeName: given.nodeName,
    processMetrics: async () => '',
  };
  const start = plugin.start as (context: unknown, signal: AbortSignal) => Promise<Result & AsyncDisposable>;
  return start(context, AbortSignal.timeout(10_000));
}

export interface ControlPlane {
  readonly cluster: Cluster;
  /** Runs a controller until the test ends, or until the answered function is called. */
  controller(
    plugin: Parameters<typeof startPlugin>[0],
    config?: object,
    clock?: Clock,
    facts?: Partial<ClusterFacts>,
  ): Promise<() => Promise<void>>;
}

/** `clock`: for the API; each controller gets its own. */
export async function openControlPlane(
  t: { teardown(undo: () => unknown): void },
  clock?: Clock,
): Promise<ControlPlane> {
  const store = await startPlugin<object>(memory);
  const cluster = await startPlugin<Cluster>(local, { uses: { store }, clock });
  t.teardown(async () => {
    await cluster[Symbol.asyncDispose]();
    await store[Symbol.asyncDispose]();
  });
  return {
    cluster,
    controller: async (plugin, config, ownClock, moreFacts) => {
      const given = { uses: { cluster }, clock: ownClock, ...(config === undefined ? {} : { config }) };
      const controller = await startPlugin<Controller>(
        plugin,
        moreFacts === undefined ? given : { ...given, facts: moreFacts },
      );
      const stop = new AbortController();
      const running = controller.run(stop.signal);
      const end = async () => {
        stop.abort();
        await running;
        await controller[Symbol.asyncDispose]();
      };
      t.teardown(end);
      return end;
    },
  };
}

/** Resolves with the first answer of `look` that is neither undefined nor false. */
export async function eventually<T>(
  what: string,
  look: () => Promise<T | undefined | false> | T | undefined | false,
  withinMs = 45_000,
): Promise<T> {
  const deadline = Date.now() + withinMs;
  for (;;) {
    const found = await look();
    if (found !== undefined && found !== false) return found;
    if (Date.now() > deadline) throw new Error(`It did not come to be: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** The first event that `is` so. Controllers tell what they did after they have done it. */
export const someEvent = (cluster: Cluster, what: string, is: (event: Event) => boolean): Promise<Event> =>
  eventually(`an event: ${what}`, async () => (await cluster.list(resources.events)).items.find(is));

export async function find<T extends KubernetesObject>(
  cluster: Cluster,
  type: ResourceType<T>,
  key: ObjectKey,
): Promise<T | undefined> {
  try {
    return await cluster.get(type, key);
  } catch (error) {
    if (isPintleError(error, 'NOT_FOUND')) return undefined;
    throw error;
  }
}

/** Lets everything that control loops have to do now, be done: the revision stands still for a while. */
export async function quiescence(cluster: Cluster): Promise<void> {
  let still = 0;
  for (let before = -1; still < 10;) {
    const now = cluster.server?.revision ?? 0;
    still = now === before ? still + 1 : 0;
    before = now;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

export function podSpec(more: Partial<PodSpec> = {}): PodSpec {
  return { containers: [{ name: 'main', image: 'host' }], ...more };
}

export async function makeNode(
  cluster: Cluster,
  name: string,
  more: {
    readonly labels?: Record<string, string>;
    readonly allocatable?: Record<string, string>;
    readonly spec?: Node['spec'];
    readonly conditions?: NonNullable<Node['status']>['conditions'];
  } = {},
): Promise<Node> {
  const allocatable = more.allocatable ?? { cpu: '4', memory: '8Gi', pods: '110' };
  await cluster.create(resources.nodes, {
    metadata: { name, ...(more.labels === undefined ? {} : { labels: more.labels }) },
    spec: more.spec ?? {},
  });
  const status = {
    capacity: allocatable,
    allocatable,
    conditions: more.conditions ?? [{ type: 'Ready', status: 'True', reason: 'KubeletReady', message: '' }],
  };
  return cluster.patch(resources.nodes, { name }, { kind: 'merge', body: { status } }, { subresource: 'status' });
}

export async function patchStatus(cluster: Cluster, pod: Pod, status: PodStatus): Promise<Pod> {
  const body = { status };
  return cluster.patch(resources.pods, splitKey(keyOf(pod)), { kind: 'merge', body }, { subresource: 'status' });
}

let lastAddress = 0;

/** The pod runs, and is ready or not. */
export async function setRunning(cluster: Cluster, pod: Pod, isReady = true, since = new Date()): Promise<Pod> {
  const address = pod.status?.podIP ?? `10.244.${(++lastAddress >> 8) & 255}.${lastAddress & 255}`;
  const time = `${since.toISOString().slice(0, 19)}Z`;
  return patchStatus(cluster, pod, {
    phase: 'Running',
    startTime: pod.status?.startTime ?? time,
    podIP: address,
    podIPs: [{ ip: address }],
    conditions: [{ type: 'Ready', status: isReady ? 'True' : 'False', lastTransitionTime: time }],
  });
}

export async function bindTo(cluster: Cluster, pod: Pod, nodeName: string): Promise<void> {
  const { name, namespace } = pod.metadata;
  const binding = { metadata: { name, namespace }, target: { kind: 'Node', name: nodeName } };
  await cluster.create(resources.pods, binding as never, { subresource: 'binding', parent: { name, namespace } });
}

/** Puts every pod onto a node and into a ready state, and ends those that are being deleted, until the test ends. */
export function runKubelet(
  t: { teardown(undo: () => unknown): void },
  cluster: Cluster,
  options: {
    readonly node?: string | ((pod: Pod) => string | undefined);
    readonly isReady?: (pod: Pod) => boolean | undefined;
  } = {},
): void {
  const { node = 'node-1', isReady = () => true } = options;
  const stop = new AbortController();
  const tend = async (pod: Pod) => {
    const key = splitKey(keyOf(pod));
    if (pod.metadata.deletionTimestamp !== undefined) {
      await cluster.delete(resources.pods, key, { gracePeriodSeconds: 0 });
      return;
    }
    if (pod.spec.nodeName === undefined || pod.spec.nodeName === '') {
      const name = typeof node === 'string' ? node : node(pod);
      if (name !== undefined) await bindTo(cluster, pod, name);
      return;
    }
    const ready = isReady(pod);
    const now = pod.status?.conditions?.find((condition) => condition.type === 'Ready')?.status;
    if (ready !== undefined && now !== (ready ? 'True' : 'False')) await setRunning(cluster, pod, ready);
  };
  const working = (async () => {
    for await (const batch of cluster.watch(resources.pods, {}, stop.signal))
      for (const event of batch)
        if (event.type === 'ADDED' || event.type === 'MODIFIED')
          await tend(event.object).catch((error: unknown) => {
            if (!isPintleError(error, 'NOT_FOUND', 'CONFLICT')) throw error;
          });
  })().catch((error: unknown) => {
    if (!stop.signal.aborted) throw error;
  });
  t.teardown(async () => {
    stop.abort();
    await working;
  });
}
