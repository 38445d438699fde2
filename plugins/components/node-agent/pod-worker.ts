/**
 * Makes one node's pods true: for each pod uid, compares what the API wants with what the runtime has, does the next
 * steps, and writes the status. Level-triggered: every call of `sync` starts from the two states, so an agent that was
 * killed at any point goes on from there. Owns the pods' sandboxes, containers, attachments, and folders.
 */
import type { Pod } from '../../../kernel/contract/kubernetes.ts';
import { isPintleError, type Container, type Sandbox } from '../../../kernel/contract/index.ts';
import { resources } from '../../../kernel/machinery/resources.ts';
import type { SpecSources } from './container-spec.ts';
import { ContainerStarts } from './container-starts.ts';
import { dnsConfig, etcHosts } from './pod-files.ts';
import {
  newPodMemory,
  retryDelay,
  type PodMemory,
  type PodWorkerServices,
  type PodWorkerSettings,
} from './pod-memory.ts';
import { startProbes } from './probes.ts';
import { attemptsOf, isInitialized, isSidecar, isTerminalPhase, podStatus, type PodObservation } from './pod-status.ts';

const uidLabel = 'io.kubernetes.pod.uid';

const attemptOf = (sandbox: Sandbox) => Number(sandbox.id.slice(sandbox.id.lastIndexOf('_') + 1)) || 0;

export class PodWorker {
  readonly #settings: PodWorkerSettings;
  readonly #services: PodWorkerServices;
  readonly #starts: ContainerStarts;
  readonly #memory = new Map<string, PodMemory>();

  constructor(settings: PodWorkerSettings, services: PodWorkerServices) {
    this.#settings = settings;
    this.#services = services;
    this.#starts = new ContainerStarts(settings, services);
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
      memory = newPodMemory();
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
      await this.#starts.advance(pod, memory, sandbox, containers, paths, sources);
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
      this.#services.again(uid, retryDelay(memory, '', this.#services.clock.now()));
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
}
