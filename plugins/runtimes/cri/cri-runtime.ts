/**
 * The runtime: orders the calls for one sandbox and turns them into calls of the container runtime interface. The
 * container runtime is the record of what there is; it writes the logs, which are rotated here.
 */
import { existsSync, mkdirSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import {
  PintleError,
  isPintleError,
  type Clock,
  type Container,
  type ContainerSpec,
  type ContainerStats,
  type Image,
  type Logger,
  type ProcessStreams,
  type PullOptions,
  type Runtime,
  type RuntimeEvent,
  type RuntimeStatus,
  type Sandbox,
  type SandboxSpec,
} from '../../../kernel/contract/index.ts';
import { CallOrder } from '../../../kernel/machinery/call-order.ts';
import { checkId, containerLabels, ownerOf, sandboxLabels } from '../../../kernel/machinery/engine/engine-labels.ts';
import { removeLogFiles, rotateLogFiles } from '../../../kernel/machinery/engine/log-files.ts';
import {
  containerNotFound,
  containerNotRunning,
  refusedByEngine,
  sandboxNotReady,
} from '../../../kernel/machinery/engine/runtime-refusals.ts';
import { SandboxFiles } from '../../../kernel/machinery/engine/sandbox-files.ts';
import { startMessage } from '../../../kernel/machinery/engine/start-failure.ts';
import { emptyStateFolder, openStateFolder } from '../../../kernel/machinery/engine/state-folder.ts';
import { EventStream } from '../../../kernel/machinery/event-stream.ts';
import { containerConfig, sandboxConfig } from './container-config.ts';
import { containerStats } from './container-stats.ts';
import { attachToContainer, execInContainer, type StreamingServer } from './container-streams.ts';
import { CriClient, codeOf, isNotFound, textOf } from './cri-client.ts';
import { findImage, listImages, pullImage, removeImage } from './images.ts';
import { Inventory, type KnownContainer, type KnownSandbox } from './inventory.ts';

export interface CriRuntimeOptions {
  readonly endpoint: string;
  readonly runtimeHandler: string;
  /** Where the container runtime's network namespace is kept; undefined: it is ours. */
  readonly netns: string | undefined;
  readonly stateDir: string;
  readonly nodeName: string;
  /** A CNI network was installed just now. */
  readonly awaitsNetwork: boolean;
  /** Removes what was put outside of the state folder. */
  readonly onPurge: () => void;
  readonly log: Logger;
  readonly clock: Clock;
}

interface RuntimeConditions {
  readonly status: { readonly conditions: readonly { type: string; status: boolean; message: string }[] } | null;
}

/** The CRI of before 2023 has no events, so it is looked, as kubelets do. */
const lookMs = 1_000;
const stopMarginMs = 120_000;

export class CriRuntime implements Runtime, AsyncDisposable {
  readonly #options: CriRuntimeOptions;
  readonly #client: CriClient;
  readonly #owner: string;
  readonly #version: string;
  readonly #inventory: Inventory;
  readonly #files: SandboxFiles;
  readonly #order = new CallOrder();
  readonly #events = new EventStream<RuntimeEvent>();
  /** What `look` saw last: container id → state, sandbox id → whether it was up. */
  #seen = new Map<string, string>();
  #problem: string | undefined;
  #networkProblem: string | undefined;
  #timer: NodeJS.Timeout | undefined;
  #isClosed = false;

  private constructor(options: CriRuntimeOptions, client: CriClient, version: string) {
    this.#options = options;
    this.#client = client;
    this.#owner = ownerOf(options.stateDir);
    this.#version = version;
    this.#inventory = new Inventory(client, this.#owner, join(options.stateDir, 'failed'));
    this.#files = new SandboxFiles(join(options.stateDir, 'sandboxes'));
  }

  static async open(given: CriRuntimeOptions): Promise<CriRuntime> {
    const options = { ...given, stateDir: openStateFolder(given.stateDir) };
    const client = await CriClient.open(options.endpoint);
    try {
      const told = await client.runtime<{ runtime_name: string; runtime_version: string }>('Version', {}, 10_000);
      const runtime = new CriRuntime(options, client, `${told.runtime_name}://${told.runtime_version}`);
      runtime.#files.keep(new Set((await runtime.#inventory.sandboxes()).map(({ facts }) => facts.id)));
      await runtime.#networkReady();
      await runtime.#look();
      return runtime;
    } catch (error) {
      client.close();
      throw error;
    }
  }

  status(): RuntimeStatus {
    return {
      ready: this.#problem === undefined,
      ...(this.#problem === undefined ? {} : { reason: this.#problem }),
      version: this.#version,
      limitations: [
        ...(this.#networkProblem === undefined ? [] : [`${this.#networkProblem}; see installCni of runtime cri`]),
        'limits of the number of processes are not set: the CRI has none for containers',
      ],
    };
  }

  ensureSandbox(spec: SandboxSpec): Promise<Sandbox> {
    checkId(spec.id, 'sandbox');
    return this.#order.run(spec.id, async () => {
      const { sandbox } = (await this.#inventory.sandbox(spec.id)) ?? (await this.#makeSandbox(spec));
      return sandbox;
    });
  }

  async #makeSandbox(spec: SandboxSpec): Promise<KnownSandbox> {
    const labels = sandboxLabels(this.#owner, this.#options.nodeName, spec);
    this.#files.write(spec);
    try {
      await this.#client.runtime('RunPodSandbox', {
        config: sandboxConfig(spec, this.#owner, labels),
        runtime_handler: this.#options.runtimeHandler,
      });
    } catch (error) {
      throw invalid(`sandbox of pod ${spec.podName}`, error);
    }
    const made = await this.#inventory.sandbox(spec.id);
    if (made === undefined)
      throw new PintleError('SANDBOX_NOT_FOUND', `sandbox ${spec.id} was made and is not there; was it removed?`);
    if (!made.sandbox.ready)
      throw new PintleError(
        'UNSUPPORTED',
        `sandbox ${spec.id}: the runtime's network namespaces cannot be seen from here; the agent must run in the pid or mount namespace of the container runtime (${this.#options.endpoint}), on the same machine`,
      );
    return made;
  }

  stopSandbox(id: string): Promise<void> {
    return this.#order.run(id, async () => {
      const known = await this.#inventory.sandbox(id);
      if (known === undefined) return;
      await Promise.all((await this.#containersOf(id)).map((one) => this.#stop(one, 0)));
      await this.#client.runtime('StopPodSandbox', { pod_sandbox_id: known.criId });
      this.#events.push({ type: 'sandbox-stopped', sandboxId: id });
    });
  }

  removeSandbox(id: string): Promise<void> {
    return this.#order.run(id, async () => {
      for (const one of await this.#containersOf(id)) await this.#remove(one);
      const known = await this.#inventory.sandbox(id);
      if (known !== undefined) await this.#removeSandbox(known);
    });
  }

  async listSandboxes(podUid?: string): Promise<readonly Sandbox[]> {
    const all = await this.#inventory.sandboxes();
    return all.filter(({ facts }) => podUid === undefined || facts.podUid === podUid).map(({ sandbox }) => sandbox);
  }

  startContainer(spec: ContainerSpec): Promise<Container> {
    checkId(spec.id, 'container');
    return this.#order.run(spec.sandboxId, async () => {
      const existing = await this.#inventory.container(spec.id);
      if (existing !== undefined && existing.container.state !== 'created') return existing.container;
      const known = await this.#inventory.sandbox(spec.sandboxId);
      if (known?.sandbox.ready !== true) throw sandboxNotReady(spec, known !== undefined);
      const criId = existing?.criId ?? (await this.#makeContainer(spec, known));
      try {
        await this.#client.runtime('StartContainer', { container_id: criId });
      } catch (cause) {
        if (codeOf(cause) === undefined) throw cause;
        const message = `container ${spec.name}: ${startMessage(textOf(cause))}`;
        throw new PintleError('CONTAINER_START_FAILED', message, { cause });
      }
      this.#events.push({ type: 'container-started', sandboxId: spec.sandboxId, containerId: spec.id });
      const started = await this.#inventory.container(spec.id);
      if (started === undefined)
        throw new PintleError(
          'CONTAINER_NOT_FOUND',
          `container ${spec.name} was started and is not there; was it removed?`,
        );
      return started.container;
    });
  }

  async #makeContainer(spec: ContainerSpec, { criId, facts }: KnownSandbox): Promise<string> {
    const found = await findImage(this.#client, spec.image);
    if (found === undefined)
      throw new PintleError('IMAGE_NOT_FOUND', `image ${spec.image} is not in the container runtime: pull it first`);
    const labels = containerLabels(this.#owner, this.#options.nodeName, facts, spec);
    const imageId = found.image.id;
    try {
      if (spec.command.length === 0 && spec.args.length === 0 && !found.hasCommand)
        throw new PintleError('CONTAINER_INVALID', 'no command given, and the image has none');
      mkdirSync(dirname(spec.logPath), { recursive: true });
      const image = { id: imageId, uid: found.uid };
      const { targetContainerId } = spec;
      const target = targetContainerId === undefined ? undefined : await this.#inventory.container(targetContainerId);
      const files = this.#files.of(spec.sandboxId);
      const config = containerConfig(spec, { facts, files }, image, labels, target?.criId);
      const { container_id } = await this.#client.runtime<{ container_id: string }>('CreateContainer', {
        pod_sandbox_id: criId,
        config,
        sandbox_config: {
          metadata: { name: facts.podName, namespace: facts.podNamespace, uid: `${this.#owner}.${facts.id}` },
          log_directory: '/',
        },
      });
      return container_id;
    } catch (cause) {
      const error = invalid(`container ${spec.name}`, cause);
      if (error.code === 'CONTAINER_INVALID')
        this.#inventory.recordFailure(
          labels,
          { exitCode: 128, message: error.message, imageId },
          this.#options.clock.now(),
        );
      throw error;
    }
  }

  async stopContainer(id: string, graceMs: number): Promise<void> {
    const known = await this.#inventory.container(id);
    if (known !== undefined) await this.#stop(known, graceMs);
  }

  async removeContainer(id: string): Promise<void> {
    const known = await this.#inventory.container(id);
    if (known === undefined) return;
    await this.#stop(known, 0);
    await this.#order.run(known.facts.sandboxId, () => this.#remove(known));
  }

  async listContainers(sandboxId?: string): Promise<readonly Container[]> {
    const all = await this.#inventory.containers();
    return all
      .filter(({ facts }) => sandboxId === undefined || facts.sandboxId === sandboxId)
      .map(({ container }) => container);
  }

  events(signal: AbortSignal): AsyncIterable<RuntimeEvent> {
    return this.#events.subscribe(signal);
  }

  get #streaming(): StreamingServer {
    return { client: this.#client, netns: this.#options.netns };
  }

  async exec(
    containerId: string,
    request: { readonly command: readonly string[]; readonly stdin: boolean; readonly tty: boolean },
  ): Promise<ProcessStreams> {
    return execInContainer(this.#streaming, await this.#running(containerId), request);
  }

  async attach(
    containerId: string,
    request: { readonly stdin: boolean; readonly tty: boolean },
  ): Promise<ProcessStreams> {
    const known = await this.#running(containerId);
    const exitCode = async (): Promise<number> => {
      for (;;) {
        const now = await this.#inventory.container(containerId);
        if (now === undefined || now.container.state === 'exited') return now?.container.exitCode ?? 137;
        await this.#options.clock.sleep(100);
      }
    };
    const { facts } = known;
    const wants = { stdin: request.stdin && facts.stdin, tty: facts.tty };
    return attachToContainer(this.#streaming, known, wants, exitCode);
  }

  async stats(
    containerId: string,
    { disk = false }: { readonly disk?: boolean | undefined } = {},
  ): Promise<ContainerStats> {
    const { criId } = await this.#running(containerId);
    return containerStats(this.#client, criId, { timeMs: this.#options.clock.now(), disk });
  }

  async imageStatus(name: string): Promise<Image | undefined> {
    return (await findImage(this.#client, name))?.image;
  }

  pullImage(name: string, options: PullOptions = {}): Promise<Image> {
    return pullImage(this.#client, name, options);
  }

  listImages(): Promise<readonly Image[]> {
    return listImages(this.#client);
  }

  async removeImage(name: string): Promise<void> {
    const isUsed = async (imageId: string): Promise<boolean> =>
      (await this.#inventory.containers()).some(({ container }) => container.imageId === imageId);
    await removeImage(this.#client, name, isUsed);
  }

  async purge(): Promise<void> {
    for (const one of await this.#inventory.containers())
      await this.#order.run(one.facts.sandboxId, () => this.#remove(one));
    for (const one of await this.#inventory.sandboxes()) await this.#removeSandbox(one);
    this.#close();
    this.#options.onPurge();
    await emptyStateFolder(this.#options.stateDir);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#close();
  }

  async #containersOf(sandboxId: string): Promise<readonly KnownContainer[]> {
    return (await this.#inventory.containers()).filter(({ facts }) => facts.sandboxId === sandboxId);
  }

  async #running(id: string): Promise<KnownContainer & { readonly criId: string }> {
    const known = await this.#inventory.container(id);
    if (known === undefined) throw containerNotFound(id);
    const { criId, container } = known;
    if (criId === undefined || container.state !== 'running')
      throw containerNotRunning(container.name, container.state);
    return { ...known, criId };
  }

  async #stop({ criId, container }: KnownContainer, graceMs: number): Promise<void> {
    if (criId === undefined || container.state !== 'running') return;
    const timeout = Math.ceil(graceMs / 1000);
    await this.#ignoringGone(() =>
      this.#client.runtime('StopContainer', { container_id: criId, timeout }, graceMs + stopMarginMs),
    );
  }

  async #remove(one: KnownContainer): Promise<void> {
    const { criId, facts } = one;
    if (criId !== undefined) {
      await this.#stop(one, 0);
      await this.#ignoringGone(() => this.#client.runtime('RemoveContainer', { container_id: criId }));
    }
    this.#inventory.forgetFailure(facts.id);
    removeLogFiles(facts.logPath, facts.maxLogFiles);
  }

  async #removeSandbox({ criId, facts }: KnownSandbox): Promise<void> {
    await this.#ignoringGone(() => this.#client.runtime('StopPodSandbox', { pod_sandbox_id: criId }));
    await this.#ignoringGone(() => this.#client.runtime('RemovePodSandbox', { pod_sandbox_id: criId }));
    this.#files.remove(facts.id);
    this.#events.push({ type: 'sandbox-stopped', sandboxId: facts.id });
  }

  async #ignoringGone(work: () => Promise<unknown>): Promise<void> {
    try {
      await work();
    } catch (error) {
      if (!isNotFound(error)) throw error;
    }
  }

  /** A network that was installed a moment ago is found a moment later. */
  async #networkReady(): Promise<void> {
    for (let round = 0; round < 100; round++) {
      const { status } = await this.#client.runtime<RuntimeConditions>('Status', {});
      const network = status?.conditions.find(({ type }) => type === 'NetworkReady');
      this.#networkProblem = network?.status === false ? `no CNI network: ${network.message}` : undefined;
      if (this.#networkProblem === undefined || !this.#options.awaitsNetwork) return;
      await this.#options.clock.sleep(50);
    }
  }

  /** Sees what has changed, tells of it, rotates logs; and comes again. */
  async #look(): Promise<void> {
    try {
      const [sandboxes, containers] = await Promise.all([this.#inventory.sandboxes(), this.#inventory.containers()]);
      this.#problem = undefined;
      const now = new Map<string, string>();
      for (const { sandbox } of sandboxes) {
        const key = `sandbox ${sandbox.id}`;
        now.set(key, String(sandbox.ready));
        if (!sandbox.ready && this.#seen.get(key) !== 'false')
          this.#events.push({ type: 'sandbox-stopped', sandboxId: sandbox.id });
      }
      for (const { container } of containers) {
        now.set(container.id, container.state);
        if (this.#seen.get(container.id) === container.state || container.state === 'created') continue;
        const type = container.state === 'running' ? 'container-started' : 'container-exited';
        this.#events.push({ type, sandboxId: container.sandboxId, containerId: container.id });
      }
      this.#seen = now;
      for (const one of containers) await this.#tendLog(one);
    } catch (error) {
      if (!this.#isClosed) {
        this.#problem = isPintleError(error) ? error.message : textOf(error);
        this.#options.log.debug('the container runtime cannot be looked at', { error: this.#problem });
      }
    }
    if (this.#isClosed) return;
    this.#timer = setTimeout(() => void this.#look(), lookMs);
    this.#timer.unref();
  }

  /** A log that was set aside and not begun anew (an agent was killed in between) is begun now. */
  async #tendLog({ criId, facts, container }: KnownContainer): Promise<void> {
    if (criId === undefined || container.state !== 'running' || this.#isClosed) return;
    const { logPath, maxLogBytes, maxLogFiles } = facts;
    const size = statSync(logPath, { throwIfNoEntry: false })?.size;
    if (size !== undefined && (maxLogBytes <= 0 || size < maxLogBytes)) return;
    if (size !== undefined) rotateLogFiles(logPath, maxLogFiles);
    if (!existsSync(dirname(logPath))) return;
    await this.#ignoringGone(() => this.#client.runtime('ReopenContainerLog', { container_id: criId }));
  }

  #close(): void {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    this.#events.close();
    this.#client.close();
  }
}

const invalid = (subject: string, cause: unknown) => refusedByEngine(subject, cause, textOf(cause));
