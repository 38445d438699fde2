/**
 * Makes one node's pods true: for each pod uid, compares what the API wants with what the runtime has, does the next
 * steps, and writes the status. Level-triggered: every call of `sync` starts from the two states, so an agent that was
 * killed at any point goes on from there. Owns the pods' sandboxes, containers, attachments, and folders.
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Container as ContainerDefinition, Pod } from '../../../kernel/contract/kubernetes.ts';
import {
  isPintleError,
  type Attached,
  type Attachment,
  type Clock,
  type Cluster,
  type Container,
  type Logger,
  type Runtime,
  type Sandbox,
} from '../../../kernel/contract/index.ts';
import { resources } from '../../../kernel/machinery/resources.ts';
import { containerSpec, type SpecSources } from './container-spec.ts';
import { startProbes, type ContainerProbes } from './probes.ts';
import { dnsConfig, etcHosts, type DnsSettings } from './pod-files.ts';
import {
  attemptsOf,
  isInitialized,
  isSidecar,
  isTerminalPhase,
  podStatus,
  type PodObservation,
  type Problem,
} from './pod-status.ts';
import type { PodVolumes } from './volumes.ts';

export interface PodWorkerSettings {
  readonly nodeName: string;
  readonly hostIps: readonly string[];
  readonly logFolder: string;
  readonly maxLogBytes: number;
  readonly maxLogFiles: number;
  readonly backoffMs: number;
  readonly maxBackoffMs: number;
  readonly dns: DnsSettings;
  readonly attachmentCapabilities: readonly string[];
}

export interface PodWorkerServices {
  readonly cluster: Cluster;
  readonly runtime: Runtime;
  readonly attachment: Attachment;
  readonly volumes: PodVolumes;
  readonly sources: Omit<SpecSources, 'podIps' | 'hostIps'>;
  readonly clock: Clock;
  readonly log: Logger;
  record(pod: Pod, type: 'Normal' | 'Warning', reason: string, message: string): void;
  /** The pod that the API wants here; undefined when it wants none. */
  desired(uid: string): Pod | undefined;
  /** Undefined when pods can be connected; otherwise why not yet. */
  networkProblem(): string | undefined;
  /** Ask for another `sync` of this pod. */
  again(uid: string, afterMs?: number): void;
}

/** What the agent remembers of a pod between syncs; all of it can be lost. */
interface PodMemory {
  attached: Attached | undefined;
  readonly problems: Map<string, Problem>;
  readonly probes: Map<string, { readonly containerId: string; readonly live: ContainerProbes }>;
  /** Container name → when it may be started again, and the delay that led there. */
  readonly backoff: Map<string, { readonly untilMs: number; readonly delayMs: number }>;
  /** Ids of containers that are being stopped. */
  readonly stopping: Set<string>;
  failure: Problem | undefined;
  lastStatus: string | undefined;
  lastPod: Pod | undefined;
}

const uidLabel = 'io.kubernetes.pod.uid';

const attemptOf = (sandbox: Sandbox) => Number(sandbox.id.slice(sandbox.id.lastIndexOf('_') + 1)) || 0;

export class PodWorker {
  readonly #settings: PodWorkerSettings;
  readonly #services: PodWorkerServices;
  readonly #memory = new Map<string, PodMemory>();

  constructor(settings: PodWorkerSettings, services: PodWorkerServices) {
    this.#settings = settings;
    this.#services = services;
  }

  /** Uids with anything left on the node, for the sweep after a restart. */
  async knownUids(): Promise<ReadonlySet<string>> {
    const sandboxes = await this.#services.runtime.listSandboxes();
    return new Set([...sandboxes.map((sandbox) => sandbox.podUid), ...this.#memory.keys()]);
  }

  podIps(uid: string): readonly string[] {
    const pod = this.#services.desired(uid);
    if (pod?.spec.hostNetwork) return this.#settings.hostIps;
    return this.#memory.get(uid)?.attached?.ips ?? [];
  }

  close(): void {
    for (const memory of this.#memory.values()) for (const probes of memory.probes.values()) probes.live.stop();
  }

  async sync(uid: string): Promise<void> {
    const { runtime } = this.#services;
    const memory = this.#remember(uid);
    const sandboxes = (await runtime.listSandboxes())
      .filter((sandbox) => sandbox.podUid === uid)
      .sort((a, b) => attemptOf(b) - attemptOf(a));
    const containers: Container[] = [];
    for (const sandbox of sandboxes) containers.push(...(await runtime.listContainers(sandbox.id)));

    const pod = this.#services.desired(uid);
    if (pod) memory.lastPod = pod;
    if (!pod || pod.metadata.deletionTimestamp) {
      const isGone = await this.#terminate(uid, memory, pod, sandboxes, containers);
      if (isGone && pod) await this.#confirmDeletion(pod);
      return;
    }
    if (isTerminalPhase(pod.status?.phase)) {
      await this.#release(uid, memory, sandboxes, containers, 0);
      return;
    }
    const sandbox = await this.#run(pod, memory, sandboxes, containers);
    await this.#report(pod, memory, sandbox);
  }

  #remember(uid: string): PodMemory {
    let memory = this.#memory.get(uid);
    if (!memory) {
      memory = {
        attached: undefined,
        problems: new Map(),
        probes: new Map(),
        backoff: new Map(),
        stopping: new Set(),
        failure: undefined,
        lastStatus: undefined,
        lastPod: undefined,
      };
      this.#memory.set(uid, memory);
    }
    return memory;
  }

  // ---- running -----------------------------------------------------------------------------------------------------

  async #run(
    pod: Pod,
    memory: PodMemory,
    sandboxes: readonly Sandbox[],
    containers: readonly Container[],
  ): Promise<Sandbox | undefined> {
    const { runtime, volumes } = this.#services;
    const uid = pod.metadata.uid;
    try {
      const sandbox = await this.#ensureSandbox(pod, memory, sandboxes);
      if (!sandbox) return undefined;
      const sources = this.#sourcesFor(uid);
      const paths = await volumes.prepare(pod, sources);
      this.#watchProbes(pod, memory, containers);
      await this.#advance(pod, memory, sandbox, containers, paths, sources);
      this.#watchProbes(pod, memory, await runtime.listContainers(sandbox.id));
      return sandbox;
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      if (!isPintleError(error))
        this.#services.log.error('pod sync failed', {
          pod: `${pod.metadata.namespace}/${pod.metadata.name}`,
          error: message,
        });
      const isMount = message.startsWith('MountVolume');
      this.#services.record(pod, 'Warning', isMount ? 'FailedMount' : 'FailedSync', message);
      this.#services.again(uid, this.#nextDelay(memory, ''));
      return sandboxes[0];
    }
  }

  #sourcesFor(uid: string): SpecSources {
    const sources = this.#services.sources;
    return {
      configMap: sources.configMap,
      secret: sources.secret,
      serviceVariables: sources.serviceVariables,
      nodeAllocatable: sources.nodeAllocatable,
      podIps: this.podIps(uid),
      hostIps: this.#settings.hostIps,
    };
  }

  async #ensureSandbox(pod: Pod, memory: PodMemory, sandboxes: readonly Sandbox[]): Promise<Sandbox | undefined> {
    const { runtime, attachment } = this.#services;
    const uid = pod.metadata.uid;
    const isHost = pod.spec.hostNetwork ?? false;
    if (!isHost && !memory.attached) {
      const problem = this.#services.networkProblem();
      if (problem !== undefined) {
        this.#services.record(pod, 'Warning', 'NetworkNotReady', `network is not ready: ${problem}`);
        this.#services.again(uid, 1000);
        return undefined;
      }
    }
    let sandbox = sandboxes[0];
    if (sandbox && !sandbox.ready) {
      // Its containers ended with it; a new one starts the pod's containers again under the restart policy.
      memory.attached = undefined;
      await attachment.remove({ sandboxId: sandbox.id });
    }
    if (!sandbox?.ready) {
      const id = `${uid}_${sandbox ? attemptOf(sandbox) + 1 : 0}`;
      if (sandbox)
        this.#services.record(
          pod,
          'Normal',
          'SandboxChanged',
          'Pod sandbox changed, it will be killed and re-created.',
        );
      sandbox = await runtime.ensureSandbox({
        id,
        podNamespace: pod.metadata.namespace,
        podName: pod.metadata.name,
        podUid: uid,
        hostname: isHost ? this.#settings.nodeName : (pod.spec.hostname ?? pod.metadata.name).slice(0, 63),
        labels: { ...pod.metadata.labels, [uidLabel]: uid },
        hostNetwork: isHost,
        hostIpc: pod.spec.hostIPC ?? false,
        hostPid: pod.spec.hostPID ?? false,
        resolvConf: dnsConfig(pod, this.#settings.dns),
        etcHosts: etcHosts(pod, [], this.#settings.dns.clusterDomain),
        sysctls: Object.fromEntries((pod.spec.securityContext?.sysctls ?? []).map((each) => [each.name, each.value])),
      });
    }
    if (!isHost && !memory.attached) {
      memory.attached = await attachment.add({
        sandboxId: sandbox.id,
        podNamespace: pod.metadata.namespace,
        podName: pod.metadata.name,
        netns: sandbox.netns!,
        hostPorts: this.#hostPorts(pod),
      });
    }
    return sandbox;
  }

  #hostPorts(pod: Pod) {
    if (!this.#settings.attachmentCapabilities.includes('host-ports')) return [];
    return pod.spec.containers.flatMap((container) =>
      (container.ports ?? [])
        .filter((port) => port.hostPort)
        .map((port) => ({
          hostIp: port.hostIP || undefined,
          hostPort: port.hostPort!,
          containerPort: port.containerPort,
          protocol: (port.protocol ?? 'TCP') as 'TCP' | 'UDP' | 'SCTP',
        })),
    );
  }

  /** Init containers one after the other, then the others; restarts by policy. */
  async #advance(
    pod: Pod,
    memory: PodMemory,
    sandbox: Sandbox,
    containers: readonly Container[],
    paths: ReadonlyMap<string, string>,
    sources: SpecSources,
  ): Promise<void> {
    const policy = pod.spec.restartPolicy ?? 'Always';
    const start = (definition: ContainerDefinition, attempt: number) =>
      this.#start(pod, memory, sandbox, definition, attempt, paths, sources);
    const restart = async (definition: ContainerDefinition, latest: Container, allowed: boolean) => {
      if (latest.state !== 'exited' || !allowed) return;
      const backoff = this.#backoffFor(memory, definition.name, latest);
      const waitMs = backoff.untilMs - this.#services.clock.now();
      if (waitMs > 0) {
        memory.problems.set(definition.name, {
          reason: 'CrashLoopBackOff',
          message: `back-off ${Math.round(backoff.delayMs / 1000)}s restarting failed container=${definition.name} pod=${pod.metadata.name}_${pod.metadata.namespace}(${pod.metadata.uid})`,
        });
        if (backoff.isNew) {
          this.#services.record(
            pod,
            'Warning',
            'BackOff',
            `Back-off restarting failed container ${definition.name} in pod ${pod.metadata.name}_${pod.metadata.namespace}(${pod.metadata.uid})`,
          );
        }
        this.#services.again(pod.metadata.uid, waitMs);
        return;
      }
      await start(definition, latest.attempt + 1);
    };

    const anyMainStarted = pod.spec.containers.some((definition) => attemptsOf(containers, definition.name).length > 0);
    for (const definition of pod.spec.initContainers ?? []) {
      const [latest] = attemptsOf(containers, definition.name);
      if (isSidecar(definition)) {
        if (!latest) await start(definition, 0);
        else await restart(definition, latest, true);
        if (!anyMainStarted && !memory.probes.get(definition.name)?.live.started && definition.startupProbe) return;
        continue;
      }
      // A restarted agent may have collected the record of an init container whose work the running pod proves done.
      if (anyMainStarted) continue;
      if (!latest) return start(definition, 0);
      if (latest.state !== 'exited') return;
      if (latest.exitCode === 0) continue;
      return restart(definition, latest, policy !== 'Never');
    }
    for (const definition of pod.spec.containers) {
      const [latest] = attemptsOf(containers, definition.name);
      if (!latest) await start(definition, 0);
      else await restart(definition, latest, policy === 'Always' || (policy === 'OnFailure' && latest.exitCode !== 0));
      await this.#collectDead(containers, definition.name);
    }
  }

  /** Of the attempts that ended, the last two stay, for `logs --previous` and lastState. */
  async #collectDead(containers: readonly Container[], name: string): Promise<void> {
    for (const old of attemptsOf(containers, name).slice(2)) await this.#services.runtime.removeContainer(old.id);
  }

  /** Doubles with each restart up to the maximum; starts over once a container has run for ten minutes. */
  #backoffFor(memory: PodMemory, name: string, latest: Container) {
    const finishedMs = latest.finishedMs ?? this.#services.clock.now();
    const known = memory.backoff.get(name);
    if (known && known.untilMs >= finishedMs) return { ...known, isNew: false };
    const ranMs = finishedMs - (latest.startedMs ?? finishedMs);
    const isFirst = latest.attempt === 0 && !known;
    const previous = ranMs > 600_000 ? 0 : (known?.delayMs ?? 0);
    // The first restart is immediate, as in Kubernetes.
    const delayMs = isFirst
      ? 0
      : Math.min(previous === 0 ? this.#settings.backoffMs : previous * 2, this.#settings.maxBackoffMs);
    const next = { untilMs: finishedMs + delayMs, delayMs };
    memory.backoff.set(name, next);
    return { ...next, isNew: delayMs > 0 };
  }

  #nextDelay(memory: PodMemory, name: string): number {
    const known = memory.backoff.get(name);
    const delayMs = Math.min(known ? known.delayMs * 2 : 500, 30_000);
    memory.backoff.set(name, { untilMs: this.#services.clock.now() + delayMs, delayMs });
    return delayMs;
  }

  async #start(
    pod: Pod,
    memory: PodMemory,
    sandbox: Sandbox,
    definition: ContainerDefinition,
    attempt: number,
    paths: ReadonlyMap<string, string>,
    sources: SpecSources,
  ): Promise<void> {
    const { runtime, volumes } = this.#services;
    const { name } = definition;
    const uid = pod.metadata.uid;
    if (!(await this.#ensureImage(pod, memory, definition))) return;
    const { namespace } = pod.metadata;
    try {
      const mounts = [...(await volumes.mounts(definition, paths))];
      if (!mounts.some((mount) => mount.containerPath === '/etc/hosts') && !pod.spec.hostNetwork) {
        const hostPath = await this.#writeHosts(pod, sources.podIps);
        mounts.push({ hostPath, containerPath: '/etc/hosts', readOnly: false });
      }
      const spec = await containerSpec(pod, definition, sources, {
        id: `${uid}_${name}_${attempt}`,
        sandboxId: sandbox.id,
        attempt,
        logPath: join(this.logFolder(namespace, pod.metadata.name, uid), name, `${attempt}.log`),
        maxLogBytes: this.#settings.maxLogBytes,
        maxLogFiles: this.#settings.maxLogFiles,
        mounts,
      });
      await runtime.startContainer(spec);
      memory.problems.delete(name);
      this.#services.record(pod, 'Normal', 'Started', `Started container ${name}`);
    } catch (error) {
      if (!isPintleError(error, 'CONTAINER_INVALID', 'CONTAINER_START_FAILED', 'IMAGE_NOT_FOUND')) throw error;
      const isConfig = error.code === 'CONTAINER_INVALID';
      memory.problems.set(name, {
        reason: isConfig ? 'CreateContainerConfigError' : 'RunContainerError',
        message: error.message,
      });
      this.#services.record(pod, 'Warning', 'Failed', `Error: ${error.message}`);
      // A failed start is on record as an exited container and restarts by policy; a spec that cannot be built is tried again.
      this.#services.again(uid, isConfig ? this.#nextDelay(memory, `config/${name}`) : 0);
    }
  }

  async #writeHosts(pod: Pod, podIps: readonly string[]): Promise<string> {
    const folder = this.#services.volumes.folder(pod.metadata.uid);
    await mkdir(folder, { recursive: true });
    const path = join(folder, 'etc-hosts');
    await writeFile(path, etcHosts(pod, podIps, this.#settings.dns.clusterDomain), { mode: 0o644 });
    return path;
  }

  async #ensureImage(pod: Pod, memory: PodMemory, definition: ContainerDefinition): Promise<boolean> {
    const { runtime } = this.#services;
    const image = definition.image ?? '';
    const present = await runtime.imageStatus(image);
    const policy = definition.imagePullPolicy ?? 'IfNotPresent';
    if (present && policy !== 'Always') return true;
    if (!present && policy === 'Never') {
      const message = `Container image "${image}" is not present with pull policy of Never`;
      this.#services.record(pod, 'Warning', 'ErrImageNeverPull', message);
      memory.problems.set(definition.name, { reason: 'ErrImageNeverPull', message });
      this.#services.again(pod.metadata.uid, this.#nextDelay(memory, `image/${definition.name}`));
      return false;
    }
    const waiting = memory.backoff.get(`image/${definition.name}`);
    if (waiting && waiting.untilMs > this.#services.clock.now()) {
      memory.problems.set(definition.name, {
        reason: 'ImagePullBackOff',
        message: `Back-off pulling image "${image}"`,
      });
      this.#services.again(pod.metadata.uid, waiting.untilMs - this.#services.clock.now());
      return false;
    }
    try {
      if (!present) this.#services.record(pod, 'Normal', 'Pulling', `Pulling image "${image}"`);
      await runtime.pullImage(image);
      if (!present) this.#services.record(pod, 'Normal', 'Pulled', `Successfully pulled image "${image}"`);
      memory.backoff.delete(`image/${definition.name}`);
      return true;
    } catch (error) {
      if (!isPintleError(error)) throw error;
      const message = `Failed to pull image "${image}": ${error.message}`;
      this.#services.record(pod, 'Warning', 'Failed', message);
      memory.problems.set(definition.name, { reason: 'ErrImagePull', message });
      this.#services.again(pod.metadata.uid, this.#nextDelay(memory, `image/${definition.name}`));
      return false;
    }
  }

  /** Starts the probes of running containers, ends those of others, and stops containers whose probe has failed. */
  #watchProbes(pod: Pod, memory: PodMemory, containers: readonly Container[]): void {
    const uid = pod.metadata.uid;
    for (const definition of [...(pod.spec.initContainers ?? []), ...pod.spec.containers]) {
      const [latest] = attemptsOf(containers, definition.name);
      const known = memory.probes.get(definition.name);
      if (known && (known.containerId !== latest?.id || latest.state !== 'running')) {
        known.live.stop();
        memory.probes.delete(definition.name);
      }
      if (latest?.state !== 'running') continue;
      let probes = memory.probes.get(definition.name);
      if (!probes) {
        const live = startProbes(
          {
            containerId: latest.id,
            container: definition,
            startedMs: latest.startedMs ?? this.#services.clock.now(),
            podIp: () => this.podIps(uid)[0] ?? '127.0.0.1',
          },
          { runtime: this.#services.runtime, clock: this.#services.clock },
          () => this.#services.again(uid),
          (kind, message) =>
            this.#services.record(
              pod,
              'Warning',
              'Unhealthy',
              `${kind[0]!.toUpperCase()}${kind.slice(1)} probe failed: ${message}`,
            ),
        );
        probes = { containerId: latest.id, live };
        memory.probes.set(definition.name, probes);
      }
      const { failure } = probes.live;
      if (failure && !memory.stopping.has(latest.id)) {
        this.#services.record(
          pod,
          'Normal',
          'Killing',
          `Container ${definition.name} failed ${failure.kind} probe, will be restarted`,
        );
        this.#stopLater(uid, memory, latest, (pod.spec.terminationGracePeriodSeconds ?? 30) * 1000);
      }
    }
  }

  /** Stops without holding up the pod's queue; `again` is called when it has ended. */
  #stopLater(uid: string, memory: PodMemory, container: Container, graceMs: number): void {
    memory.stopping.add(container.id);
    void this.#services.runtime
      .stopContainer(container.id, graceMs)
      .catch((error: unknown) =>
        this.#services.log.error('cannot stop container', { container: container.id, error: String(error) }),
      )
      .finally(() => {
        memory.stopping.delete(container.id);
        this.#services.again(uid);
      });
  }

  // ---- ending ------------------------------------------------------------------------------------------------------

  /** Resolves to true when nothing of the pod is left on the node. */
  async #terminate(
    uid: string,
    memory: PodMemory,
    pod: Pod | undefined,
    sandboxes: readonly Sandbox[],
    containers: readonly Container[],
  ): Promise<boolean> {
    const graceSeconds = pod?.metadata.deletionGracePeriodSeconds ?? (pod ? 30 : 0);
    const isDown = await this.#release(uid, memory, sandboxes, containers, graceSeconds * 1000);
    if (!isDown) return false;
    if (pod) await this.#report(pod, memory, undefined);
    for (const sandbox of sandboxes) await this.#services.runtime.removeSandbox(sandbox.id);
    await this.#services.volumes.remove(uid);
    this.#memory.delete(uid);
    return true;
  }

  /** Ends containers, probes and network; keeps records and logs. True when all containers have ended. */
  async #release(
    uid: string,
    memory: PodMemory,
    sandboxes: readonly Sandbox[],
    containers: readonly Container[],
    graceMs: number,
  ): Promise<boolean> {
    const { runtime, attachment } = this.#services;
    for (const probes of memory.probes.values()) probes.live.stop();
    memory.probes.clear();
    const sidecars = new Set((memory.lastPod?.spec.initContainers ?? []).filter(isSidecar).map((each) => each.name));
    const running = containers.filter((container) => container.state === 'running');
    const mains = running.filter((container) => !sidecars.has(container.name));
    // Sidecars outlive the containers that they serve.
    for (const container of mains.length > 0 ? mains : running) {
      if (memory.stopping.has(container.id)) continue;
      if (memory.lastPod)
        this.#services.record(memory.lastPod, 'Normal', 'Killing', `Stopping container ${container.name}`);
      this.#stopLater(uid, memory, container, graceMs);
    }
    if (running.length > 0) return false;
    for (const sandbox of sandboxes) {
      await attachment.remove({ sandboxId: sandbox.id, netns: sandbox.netns });
      if (sandbox.ready) await runtime.stopSandbox(sandbox.id);
    }
    memory.attached = undefined;
    return true;
  }

  async #confirmDeletion(pod: Pod): Promise<void> {
    const { namespace, name, uid } = pod.metadata;
    try {
      await this.#services.cluster.delete(
        resources.pods,
        { namespace, name },
        { gracePeriodSeconds: 0, preconditions: { uid } },
      );
    } catch (error) {
      if (!isPintleError(error, 'NOT_FOUND', 'CONFLICT')) throw error;
    }
  }

  // ---- status ------------------------------------------------------------------------------------------------------

  async #report(pod: Pod, memory: PodMemory, sandbox: Sandbox | undefined): Promise<void> {
    const { runtime, cluster, clock } = this.#services;
    const uid = pod.metadata.uid;
    const containers: Container[] = [];
    for (const each of await runtime.listSandboxes()) {
      if (each.podUid === uid) containers.push(...(await runtime.listContainers(each.id)));
    }
    const probes = [...memory.probes];
    const observation: PodObservation = {
      containers,
      podIps: this.podIps(uid).length > 0 ? this.podIps(uid) : (pod.status?.podIPs ?? []).map((each) => each.ip),
      hostIps: this.#settings.hostIps,
      sandboxReady: sandbox?.ready ?? false,
      problems: memory.problems,
      started: new Set(probes.filter(([, each]) => each.live.started).map(([name]) => name)),
      ready: new Set(probes.filter(([, each]) => each.live.ready).map(([name]) => name)),
      nowMs: clock.now(),
      failure: memory.failure,
    };
    const status = podStatus(pod, observation);
    const text = JSON.stringify(status);
    if (text === memory.lastStatus || text === JSON.stringify(pod.status)) return;
    try {
      await cluster.patch(
        resources.pods,
        { namespace: pod.metadata.namespace, name: pod.metadata.name },
        { kind: 'merge', body: { metadata: { uid }, status } },
        { subresource: 'status' },
      );
      memory.lastStatus = text;
    } catch (error) {
      // Gone, or replaced by a pod of the same name: the informer will say so.
      if (!isPintleError(error, 'NOT_FOUND', 'CONFLICT', 'INVALID')) throw error;
      this.#services.log.debug('status not written', { pod: pod.metadata.name, error: error.message });
    }
    if (isTerminalPhase(status.phase) || !isInitialized(pod, observation)) this.#services.again(uid, 0);
  }

  logFolder(namespace: string, name: string, uid: string): string {
    return join(this.#settings.logFolder, `${namespace}_${name}_${uid}`);
  }
}
