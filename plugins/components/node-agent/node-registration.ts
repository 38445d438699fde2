/**
 * This node's own objects in the API: the Node (registration, addresses, capacity, conditions) and its Lease. Owns those
 * two and nothing else; labels, annotations, taints and spec of others are kept.
 */
import { arch, cpus, totalmem } from 'node:os';
import { statfsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import type { Lease, Node, NodeCondition, NodeStatus } from '../../../kernel/contract/kubernetes.ts';
import {
  isPintleError,
  type Clock,
  type Cluster,
  type Image,
  type Logger,
  type Runtime,
} from '../../../kernel/contract/index.ts';
import { pause } from '../../../kernel/machinery/clock.ts';
import { canonicalQuantity } from '../../../kernel/machinery/quantity.ts';
import { resources } from '../../../kernel/machinery/resources.ts';
import type { PressureCondition } from './eviction/thresholds.ts';

export interface NodeSettings {
  readonly nodeName: string;
  readonly addresses: readonly string[];
  readonly labels: Readonly<Record<string, string>>;
  readonly taints: readonly { readonly key: string; readonly value?: string | undefined; readonly effect: string }[];
  readonly maxPods: number;
  readonly leaseSeconds: number;
  readonly statusSeconds: number;
  readonly version: string;
  readonly stateDir: string;
  /** What of the machine is not for pods. */
  readonly reserved: Reserved;
  /** Amounts of memory and disk that must be left; pods may not be promised them. */
  readonly hardThresholds: (signal: 'memory.available' | 'nodefs.available', capacity: number) => number;
}

export interface Reserved {
  readonly cpuMillis: number;
  readonly memoryBytes: number;
}

export interface NodeServices {
  readonly cluster: Cluster;
  readonly runtime: Runtime;
  readonly clock: Clock;
  readonly log: Logger;
  /** This node as it was last seen; undefined when that is not known. */
  node(): Node | undefined;
  /** Why the node's network is not ready; undefined when it is. */
  networkProblem(): string | undefined;
  /** What the node is short of. */
  pressures(): readonly PressureCondition[];
}

/** Asking takes a millisecond or two, and the kernel's answer does not change under a running node. */
const cpuCount = cpus().length;

const leaseNamespace = 'kube-node-lease';
/** A connection may be dead without a word: a renewal that gets no answer is given up, and the next takes a new one. */
const renewalPatienceMs = 5000;
const lookMs = 10_000;
const firstRetryMs = 500;

const text = (path: string) =>
  readFile(path, 'utf8').then(
    (content) => content.trim(),
    () => '',
  );

/** All that a status says, but for the times at which it says so. */
function plainOf(status: NodeStatus): string {
  const conditions = (status.conditions ?? []).map(({ type, status: value, reason, message }) => ({
    ...{ type, value, reason, message },
  }));
  return JSON.stringify({ ...status, conditions });
}

/** Somebody else says otherwise of this node: the controller that had not heard from it for a while. */
function isContradicted(own: NodeStatus, { status }: Node): boolean {
  return (status?.conditions ?? []).some(
    (written) => own.conditions?.find(({ type }) => type === written.type)?.status !== written.status,
  );
}

async function osImage(): Promise<string> {
  return /^PRETTY_NAME="?([^"\n]*)/m.exec(await text('/etc/os-release'))?.[1] ?? 'Linux';
}

export class NodeRegistration {
  readonly #settings: NodeSettings;
  readonly #services: NodeServices;
  /** What the API has, so that a tick without news writes nothing but the lease. */
  #lastWritten = '';
  #lastWrittenMs = 0;
  #lease: Lease | undefined;
  /** As the runtime last told them. */
  #images: readonly Image[] = [];
  #facts: NodeStatus['nodeInfo'];
  allocatable: Readonly<Record<string, string>> = {};

  constructor(settings: NodeSettings, services: NodeServices) {
    this.#settings = settings;
    this.#services = services;
  }

  /** Creates the Node, or takes over the one of that name. Retries until the API answers. */
  async register(signal: AbortSignal): Promise<Node> {
    const { cluster, clock, log } = this.#services;
    for (let delayMs = 50; ; delayMs = Math.min(delayMs * 2, 5000)) {
      try {
        return await this.#registerOnce(cluster);
      } catch (error) {
        if (isPintleError(error, 'FORBIDDEN', 'UNAUTHORIZED', 'INVALID')) throw error;
        log.debug('node not registered yet', { error: String(error) });
        await clock.sleep(delayMs, signal);
      }
    }
  }

  async #registerOnce(cluster: Cluster): Promise<Node> {
    const { nodeName, labels, taints } = this.#settings;
    const wanted = {
      'kubernetes.io/hostname': nodeName,
      'kubernetes.io/os': 'linux',
      'kubernetes.io/arch': arch() === 'x64' ? 'amd64' : arch(),
      ...labels,
    };
    try {
      const node = await cluster.get(resources.nodes, { name: nodeName });
      return await cluster.patch(
        resources.nodes,
        { name: nodeName },
        { kind: 'merge', body: { metadata: { labels: { ...node.metadata.labels, ...wanted } } } },
      );
    } catch (error) {
      if (!isPintleError(error, 'NOT_FOUND')) throw error;
    }
    const status = await this.#status(undefined);
    const created = await cluster.create(resources.nodes, {
      metadata: { name: nodeName, labels: wanted },
      spec: taints.length > 0 ? { taints: taints.map((taint) => ({ ...taint, value: taint.value ?? '' })) } : {},
      status,
    });
    this.#lastWritten = plainOf(status);
    this.#lastWrittenMs = this.#services.clock.now();
    return created;
  }

  /** Renews the lease and refreshes the status until aborted; `poke` writes the status at once. */
  async run(
    signal: AbortSignal,
    poked: { wait(ms: number, signal: AbortSignal): Promise<void>; ring(): void },
  ): Promise<void> {
    const { cluster, clock, log } = this.#services;
    const attempt = async (what: string, work: () => Promise<void>): Promise<boolean> => {
      try {
        await work();
        return true;
      } catch (error) {
        if (!signal.aborted) log.warn(`${what} failed, will be retried`, { error: String(error) });
        return false;
      }
    };
    const renew = async () => {
      for (let wasHeard = true; !signal.aborted;) {
        const isHeard = await attempt('lease renewal', () => this.#renewLease());
        // Meanwhile this node may have been given up: what it says of itself is said anew, at once.
        if (isHeard && !wasHeard) {
          this.#lastWritten = '';
          poked.ring();
        }
        wasHeard = isHeard;
        await pause(clock, (this.#settings.leaseSeconds * 1000) / 4, signal);
      }
    };
    const report = async () => {
      for (let failures = 0; !signal.aborted;) {
        const isWritten = await attempt('node status', async () => {
          try {
            await this.writeStatus();
          } catch (error) {
            if (!isPintleError(error, 'NOT_FOUND')) throw error;
            // Somebody deleted the Node; as long as its agent lives it comes back.
            await this.#registerOnce(cluster);
          }
        });
        failures = isWritten ? 0 : failures + 1;
        // News that did not get through do not wait as long as no news. Rejects when the signal aborts, which ends the loop.
        const waitMs = isWritten ? lookMs : Math.min(firstRetryMs * 2 ** (failures - 1), lookMs);
        await poked.wait(waitMs, signal).catch(() => undefined);
      }
    };
    await Promise.all([renew(), report()]);
  }

  async writeStatus(): Promise<void> {
    const { cluster, clock } = this.#services;
    const { nodeName, statusSeconds } = this.#settings;
    const now = clock.now();
    const isNews = (status: NodeStatus, written: Node): boolean =>
      plainOf(status) !== this.#lastWritten ||
      now - this.#lastWrittenMs >= statusSeconds * 1000 ||
      isContradicted(status, written);
    // A thousand idle nodes ask the server nothing: whether there is news is seen from the copy at hand.
    const known = this.#services.node();
    if (known !== undefined && !isNews(await this.#status(known), known)) return;
    const node = await cluster.get(resources.nodes, { name: nodeName });
    const status = await this.#status(node);
    if (!isNews(status, node)) return;
    await cluster.patch(
      resources.nodes,
      { name: nodeName },
      { kind: 'merge', body: { status } },
      { subresource: 'status' },
    );
    this.#lastWritten = plainOf(status);
    this.#lastWrittenMs = now;
  }

  async #status(node: Node | undefined): Promise<NodeStatus> {
    const { runtime, clock } = this.#services;
    const { addresses, nodeName, maxPods, stateDir } = this.#settings;
    // Its own folder, on a disk of the node: the kernel answers from memory, another thread would take ten times as long.
    const disk = statfsSync(stateDir);
    const diskBytes = disk.bsize * disk.blocks;
    const capacity = {
      cpu: String(cpuCount),
      memory: `${Math.floor(totalmem() / 1024)}Ki`,
      pods: String(maxPods),
      'ephemeral-storage': `${Math.floor(diskBytes / 1024)}Ki`,
      'hugepages-1Gi': '0',
      'hugepages-2Mi': '0',
    };
    const { reserved, hardThresholds } = this.#settings;
    const left = (bytes: number): string => `${Math.floor(Math.max(0, bytes) / 1024)}Ki`;
    this.allocatable = {
      ...capacity,
      cpu: canonicalQuantity(`${Math.max(0, cpuCount * 1000 - reserved.cpuMillis)}m`),
      memory: left(totalmem() - reserved.memoryBytes - hardThresholds('memory.available', totalmem())),
      'ephemeral-storage': left(diskBytes - hardThresholds('nodefs.available', diskBytes)),
    };
    this.#facts ??= {
      machineID: await text('/etc/machine-id'),
      systemUUID: (await text('/sys/class/dmi/id/product_uuid')) || (await text('/etc/machine-id')),
      bootID: await text('/proc/sys/kernel/random/boot_id'),
      kernelVersion: await text('/proc/sys/kernel/osrelease'),
      osImage: await osImage(),
      containerRuntimeVersion: runtime.status().version,
      kubeletVersion: this.#settings.version,
      kubeProxyVersion: '',
      operatingSystem: 'linux',
      architecture: arch() === 'x64' ? 'amd64' : arch(),
    };
    const runtimeStatus = runtime.status();
    const network = this.#services.networkProblem();
    const problems = [
      ...(runtimeStatus.ready ? [] : [`container runtime is not ready: ${runtimeStatus.reason ?? 'unknown'}`]),
      ...(network === undefined ? [] : [`container runtime network not ready: ${network}`]),
    ];
    const nowIso = new Date(clock.now()).toISOString().replace(/\.\d+Z$/, 'Z');
    const condition = (type: string, isTrue: boolean, reason: string, message: string): NodeCondition => {
      const status = isTrue ? 'True' : 'False';
      const before = node?.status?.conditions?.find((each) => each.type === type);
      const lastTransitionTime = before?.status === status ? (before.lastTransitionTime ?? nowIso) : nowIso;
      return { type, status, reason, message, lastHeartbeatTime: nowIso, lastTransitionTime };
    };
    const pressures = this.#services.pressures();
    const pressure = (type: PressureCondition, trouble: string, fine: string): NodeCondition => {
      const isThere = pressures.includes(type);
      const [reason, ...words] = (isThere ? trouble : fine).split(' ');
      return condition(type, isThere, reason!, `kubelet ${words.join(' ')}`);
    };
    const own = [
      pressure(
        'MemoryPressure',
        'KubeletHasInsufficientMemory has insufficient memory available',
        'KubeletHasSufficientMemory has sufficient memory available',
      ),
      pressure(
        'DiskPressure',
        'KubeletHasDiskPressure has disk pressure',
        'KubeletHasNoDiskPressure has no disk pressure',
      ),
      pressure(
        'PIDPressure',
        'KubeletHasInsufficientPID has insufficient PID available',
        'KubeletHasSufficientPID has sufficient PID available',
      ),
      ...(runtimeStatus.limitations.length > 0
        ? [
            condition(
              'ResourceLimitsEnforced',
              !runtimeStatus.limitations.some((each) => /limits/.test(each)),
              'RuntimeLimitations',
              runtimeStatus.limitations.join('; '),
            ),
          ]
        : []),
      condition(
        'Ready',
        problems.length === 0,
        problems.length === 0 ? 'KubeletReady' : 'KubeletNotReady',
        problems.length === 0 ? 'kubelet is posting ready status' : problems.join('; '),
      ),
    ];
    const ownTypes = new Set(own.map((each) => each.type));
    // A runtime that is away must not keep the node from saying so.
    this.#images = await runtime.listImages().catch(() => this.#images);
    return {
      capacity,
      allocatable: this.allocatable,
      conditions: [...(node?.status?.conditions ?? []).filter((each) => !ownTypes.has(each.type)), ...own],
      addresses: [
        ...addresses.map((address) => ({ type: 'InternalIP', address })),
        { type: 'Hostname', address: nodeName },
      ],
      nodeInfo: { ...this.#facts!, containerRuntimeVersion: runtimeStatus.version },
      images: this.#images.slice(0, 50).map((image) => ({ names: [...image.names], sizeBytes: image.sizeBytes })),
    } as NodeStatus;
  }

  async #renewLease(): Promise<void> {
    const { cluster, clock } = this.#services;
    const { nodeName, leaseSeconds } = this.#settings;
    const signal = AbortSignal.timeout(Math.max(renewalPatienceMs, (leaseSeconds * 1000) / 4));
    const renewTime = `${new Date(clock.now()).toISOString().slice(0, -1)}000Z`;
    if (!this.#lease) {
      try {
        this.#lease = await cluster.get(resources.leases, { namespace: leaseNamespace, name: nodeName }, { signal });
      } catch (error) {
        if (!isPintleError(error, 'NOT_FOUND')) throw error;
        const node = await cluster.get(resources.nodes, { name: nodeName });
        this.#lease = await cluster.create(resources.leases, {
          metadata: {
            name: nodeName,
            namespace: leaseNamespace,
            ownerReferences: [{ apiVersion: 'v1', kind: 'Node', name: nodeName, uid: node.metadata.uid }],
          },
          spec: { holderIdentity: nodeName, leaseDurationSeconds: leaseSeconds, renewTime },
        });
        return;
      }
    }
    try {
      const spec = { ...this.#lease.spec, holderIdentity: nodeName, leaseDurationSeconds: leaseSeconds, renewTime };
      this.#lease = await cluster.update(resources.leases, { ...this.#lease, spec }, { signal });
    } catch (error) {
      this.#lease = undefined;
      throw error;
    }
  }
}
