/** Wires the parts of the agent: informers, the pod queue, the worker, node registration, network, streams. */
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import type { ConfigMap, Pod, Secret, Service } from '../../../kernel/contract/kubernetes.ts';
import {
  PintleError,
  type Component,
  type KubernetesObject,
  type PluginContext,
} from '../../../kernel/contract/index.ts';
import { pause } from '../../../kernel/machinery/clock.ts';
import { eventRecorder } from '../../../kernel/machinery/event-recorder.ts';
import { informersFor, type Informer } from '../../../kernel/machinery/informer.ts';
import { byteCount, cpuMillis } from '../../../kernel/machinery/quantity.ts';
import { reportedVersion } from '../../../kernel/machinery/release.ts';
import { resources } from '../../../kernel/machinery/resources.ts';
import { createWorkQueue } from '../../../kernel/machinery/work-queue.ts';
import { fitProblem } from './fit-node.ts';
import { refusalOf } from './eviction/admit-pod.ts';
import { amountOf, sharedHostHard, upstreamHard, type EvictionSettings } from './eviction/thresholds.ts';
import { watchPressure } from './eviction/watch-pressure.ts';
import { networkView } from './network/network-view.ts';
import { NodeAddresses } from './node-addresses.ts';
import { NodeNetwork, peerFields, peerOf, podCidrsOf } from './node-network.ts';
import { NodeRegistration } from './node-registration.ts';
import { createNodeService } from './node-service.ts';
import { PodWorker } from './pod-worker.ts';
import { recentReads } from './recent-reads.ts';
import { agentMetrics } from './usage/agent-metrics.ts';
import { readHostUsage } from './usage/host-usage.ts';
import { UsageSampler } from './usage/usage-sampler.ts';
import { createTokenSource } from './service-account-tokens.ts';
import { keepVolumes } from './volume-upkeep.ts';
import { StaticPods, staticUidOf } from './static-pods.ts';
import { createPodVolumes } from './volumes.ts';

export interface NodeAgentConfig {
  readonly addresses: readonly string[];
  readonly labels: Readonly<Record<string, string>>;
  readonly taints: readonly { readonly key: string; readonly value?: string | undefined; readonly effect: string }[];
  readonly maxPods: number;
  readonly leaseSeconds: number;
  readonly statusSeconds: number;
  readonly maxLogBytes: number;
  readonly maxLogFiles: number;
  readonly backoffSeconds: number;
  readonly maxBackoffSeconds: number;
  readonly reserved: { readonly cpu: string; readonly memory: string };
  readonly eviction: EvictionSettings;
  readonly sharedHost: boolean;
  readonly usageSeconds: number;
  readonly volumeSeconds: number;
  readonly podPids: number;
  readonly staticPodPath?: string | undefined;
  readonly allowedUnsafeSysctls: readonly string[];
}

export interface NodeAgentHost {
  connectIn(netns: string, port: number): Promise<Duplex>;
}

type Context = PluginContext<NodeAgentConfig, 'cluster' | 'runtime' | 'attachment' | 'overlay' | 'proxy' | 'volume'>;

/** {NAME}_SERVICE_HOST and _PORT of a namespace's Services, and always those of `kubernetes`. */
export function serviceVariables(pod: Pod, services: readonly Service[]): ReadonlyMap<string, string> {
  const values = new Map<string, string>();
  const usesLinks = pod.spec.enableServiceLinks ?? true;
  for (const service of services) {
    const { namespace, name } = service.metadata;
    const isMaster = namespace === 'default' && name === 'kubernetes';
    if (!isMaster && !(usesLinks && namespace === pod.metadata.namespace)) continue;
    const ip = service.spec.clusterIP;
    const [first] = service.spec.ports ?? [];
    if (!ip || ip === 'None' || !first) continue;
    const prefix = name.toUpperCase().replaceAll('-', '_');
    values.set(`${prefix}_SERVICE_HOST`, ip);
    values.set(`${prefix}_SERVICE_PORT`, String(first.port));
    for (const port of service.spec.ports ?? []) {
      if (port.name)
        values.set(`${prefix}_SERVICE_PORT_${port.name.toUpperCase().replaceAll('-', '_')}`, String(port.port));
    }
  }
  return values;
}

/** A wake-up that can be waited for with a time-out. A ring that nobody waits for is kept for the next who does. */
function createBell() {
  let isRung = false;
  let wake: () => void = () => {};
  return {
    ring: () => {
      isRung = true;
      wake();
    },
    wait: async (ms: number, signal: AbortSignal) => {
      if (!isRung) {
        await new Promise<void>((resolve) => {
          const timer = setTimeout(() => wake(), ms);
          wake = () => {
            clearTimeout(timer);
            signal.removeEventListener('abort', wake);
            resolve();
          };
          signal.addEventListener('abort', wake, { once: true });
        });
      }
      isRung = false;
    },
  };
}

export async function startNodeAgent(
  context: Context,
  host: NodeAgentHost,
  startSignal: AbortSignal,
): Promise<Component & AsyncDisposable> {
  const { config, log, clock, stateDir, nodeName } = context;
  const { cluster, runtime, attachment, overlay, proxy } = context.uses;
  if (nodeName === undefined)
    throw new PintleError('CONFIG_INVALID', 'node-agent: it runs in an agent, which has a node name');
  const nodeAddresses = new NodeAddresses(config.addresses, context.cluster.podCidrs);
  if (nodeAddresses.current.length === 0) {
    throw new PintleError(
      'CONFIG_INVALID',
      'node-agent: this host has no address but loopback; set `addresses` in its config',
    );
  }
  const stop = new AbortController();
  const { signal } = stop;
  const informers = informersFor(cluster, log);
  const pods = informers.get<Pod>(resources.pods, { fieldSelector: `spec.nodeName=${nodeName}` });
  pods.addIndex('uid', (pod) => [pod.metadata.uid]);
  const self = informers.get(resources.nodes, { fieldSelector: `metadata.name=${nodeName}` });
  const peers = informers.get(resources.nodes, { fields: peerFields });
  const services = informers.get<Service>(resources.services);
  const bell = createBell();
  const record = eventRecorder(cluster, { component: 'kubelet', host: nodeName, clock, log });

  const read = recentReads(cluster, clock);
  const tokens = createTokenSource(cluster, clock);
  const network = new NodeNetwork(
    { nodeName, addresses: nodeAddresses, clusterCidrs: context.cluster.podCidrs },
    {
      cluster,
      overlay,
      attachment,
      self,
      peers,
      clock,
      log,
      changed: () => {
        bell.ring();
        for (const pod of pods.list()) queue.add(pod.metadata.uid);
      },
    },
  );
  const hard = { ...(config.sharedHost ? sharedHostHard : upstreamHard), ...config.eviction.hard };
  const registration = new NodeRegistration(
    {
      nodeName,
      get addresses() {
        return nodeAddresses.current;
      },
      labels: config.labels,
      taints: config.taints,
      maxPods: config.maxPods,
      leaseSeconds: config.leaseSeconds,
      statusSeconds: config.statusSeconds,
      version: reportedVersion,
      stateDir,
      reserved: { cpuMillis: cpuMillis(config.reserved.cpu), memoryBytes: byteCount(config.reserved.memory) },
      hardThresholds: (signal, capacity) => amountOf(hard[signal], capacity),
    },
    {
      cluster,
      runtime,
      clock,
      log,
      node: () => self.get(nodeName),
      networkProblem: () => network.problem(),
      pressures: () => pressure.monitor.pressures,
    },
  );

  const volumes = createPodVolumes(join(stateDir, 'pods'), {
    cluster,
    drivers: context.uses.volume,
    log,
    node: () => self.get(nodeName),
  });
  const statics =
    config.staticPodPath === undefined
      ? undefined
      : new StaticPods(config.staticPodPath, nodeName, {
          cluster,
          clock,
          log,
          apiPods: () => pods.list(),
          changed: (uid) => queue.add(uid),
          report: (message) => {
            log.warn(message);
            const node = self.get(nodeName);
            if (node) record({ ...node, apiVersion: 'v1', kind: 'Node' }, 'Warning', 'InvalidStaticPod', message);
          },
        });
  const worker = new PodWorker(
    {
      nodeName,
      get hostIps() {
        return nodeAddresses.current;
      },
      maxLogBytes: config.maxLogBytes,
      maxLogFiles: config.maxLogFiles,
      backoffMs: config.backoffSeconds * 1000,
      maxBackoffMs: config.maxBackoffSeconds * 1000,
      podPids: config.podPids,
      allowedUnsafeSysctls: config.allowedUnsafeSysctls,
      dns: { clusterDomain: context.cluster.dnsDomain, servers: [context.cluster.dnsServiceIp] },
      attachmentCapabilities: attachment.capabilities,
    },
    {
      cluster,
      runtime,
      attachment,
      volumes,
      sources: {
        configMap: (namespace, name) => read<ConfigMap>(resources.configMaps, namespace, name),
        serviceAccountToken: tokens,
        secret: (namespace, name) => read<Secret>(resources.secrets, namespace, name),
        serviceVariables: (pod) => serviceVariables(pod, services.list()),
        get nodeAllocatable() {
          return registration.allocatable;
        },
      },
      clock,
      log,
      record,
      desired: (uid) => {
        const [known] = pods.byIndex('uid', uid);
        return staticUidOf(known) === undefined ? (known ?? statics?.get(uid)) : undefined;
      },
      shownBy: (pod) => (statics?.has(pod.metadata.uid) ? statics.mirrorOf(pod) : pod),
      networkProblem: () => network.problem(),
      refusal: (pod) => {
        const node = self.get(nodeName);
        // A static pod is not the API's to refuse.
        const isStatic = statics?.has(pod.metadata.uid) ?? false;
        const misfit = node === undefined || isStatic ? undefined : fitProblem(pod, node, pods.list());
        return misfit ?? refusalOf(pod, pressure.monitor.pressures);
      },
      again: (uid, afterMs = 0) => (afterMs > 0 ? queue.addAfter(uid, afterMs) : queue.add(uid)),
    },
  );
  const queue = createWorkQueue<string>({
    name: 'pods',
    concurrency: 16,
    process: (uid) => worker.sync(uid),
    log,
    clock,
  });

  const usage = new UsageSampler({
    nodeName,
    runtime,
    clock,
    log,
    periodMs: config.usageSeconds * 1000,
    host: () => readHostUsage(stateDir),
    storage: () => pressure.monitor.storage,
  });
  const pressure = watchPressure(
    { ...config.eviction, hard },
    {
      nodeName,
      reservedMemoryBytes: byteCount(config.reserved.memory),
      runtime,
      clock,
      log,
      pods: () => pods.list(),
      node: () => self.get(nodeName),
      podFolder: (uid) => volumes.folder(uid),
      worker,
      record,
      changed: () => bell.ring(),
    },
  );
  usage.onSample((sampled) => pressure.monitor.heed(sampled));

  const view = networkView({
    nodeName,
    get addresses() {
      return nodeAddresses.current;
    },
    runtime,
    attachment,
    overlay,
    proxy,
    podCidrs: () => podCidrsOf(self.get(nodeName)),
    peers: () =>
      peers
        .list()
        .filter((node) => node.metadata.name !== nodeName)
        .map(peerOf),
  });

  let isRegistered = false;
  const work = run();

  async function run(): Promise<void> {
    await registration.register(signal);
    isRegistered = true;
    const streams = cluster.serveNode(
      nodeName!,
      createNodeService({
        runtime,
        maxLogFiles: config.maxLogFiles,
        connectIn: host.connectIn,
        usage: () => usage.latest(),
        metrics: () => context.processMetrics(),
        clock,
        pod: (namespace, name) => pods.get(`${namespace}/${name}`),
        network: view.ask,
      }),
      signal,
    );
    await Promise.all([streams, registration.run(signal, bell), network.run(signal), usage.run(signal), runPods()]);
  }

  async function runPods(): Promise<void> {
    // Until both are known, a pod that is absent from the cache would look deleted and lose its containers.
    await Promise.all([pods.synced(signal), services.synced(signal)]);
    await attachment.gc(new Set((await runtime.listSandboxes()).map((sandbox) => sandbox.id)));
    // Before the first look at what runs: a pod that nobody wants would be ended.
    await statics?.load();
    for (const uid of [...(await worker.knownUids()), ...(statics?.uids() ?? [])]) queue.add(uid);
    pods.onChange((change) => {
      const uid = staticUidOf(change.object) ?? staticUidOf(change.previous);
      if (uid !== undefined) {
        queue.add(uid);
        statics?.wake();
      }
      if (change.previous && change.previous.metadata.uid !== change.object?.metadata.uid)
        queue.add(change.previous.metadata.uid);
      if (change.object) queue.add(change.object.metadata.uid);
      else if (change.previous) tokens.forget(change.previous.metadata.uid);
    });
    await Promise.all([statics?.run(signal), queue.run(signal), followRuntime(), sweep(), upkeep()]);
  }

  async function followRuntime(): Promise<void> {
    for await (const event of runtime.events(signal))
      queue.add(event.sandboxId.slice(0, event.sandboxId.lastIndexOf('_')));
  }

  function upkeep(): Promise<void> {
    return keepVolumes(
      {
        everyMs: config.volumeSeconds * 1000,
        clock,
        pods: () => pods.list(),
        folder: volumes.folder,
        look: (uid) => queue.add(uid),
        fail: (pod, why) => worker.fail(pod, why),
      },
      signal,
    );
  }

  /** What events might have missed, and left-overs: looked at about once a minute. */
  async function sweep(): Promise<void> {
    while (!signal.aborted) {
      await pause(clock, 60_000, signal);
      if (signal.aborted) return;
      for (const uid of await worker.knownUids()) queue.add(uid);
    }
  }

  let failure: string | undefined;
  const closed = work.catch((error: unknown) => {
    if (signal.aborted) return;
    failure = error instanceof Error ? error.message : String(error);
    log.error('the node agent stopped', { error: failure });
  });
  startSignal.throwIfAborted();

  return {
    metrics: () => agentMetrics({ nodeName, runtime, overlay, usage, evictions: pressure.evictions }),
    status: () => ({
      ready: isRegistered && failure === undefined && network.problem() === undefined,
      reason: failure ?? (isRegistered ? network.problem() : 'waiting for the API server'),
    }),
    [Symbol.asyncDispose]: async () => {
      if (signal.aborted) return;
      stop.abort(new Error('the node agent stops'));
      worker.close();
      view.close();
      await closed;
      await record.idle();
      for (const informer of [pods, self, peers, services] as Informer<KubernetesObject>[]) informer.close();
    },
  };
}
