/**
 * Makes one node's pods true: for each pod uid, compares what the API wants with what the runtime has, does the next
 * steps, and writes the status. Level-triggered: every call of `sync` starts from the two states, so an agent that was
 * killed at any point goes on from there. Owns the pods' sandboxes, containers, attachments, and folders.
 */
import type { Pod } from '../../../kernel/contract/kubernetes.ts';
import { isPintleError, type Container, type Sandbox } from '../../../kernel/contract/index.ts';
import { resources } from '../../../kernel/machinery/resources.ts';
import type { SpecSources } from './container-spec.ts';
import { ContainerStarts, messageFile } from './container-starts.ts';
import { ContainerStops } from './container-stops.ts';
import {
  newPodMemory,
  retryDelay,
  type PodMemory,
  type PodWorkerServices,
  type PodWorkerSettings,
} from './pod-memory.ts';
import { admissionProblem } from './pod-admission.ts';
import { PodSandboxes, sandboxFailure } from './pod-sandboxes.ts';
import {
  attemptsOf,
  isOver,
  isSidecar,
  isTerminalPhase,
  lostContainers,
  reportedStatuses,
  unreportedStarts,
  type Problem,
} from './pod-status.ts';
import { startProbes } from './probes.ts';
import { newestPod, StatusWriter } from './status-writer.ts';

export class PodWorker {
  readonly #settings: PodWorkerSettings;
  readonly #services: PodWorkerServices;
  readonly #sandboxes: PodSandboxes;
  readonly #starts: ContainerStarts;
  readonly #stops: ContainerStops;
  readonly #statuses: StatusWriter;
  readonly #memory = new Map<string, PodMemory>();

  constructor(settings: PodWorkerSettings, services: PodWorkerServices) {
    this.#settings = settings;
    this.#services = services;
    this.#sandboxes = new PodSandboxes(settings, services);
    this.#stops = new ContainerStops(services);
    this.#starts = new ContainerStarts(settings, services, this.#stops);
    this.#statuses = new StatusWriter(settings, services, (uid, id) => messageFile(services.volumes.folder(uid), id));
  }

  /** Uids with anything left on the node, for the sweep after a restart. */
  async knownUids(): Promise<ReadonlySet<string>> {
    const { runtime, volumes } = this.#services;
    const sandboxes = await runtime.listSandboxes();
    return new Set([...sandboxes.map((sandbox) => sandbox.podUid), ...(await volumes.list()), ...this.#memory.keys()]);
  }

  close(): void {
    for (const memory of this.#memory.values()) {
      for (const probes of memory.probes.values()) probes.live.stop();
      for (const hook of memory.starting.values()) hook.abort();
    }
  }

  async sync(uid: string): Promise<void> {
    const memory = this.#remember(uid);
    const sandboxes = await this.#sandboxes.of(uid);
    let containers = await this.#containersOf(sandboxes);
    const known = this.#services.desired(uid);
    const pod = known && newestPod(known, memory.written);
    if (pod) memory.lastPod = pod;
    if (!pod || pod.metadata.deletionTimestamp) {
      await this.#terminate(uid, memory, pod, sandboxes, containers);
      return;
    }
    const hasEnded = isTerminalPhase(pod.status?.phase);
    const refusal =
      hasEnded || sandboxes.length > 0 ? undefined : admissionProblem(pod, this.#settings.allowedUnsafeSysctls);
    if (refusal && !memory.failure) this.fail(pod, refusal);
    if (!hasEnded) containers = await this.#forgetLostStarts(pod, memory, this.#withLost(pod, memory, containers));
    if (!hasEnded) this.#refuse(pod, memory, sandboxes);
    if (hasEnded || memory.failure || this.#isPastDeadline(pod, memory) || isOver(pod, containers)) {
      const graceSeconds = graceSecondsOf(pod);
      const shortSeconds = memory.failure?.reason === 'Evicted' ? 1 : graceSeconds;
      const graceMs = Math.min(graceSeconds, memory.failure?.graceSeconds ?? shortSeconds) * 1000;
      const isDown = await this.#release(memory, sandboxes, containers, graceMs);
      if (containers.length > 0 || !hasEnded) {
        const sandbox = isDown ? undefined : sandboxes[0];
        await this.#statuses.write(pod, memory, { sandbox, containers, podIps: [] });
      }
      if (isDown && hasEnded) await this.#services.volumes.clear(uid);
      return;
    }
    const now = await this.#run(pod, memory, sandboxes, containers);
    await this.#statuses.write(pod, memory, { ...now, podIps: this.#podIps(pod, memory) });
    if (isOver(pod, now.containers)) this.#services.again(uid);
  }

  /** Ends a pod for good: it becomes Failed with this reason. */
  fail(pod: Pod, why: Problem): void {
    const memory = this.#remember(pod.metadata.uid);
    if (memory.failure !== undefined) return;
    memory.failure = why;
    this.#services.record(pod, 'Warning', why.reason, why.message ?? '');
    this.#services.again(pod.metadata.uid);
  }

  #remember(uid: string): PodMemory {
    let memory = this.#memory.get(uid);
    if (!memory) {
      memory = newPodMemory();
      this.#memory.set(uid, memory);
    }
    return memory;
  }

  async #containersOf(sandboxes: readonly Sandbox[]): Promise<readonly Container[]> {
    const containers: Container[] = [];
    for (const sandbox of sandboxes) containers.push(...(await this.#services.runtime.listContainers(sandbox.id)));
    return containers;
  }

  /** Containers of the runtime that this node had before count as ended: who shall run once does not run once more. */
  #withLost(pod: Pod, memory: PodMemory, containers: readonly Container[]): readonly Container[] {
    if (memory.lost === undefined) {
      memory.lost = containers.length > 0 ? [] : lostContainers(pod, this.#services.clock.now());
      if (memory.lost.length > 0)
        this.#services.record(
          pod,
          'Normal',
          'SandboxChanged',
          'Pod sandbox changed, it will be killed and re-created.',
        );
    }
    // As the attempt before: of a name that has two on record they are past.
    const isCurrent = ({ id, name }: Container) =>
      containers.every((each) => each.id !== id) && attemptsOf(containers, name).length < 2;
    return memory.lost.length === 0 ? containers : [...containers, ...memory.lost.filter(isCurrent)];
  }

  /** Starts of an earlier agent that came to nothing with it. */
  async #forgetLostStarts(
    pod: Pod,
    memory: PodMemory,
    containers: readonly Container[],
  ): Promise<readonly Container[]> {
    const lost = unreportedStarts(pod, containers).filter(({ id }) => !memory.tried.has(id));
    for (const { id } of lost) await this.#services.runtime.removeContainer(id);
    return containers.filter((each) => !lost.includes(each));
  }

  #podIps(pod: Pod, memory: PodMemory): readonly string[] {
    return pod.spec.hostNetwork ? this.#settings.hostIps : (memory.attached?.ips ?? []);
  }

  /** It has failed, and not all of it has ended. */
  isFailing(uid: string): boolean {
    const memory = this.#memory.get(uid);
    return memory?.failure !== undefined && !isTerminalPhase(memory.written?.status?.phase);
  }

  /** Only what is new to this node is judged: a start time says that it was taken. */
  #refuse(pod: Pod, memory: PodMemory, sandboxes: readonly Sandbox[]): void {
    if (pod.status?.startTime !== undefined || sandboxes.length > 0 || memory.failure !== undefined) return;
    const refusal = this.#services.refusal(pod);
    if (refusal === undefined) return;
    memory.failure = refusal;
    this.#services.record(pod, 'Warning', refusal.reason, refusal.message ?? '');
  }

  /** spec.activeDeadlineSeconds, counted from the pod's start on this node. */
  #isPastDeadline(pod: Pod, memory: PodMemory): boolean {
    const { activeDeadlineSeconds } = pod.spec;
    const startTime = pod.status?.startTime;
    if (activeDeadlineSeconds === undefined || startTime === undefined) return false;
    const leftMs = Date.parse(startTime) + activeDeadlineSeconds * 1000 - this.#services.clock.now();
    if (leftMs > 0) {
      this.#services.again(pod.metadata.uid, leftMs);
      return false;
    }
    const message = 'Pod was active on the node longer than the specified deadline';
    memory.failure = { reason: 'DeadlineExceeded', message };
    this.#services.record(pod, 'Normal', memory.failure.reason, message);
    return true;
  }

  // ---- running -----------------------------------------------------------------------------------------------------

  async #run(
    pod: Pod,
    memory: PodMemory,
    sandboxes: readonly Sandbox[],
    containers: readonly Container[],
  ): Promise<{ readonly sandbox: Sandbox | undefined; readonly containers: readonly Container[] }> {
    const { volumes } = this.#services;
    const uid = pod.metadata.uid;
    try {
      const sandbox = await this.#sandboxes.ensure(pod, memory, sandboxes);
      if (!sandbox) return { sandbox: undefined, containers };
      const sources: SpecSources = {
        configMap: this.#services.sources.configMap,
        secret: this.#services.sources.secret,
        serviceAccountToken: this.#services.sources.serviceAccountToken,
        serviceVariables: this.#services.sources.serviceVariables,
        nodeAllocatable: this.#services.sources.nodeAllocatable,
        podIps: this.#podIps(pod, memory),
        hostIps: this.#settings.hostIps,
      };
      const prepared = await volumes.prepare(pod, sources, (message) =>
        this.#services.record(pod, 'Warning', reasonOf(message), message),
      );
      this.#watchProbes(pod, memory, containers);
      const hasChanged = await this.#starts.advance(pod, memory, sandbox, containers, prepared, sources);
      memory.backoff.delete('');
      if (!hasChanged) return { sandbox, containers };
      const after = this.#withLost(pod, memory, await this.#containersOf(await this.#sandboxes.of(uid)));
      this.#watchProbes(pod, memory, after);
      return { sandbox, containers: after };
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      if (!isPintleError(error))
        this.#services.log.error('pod sync failed', {
          pod: `${pod.metadata.namespace}/${pod.metadata.name}`,
          error: message,
        });
      this.#services.record(pod, 'Warning', reasonOf(message), message);
      this.#services.again(uid, retryDelay(memory, '', this.#services.clock.now()));
      const left = await this.#sandboxes.of(uid);
      return { sandbox: left[0], containers: this.#withLost(pod, memory, await this.#containersOf(left)) };
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
      if (latest?.state !== 'running' || memory.starting.has(latest.id)) continue;
      let probes = memory.probes.get(definition.name);
      if (!probes) {
        const before = reportedStatuses(pod).find((each) => each.containerID === `pintle://${latest.id}`);
        const live = startProbes(
          {
            containerId: latest.id,
            container: definition,
            startedMs: latest.startedMs ?? this.#services.clock.now(),
            known: before && { started: before.started ?? false, ready: before.ready },
            podIp: () => this.#podIps(pod, memory)[0] ?? '127.0.0.1',
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
        const probe = failure.kind === 'startup' ? definition.startupProbe : definition.livenessProbe;
        this.#stops.begin(pod, memory, latest, {
          graceMs: (probe?.terminationGracePeriodSeconds ?? graceSecondsOf(pod)) * 1000,
          isTurn: true,
          why: `Container ${definition.name} failed ${failure.kind} probe, will be restarted`,
          podIp: () => this.#podIps(pod, memory)[0] ?? '127.0.0.1',
        });
      }
    }
  }

  // ---- ending ------------------------------------------------------------------------------------------------------

  /** Takes a pod off the node, step by step; at last the API may forget it. */
  async #terminate(
    uid: string,
    memory: PodMemory,
    pod: Pod | undefined,
    sandboxes: readonly Sandbox[],
    containers: readonly Container[],
  ): Promise<void> {
    // A static pod whose manifest is gone ends as one that is deleted.
    const last = memory.lastPod?.metadata.annotations?.['kubernetes.io/config.source'] ? memory.lastPod : undefined;
    const graceSeconds = pod?.metadata.deletionGracePeriodSeconds ?? (pod ? 30 : last ? graceSecondsOf(last) : 0);
    if (!(await this.#release(memory, sandboxes, containers, graceSeconds * 1000))) return;
    // Without sandboxes there is nothing to say, or an earlier agent has said it.
    if (pod && sandboxes.length > 0)
      await this.#statuses.write(pod, memory, { sandbox: undefined, containers, podIps: [] });
    for (const sandbox of sandboxes) await this.#services.runtime.removeSandbox(sandbox.id);
    await this.#services.volumes.remove(uid);
    this.#memory.delete(uid);
    if (pod) await this.#confirmDeletion(pod);
  }

  /** Ends containers, probes and network; keeps records and logs. True when all containers have ended. */
  async #release(
    memory: PodMemory,
    sandboxes: readonly Sandbox[],
    containers: readonly Container[],
    graceMs: number,
  ): Promise<boolean> {
    const { runtime, attachment } = this.#services;
    const pod = memory.lastPod;
    for (const probes of memory.probes.values()) probes.live.stop();
    memory.probes.clear();
    for (const hook of memory.starting.values()) hook.abort();
    const running = containers.filter((container) => container.state === 'running');
    const next = new Set(endingNext(pod, running));
    for (const container of running) {
      this.#stops.begin(pod, memory, container, {
        graceMs,
        isTurn: next.has(container),
        why: `Stopping container ${container.name}`,
        podIp: () => (pod ? this.#podIps(pod, memory)[0] : undefined) ?? '127.0.0.1',
      });
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
}

/** The event's reason, as a kubelet calls it. */
function reasonOf(message: string): string {
  if (message.startsWith('MountVolume')) return 'FailedMount';
  return message.startsWith(sandboxFailure) ? 'FailedCreatePodSandBox' : 'FailedSync';
}

function graceSecondsOf(pod: Pod): number {
  return pod.spec.terminationGracePeriodSeconds ?? 30;
}

/** Sidecars outlive the containers that they serve, and end in the reverse of the order in which they started. */
export function endingNext(pod: Pod | undefined, running: readonly Container[]): readonly Container[] {
  const sidecars = (pod?.spec.initContainers ?? []).filter(isSidecar).map(({ name }) => name);
  const others = running.filter(({ name }) => !sidecars.includes(name));
  if (others.length > 0) return others;
  const last = sidecars.findLast((name) => running.some((each) => each.name === name));
  return running.filter(({ name }) => name === last);
}
