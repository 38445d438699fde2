/**
 * Starts a pod's containers in their order and restarts them by policy, with back-off; pulls their images first. Says in
 * the pod's memory why a container is not running.
 */
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Container as ContainerDefinition, EphemeralContainer, Pod } from '../../../kernel/contract/kubernetes.ts';
import { isPintleError, type Container, type Sandbox } from '../../../kernel/contract/index.ts';
import { containerSpec, type SpecSources } from './container-spec.ts';
import type { ContainerStops } from './container-stops.ts';
import { hookName, runHook } from './lifecycle-hooks.ts';
import { etcHosts } from './pod-files.ts';
import { ImagePulls } from './image-pulls.ts';
import { retryDelay, type PodMemory, type PodWorkerServices, type PodWorkerSettings } from './pod-memory.ts';
import { attemptsOf, isSidecar, lostReason, restarts } from './pod-status.ts';
import type { PreparedVolume } from './volumes.ts';

interface StartPlace {
  readonly sandbox: Sandbox;
  readonly prepared: ReadonlyMap<string, PreparedVolume>;
  readonly sources: SpecSources;
  /** Of an ephemeral container that wants to see another one's processes. */
  readonly target: Container | 'missing' | undefined;
}

/** Where a container may leave the reason of its end; it sees the file as terminationMessagePath. */
export function messageFile(podFolder: string, containerId: string): string {
  return join(podFolder, `${containerId}.message`);
}

export class ContainerStarts {
  readonly #settings: PodWorkerSettings;
  readonly #services: PodWorkerServices;
  readonly #stops: ContainerStops;
  readonly #images: ImagePulls;

  constructor(settings: PodWorkerSettings, services: PodWorkerServices, stops: ContainerStops) {
    this.#settings = settings;
    this.#services = services;
    this.#images = new ImagePulls(services);
    this.#stops = stops;
  }

  /**
   * Ephemeral containers whenever there is one; init containers one after the other, then the others; restarts by policy.
   * True when the runtime's containers changed. */
  async advance(
    pod: Pod,
    memory: PodMemory,
    sandbox: Sandbox,
    containers: readonly Container[],
    prepared: ReadonlyMap<string, PreparedVolume>,
    sources: SpecSources,
  ): Promise<boolean> {
    let hasChanged = false;
    const start = async (definition: ContainerDefinition | EphemeralContainer, attempt: number) => {
      const target: StartPlace['target'] =
        'targetContainerName' in definition && definition.targetContainerName
          ? (attemptsOf(containers, definition.targetContainerName)[0] ?? 'missing')
          : undefined;
      const place = { sandbox, prepared, sources, target };
      hasChanged = (await this.#start(pod, memory, definition, attempt, place)) || hasChanged;
    };
    for (const definition of pod.spec.ephemeralContainers ?? [])
      if (attemptsOf(containers, definition.name).length === 0) await start(definition, 0);
    const restart = async (definition: ContainerDefinition, latest: Container, allowed: boolean) => {
      if (latest.state !== 'exited') return;
      if (!allowed) {
        // It stays as it ended: its record says why.
        memory.problems.delete(definition.name);
        return;
      }
      const backoff = this.#backoffFor(memory, definition.name, latest);
      // One that was lost with its runtime has not crashed.
      const waitMs = latest.reason === lostReason ? 0 : backoff.untilMs - this.#services.clock.now();
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
        await this.#collectDead(containers, definition.name);
        const isUp = latest?.state === 'running' && memory.probes.get(definition.name)?.live.started === true;
        if (!anyMainStarted && !isUp) return hasChanged;
        continue;
      }
      // A restarted agent may have collected the record of an init container whose work the running pod proves done.
      if (anyMainStarted) continue;
      if (latest?.state === 'exited' && latest.exitCode === 0) continue;
      if (!latest) await start(definition, 0);
      else await restart(definition, latest, restarts(pod, definition, latest));
      await this.#collectDead(containers, definition.name);
      return hasChanged;
    }
    for (const definition of pod.spec.containers) {
      const [latest] = attemptsOf(containers, definition.name);
      if (!latest) await start(definition, 0);
      else await restart(definition, latest, restarts(pod, definition, latest));
      await this.#collectDead(containers, definition.name);
      // The next one starts when this one's postStart hook is over.
      const prefix = `${pod.metadata.uid}_${definition.name}_`;
      if ([...memory.starting.keys()].some((id) => id.startsWith(prefix))) break;
    }
    return hasChanged;
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

  async #start(
    pod: Pod,
    memory: PodMemory,
    definition: ContainerDefinition | EphemeralContainer,
    attempt: number,
    { sandbox, prepared, sources, target }: StartPlace,
  ): Promise<boolean> {
    const { runtime, volumes } = this.#services;
    const { name } = definition;
    const uid = pod.metadata.uid;
    if (target === 'missing' || (target !== undefined && target.state !== 'running')) {
      memory.problems.set(name, { reason: 'CreateContainerError', message: 'its target container does not run' });
      this.#services.again(uid, retryDelay(memory, `target/${name}`, this.#services.clock.now()));
      return false;
    }
    const unmakable = memory.backoff.get(`config/${name}`);
    const waitMs = unmakable === undefined ? 0 : unmakable.untilMs - this.#services.clock.now();
    if (waitMs > 0) {
      this.#services.again(uid, waitMs);
      return false;
    }
    if (!(await this.#images.ensure(pod, memory, definition))) return false;
    const id = `${uid}_${name}_${attempt}`;
    try {
      mkdirSync(volumes.folder(uid), { recursive: true });
      const mounts = [...(await volumes.mounts(pod, definition, prepared, sources))];
      if (!mounts.some((mount) => mount.containerPath === '/etc/hosts') && !pod.spec.hostNetwork) {
        const hostPath = this.#writeHosts(pod, sources.podIps);
        mounts.push({ hostPath, containerPath: '/etc/hosts', readOnly: false });
      }
      const messagePath = definition.terminationMessagePath || '/dev/termination-log';
      if (!mounts.some((mount) => mount.containerPath === messagePath))
        mounts.push({ hostPath: this.#makeMessageFile(uid, id), containerPath: messagePath, readOnly: false });
      const spec = await containerSpec(pod, definition, sources, {
        id,
        sandboxId: sandbox.id,
        attempt,
        logPath: join(volumes.folder(uid), `${name}_${attempt}.log`),
        maxLogBytes: this.#settings.maxLogBytes,
        maxLogFiles: this.#settings.maxLogFiles,
        mounts,
        targetContainerId: target?.id,
        imageUser: (await runtime.imageStatus(definition.image ?? ''))?.user,
      });
      memory.tried.add(id);
      const started = await runtime.startContainer(spec);
      memory.problems.delete(name);
      memory.backoff.delete(`config/${name}`);
      this.#services.record(pod, 'Normal', 'Created', `Created container: ${name}`);
      this.#services.record(pod, 'Normal', 'Started', `Started container ${name}`);
      this.#postStart(pod, memory, definition, started, sources);
      return true;
    } catch (error) {
      if (!isPintleError(error, 'CONTAINER_INVALID', 'CONTAINER_START_FAILED', 'IMAGE_NOT_FOUND')) throw error;
      const isConfig = error.code === 'CONTAINER_INVALID';
      // Nothing was made of it: it is tried again as this attempt, and ends nobody's pod.
      if (isConfig) await runtime.removeContainer(id);
      const isFinal = !isConfig && pod.spec.restartPolicy === 'Never' && !isSidecar(definition);
      if (isFinal) memory.problems.delete(name);
      else {
        memory.problems.set(name, {
          reason: isConfig ? 'CreateContainerConfigError' : 'RunContainerError',
          message: error.message,
        });
      }
      this.#services.record(pod, 'Warning', 'Failed', `Error: ${error.message}`);
      // A failed start is on record as an exited container and restarts by policy; a spec that cannot be built is tried again.
      this.#services.again(uid, isConfig ? retryDelay(memory, `config/${name}`, this.#services.clock.now()) : 0);
      return true;
    }
  }

  /** Runs beside the container; a failed hook ends it, and then it restarts by policy. */
  #postStart(
    pod: Pod,
    memory: PodMemory,
    definition: ContainerDefinition,
    container: Container,
    sources: SpecSources,
  ): void {
    const handler = definition.lifecycle?.postStart;
    if (!handler || container.state !== 'running') return;
    const { runtime, clock, record, again } = this.#services;
    const stop = new AbortController();
    memory.starting.set(container.id, stop);
    const podIp = () => sources.podIps[0] ?? '127.0.0.1';
    const place = { runtime, containerId: container.id, container: definition, podIp: podIp() };
    void runHook(handler, place, clock, stop.signal).then((outcome) => {
      memory.starting.delete(container.id);
      if (!outcome.ok && !stop.signal.aborted) {
        record(pod, 'Warning', 'FailedPostStartHook', `${hookName(handler)} failed: ${outcome.message}`);
        const graceMs = (pod.spec.terminationGracePeriodSeconds ?? 30) * 1000;
        this.#stops.begin(pod, memory, container, { graceMs, isTurn: true, why: 'FailedPostStartHook', podIp });
      }
      again(pod.metadata.uid);
    });
  }

  // A few bytes in a folder of the node's own: handing each step to another thread would cost ten times what it takes.
  #makeMessageFile(uid: string, containerId: string): string {
    const path = messageFile(this.#services.volumes.folder(uid), containerId);
    writeFileSync(path, '');
    // Whatever user the container runs as.
    chmodSync(path, 0o666);
    return path;
  }

  #writeHosts(pod: Pod, podIps: readonly string[]): string {
    const folder = this.#services.volumes.folder(pod.metadata.uid);
    const path = join(folder, 'etc-hosts');
    writeFileSync(path, etcHosts(pod, podIps, this.#settings.dns.clusterDomain), { mode: 0o644 });
    return path;
  }
}
