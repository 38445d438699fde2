/**
 * The runtime: orders the calls for one sandbox and turns them into calls of the engine, which is the only record of what
 * there is. This process keeps what it was last told of containers that have not changed, and the relays of their logs.
 */
import { join } from 'node:path';
import type { ContainerInspectInfo } from 'dockerode';
import {
  PintleError,
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
import {
  checkId,
  containerFacts,
  containerLabels,
  labelKeys,
  ownerOf,
  sandboxFacts,
  sandboxLabels,
  type ContainerFacts,
  type Failure,
  type SandboxFacts,
} from '../../../kernel/machinery/engine/engine-labels.ts';
import {
  containerNotFound,
  containerNotRunning,
  refusedByEngine,
  sandboxNotReady,
} from '../../../kernel/machinery/engine/runtime-refusals.ts';
import { SandboxFiles } from '../../../kernel/machinery/engine/sandbox-files.ts';
import { startExitCode, startMessage } from '../../../kernel/machinery/engine/start-failure.ts';
import { emptyStateFolder, openStateFolder } from '../../../kernel/machinery/engine/state-folder.ts';
import { EventStream } from '../../../kernel/machinery/event-stream.ts';
import { containerConfig, hasCommand, readSeccomp, sandboxConfig, type EngineLog } from './container-config.ts';
import { describeContainer, describeSandbox, hasFailed, hasStarted } from './container-state.ts';
import { ContainerLogs } from './container-logs.ts';
import { containerStats } from './container-stats.ts';
import { attachToContainer, execInContainer } from './container-streams.ts';
import { Endings } from './endings.ts';
import { connectEngine, statusOf, textOf, type Engine, type EngineAddress, type EngineEvent } from './engine.ts';
import {
  describeImage,
  dropSandboxImage,
  ensureSandboxImage,
  findImage,
  listImages,
  pullImage,
  removeImage,
} from './images.ts';
import { Inventory, containerName, sandboxName, type Known } from './inventory.ts';

export interface DockerRuntimeOptions {
  readonly engine: EngineAddress;
  readonly stateDir: string;
  readonly nodeName: string;
  /** Undefined: the one made here. */
  readonly sandboxImage: string | undefined;
  readonly engineLog: EngineLog;
  readonly log: Logger;
  readonly clock: Clock;
}

export class DockerRuntime implements Runtime, AsyncDisposable {
  readonly #options: DockerRuntimeOptions;
  readonly #engine: Engine;
  readonly #owner: string;
  readonly #version: string;
  readonly #order = new CallOrder();
  readonly #events = new EventStream<RuntimeEvent>();
  readonly #inventory: Inventory;
  readonly #endings: Endings;
  readonly #logs: ContainerLogs;
  readonly #files: SandboxFiles;

  private constructor(options: DockerRuntimeOptions, engine: Engine, version: string) {
    this.#options = options;
    this.#engine = engine;
    this.#owner = ownerOf(options.stateDir);
    this.#inventory = new Inventory(engine, this.#owner);
    this.#endings = new Endings(engine, options.clock);
    this.#files = new SandboxFiles(join(options.stateDir, 'sandboxes'));
    this.#logs = new ContainerLogs(join(options.stateDir, 'logs'), options.engineLog.files, options.log);
    this.#version = version;
  }

  static async open(given: DockerRuntimeOptions): Promise<DockerRuntime> {
    const options = { ...given, stateDir: openStateFolder(given.stateDir) };
    const engine = await connectEngine(options.engine, options.log);
    const { Version } = await engine.call((docker) => docker.version());
    const runtime = new DockerRuntime(options, engine, Version);
    try {
      await runtime.#recover();
      return runtime;
    } catch (error) {
      runtime.#close();
      throw error;
    }
  }

  status(): RuntimeStatus {
    const { problem } = this.#engine;
    return {
      ready: problem === undefined,
      ...(problem === undefined ? {} : { reason: problem }),
      version: `docker://${this.#version}`,
      limitations: [],
    };
  }

  ensureSandbox(spec: SandboxSpec): Promise<Sandbox> {
    checkId(spec.id, 'sandbox');
    return this.#order.run(spec.id, async () => {
      const existing = (await this.#inventory.sandbox(spec.id)) ?? (await this.#makeSandbox(spec));
      const info = hasStarted(existing.info) ? existing.info : await this.#startSandbox(spec, existing.info.Id);
      const sandbox = describeSandbox(info, existing.facts);
      if (info.State.Running && !sandbox.ready)
        throw new PintleError(
          'UNSUPPORTED',
          `sandbox ${spec.id}: the engine's network namespaces cannot be seen from here; the agent must run in the pid or mount namespace of the Docker engine (${this.#options.engine.url}), on the same machine`,
        );
      return sandbox;
    });
  }

  async #makeSandbox(spec: SandboxSpec): Promise<Known<SandboxFacts>> {
    const labels = sandboxLabels(this.#owner, this.#options.nodeName, spec);
    this.#files.write(spec);
    // The image may be removed, by a purge of another node, between the look and the use.
    for (let round = 0; ; round++) {
      const image = this.#options.sandboxImage ?? (await ensureSandboxImage(this.#engine));
      try {
        const config = { name: sandboxName(this.#owner, spec.id), ...sandboxConfig(spec, image, labels) };
        const { id } = await this.#engine.call((docker) => docker.createContainer(config));
        const info = await this.#engine.call((docker) => docker.getContainer(id).inspect());
        return { info, facts: sandboxFacts(labels)! };
      } catch (error) {
        if (statusOf(error) === 404 && round < 5 && this.#options.sandboxImage === undefined) continue;
        const made = await this.#madeMeanwhile(error, () => this.#inventory.sandbox(spec.id));
        if (made !== undefined) return made;
        throw invalid(`sandbox of pod ${spec.podName}`, error);
      }
    }
  }

  async #startSandbox(spec: SandboxSpec, dockerId: string): Promise<ContainerInspectInfo> {
    this.#files.write(spec);
    try {
      await this.#engine.call((docker) => docker.getContainer(dockerId).start());
    } catch (error) {
      if (statusOf(error) === undefined) throw error;
      // A sandbox that cannot be started is not to be found as one: the next call makes it anew.
      await this.#engine.find((docker) => docker.getContainer(dockerId).remove({ force: true }));
      throw invalid(`sandbox of pod ${spec.podName}`, error);
    }
    return this.#engine.call((docker) => docker.getContainer(dockerId).inspect());
  }

  stopSandbox(id: string): Promise<void> {
    return this.#order.run(id, async () => {
      const sandbox = await this.#inventory.sandbox(id);
      if (sandbox === undefined) return;
      await Promise.all((await this.#inventory.containersOf(id)).map((one) => this.#stop(one, 0)));
      if (!sandbox.info.State.Running) return;
      await this.#endings.kill(sandbox.info.Id);
      this.#events.push({ type: 'sandbox-stopped', sandboxId: id });
    });
  }

  removeSandbox(id: string): Promise<void> {
    return this.#order.run(id, async () => {
      await Promise.all((await this.#inventory.containersOf(id)).map((one) => this.#remove(one)));
      const sandbox = await this.#inventory.sandbox(id);
      if (sandbox !== undefined) await this.#endings.remove(sandbox.info.Id);
      this.#files.remove(id);
      if (sandbox !== undefined) this.#events.push({ type: 'sandbox-stopped', sandboxId: id });
    });
  }

  async listSandboxes(podUid?: string): Promise<readonly Sandbox[]> {
    const { sandboxes } = await this.#inventory.list();
    return sandboxes
      .filter(({ facts }) => podUid === undefined || facts.podUid === podUid)
      .map(({ info, facts }) => describeSandbox(info, facts));
  }

  startContainer(spec: ContainerSpec): Promise<Container> {
    checkId(spec.id, 'container');
    return this.#order.run(spec.sandboxId, async () => {
      const sandbox = await this.#inventory.sandbox(spec.sandboxId);
      const existing = await this.#inventory.container(spec.id);
      if (existing !== undefined && (hasStarted(existing.info) || hasFailed(existing.info)))
        return this.#describe(existing, true);
      if (sandbox?.info.State.Running !== true) throw sandboxNotReady(spec, sandbox !== undefined);
      const made = existing ?? (await this.#makeContainer(spec, sandbox));
      return this.#startContainer(made);
    });
  }

  async #makeContainer(spec: ContainerSpec, sandbox: Known<SandboxFacts>): Promise<Known<ContainerFacts>> {
    const image = await findImage(this.#engine, spec.image);
    if (image === undefined)
      throw new PintleError('IMAGE_NOT_FOUND', `image ${spec.image} is not in the Docker engine: pull it first`);
    const labels = containerLabels(this.#owner, this.#options.nodeName, sandbox.facts, spec);
    const name = containerName(this.#owner, spec.id);
    try {
      if (spec.command.length === 0 && !hasCommand(image.Config))
        throw new PintleError('CONTAINER_INVALID', 'no command given, and the image has none');
      const files = this.#files.of(spec.sandboxId);
      const config = containerConfig(
        spec,
        { dockerId: sandbox.info.Id, facts: sandbox.facts, files },
        image,
        labels,
        this.#options.engineLog,
        (id) => containerName(this.#owner, id),
        await readSeccomp(spec),
      );
      const { id } = await this.#engine.call((docker) => docker.createContainer({ name, ...config }));
      const info = await this.#engine.call((docker) => docker.getContainer(id).inspect());
      return { info, facts: containerFacts(labels)! };
    } catch (cause) {
      const made = await this.#madeMeanwhile(cause, () => this.#inventory.container(spec.id));
      if (made !== undefined) return made;
      const error = invalid(`container ${spec.name}`, cause);
      if (error.code !== 'CONTAINER_INVALID') throw error;
      const failure: Failure = { exitCode: 128, message: error.message, imageId: image.Id };
      const sandboxImage = this.#options.sandboxImage ?? (await ensureSandboxImage(this.#engine));
      // It stands for the one that could not be made, so that the failure is on record.
      const stand = {
        name,
        Image: sandboxImage,
        Labels: { ...labels, [labelKeys.failure]: JSON.stringify(failure) },
        HostConfig: { NetworkMode: 'none' },
      };
      await this.#engine.call((docker) => docker.createContainer(stand));
      throw error;
    }
  }

  async #startContainer({ info: { Id }, facts }: Known<ContainerFacts>): Promise<Container> {
    try {
      await this.#engine.call((docker) => docker.getContainer(Id).start());
    } catch (error) {
      if (statusOf(error) === undefined) throw error;
      const message = `container ${facts.name}: ${startMessage(textOf(error))}`;
      const isInvalid = statusOf(error) === 400 && startExitCode(message) === 128;
      throw new PintleError(isInvalid ? 'CONTAINER_INVALID' : 'CONTAINER_START_FAILED', message, { cause: error });
    }
    const info = await this.#engine.call((docker) => docker.getContainer(Id).inspect());
    this.#logs.of(info, facts)?.start();
    this.#events.push({ type: 'container-started', sandboxId: facts.sandboxId, containerId: facts.id });
    return this.#describe({ info, facts }, true);
  }

  async stopContainer(id: string, graceMs: number): Promise<void> {
    const container = await this.#inventory.container(id);
    if (container !== undefined) await this.#stop(container, graceMs);
  }

  async removeContainer(id: string): Promise<void> {
    const container = await this.#inventory.container(id);
    if (container === undefined) return;
    await this.#stop(container, 0);
    await this.#order.run(container.facts.sandboxId, () => this.#remove(container));
  }

  async listContainers(sandboxId?: string): Promise<readonly Container[]> {
    const { sandboxes, containers } = await this.#inventory.list();
    const up = new Set(sandboxes.filter(({ info }) => info.State.Running).map(({ facts }) => facts.id));
    return Promise.all(
      containers
        .filter(({ facts }) => sandboxId === undefined || facts.sandboxId === sandboxId)
        .map((one) => this.#describe(one, up.has(one.facts.sandboxId))),
    );
  }

  events(signal: AbortSignal): AsyncIterable<RuntimeEvent> {
    return this.#events.subscribe(signal);
  }

  async exec(
    containerId: string,
    request: { readonly command: readonly string[]; readonly stdin: boolean; readonly tty: boolean },
  ): Promise<ProcessStreams> {
    return execInContainer(this.#engine, (await this.#running(containerId)).info.Id, request);
  }

  async attach(
    containerId: string,
    request: { readonly stdin: boolean; readonly tty: boolean },
  ): Promise<ProcessStreams> {
    const { info, facts } = await this.#running(containerId);
    return attachToContainer(this.#engine, info.Id, { stdin: request.stdin && facts.stdin, tty: facts.tty });
  }

  async stats(
    containerId: string,
    { disk = false }: { readonly disk?: boolean | undefined } = {},
  ): Promise<ContainerStats> {
    const { Id } = (await this.#running(containerId)).info;
    return containerStats(this.#engine, Id, { timeMs: this.#options.clock.now(), disk });
  }

  async imageStatus(name: string): Promise<Image | undefined> {
    const info = await findImage(this.#engine, name);
    return info === undefined ? undefined : describeImage(info);
  }

  pullImage(name: string, options: PullOptions = {}): Promise<Image> {
    return pullImage(this.#engine, name, options);
  }

  listImages(): Promise<readonly Image[]> {
    return listImages(this.#engine);
  }

  async removeImage(name: string): Promise<void> {
    await removeImage(this.#engine, name);
  }

  async purge(): Promise<void> {
    const { sandboxes, containers } = await this.#inventory.list();
    await Promise.all(containers.map((one) => this.#order.run(one.facts.sandboxId, () => this.#remove(one))));
    await Promise.all(sandboxes.map(({ info }) => this.#endings.remove(info.Id)));
    this.#close();
    if (this.#options.sandboxImage === undefined) await dropSandboxImage(this.#engine);
    await emptyStateFolder(this.#options.stateDir);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#close();
  }

  async #running(id: string): Promise<Known<ContainerFacts>> {
    const found = await this.#inventory.container(id);
    if (found === undefined) throw containerNotFound(id);
    if (!found.info.State.Running) throw containerNotRunning(found.facts.name, found.info.State.Status);
    return found;
  }

  /** One that has ended is told of once all of its output is in its log. */
  async #describe({ info, facts }: Known<ContainerFacts>, hasSandbox: boolean): Promise<Container> {
    if (!info.State.Running) await this.#logs.of(info, facts)?.finish();
    return describeContainer(info, facts, hasSandbox);
  }

  async #stop({ info, facts }: Known<ContainerFacts>, graceMs: number): Promise<void> {
    if (!info.State.Running) return;
    await this.#endings.stop(info, graceMs);
    await this.#logs.finish(facts.id);
  }

  async #remove(one: Known<ContainerFacts>): Promise<void> {
    await this.#stop(one, 0);
    await this.#endings.remove(one.info.Id);
    this.#logs.remove(one.facts);
  }

  async #recover(): Promise<void> {
    await this.#engine.watch(`${labelKeys.owner}=${this.#owner}`, {
      onEvent: (event) => this.#onEvent(event),
      // What happened meanwhile is not told again: let everybody look.
      onConnect: () => void this.#lookAgain(),
    });
    const { sandboxes, containers } = await this.#inventory.list();
    for (const { info, facts } of containers) if (info.State.Running) this.#logs.of(info, facts)?.start();
    this.#files.keep(new Set(sandboxes.map(({ facts }) => facts.id)));
  }

  #onEvent({ Action, Actor }: EngineEvent): void {
    const sandbox = sandboxFacts(Actor.Attributes);
    const container = containerFacts(Actor.Attributes);
    if (Action === 'start' && container !== undefined)
      this.#events.push({ type: 'container-started', sandboxId: container.sandboxId, containerId: container.id });
    if (Action !== 'die') return;
    this.#inventory.ended(Actor.ID);
    if (sandbox !== undefined) this.#events.push({ type: 'sandbox-stopped', sandboxId: sandbox.id });
    if (container !== undefined)
      this.#events.push({ type: 'container-exited', sandboxId: container.sandboxId, containerId: container.id });
  }

  async #lookAgain(): Promise<void> {
    try {
      const { sandboxes, containers } = await this.#inventory.list();
      for (const { info, facts } of containers) {
        const type = info.State.Running ? 'container-started' : 'container-exited';
        this.#events.push({ type, sandboxId: facts.sandboxId, containerId: facts.id });
      }
      for (const { info, facts } of sandboxes)
        if (!info.State.Running) this.#events.push({ type: 'sandbox-stopped', sandboxId: facts.id });
    } catch (error) {
      // Gone again: the next connection brings the next look.
      this.#options.log.debug('the Docker engine does not answer', { error: String(error) });
    }
  }

  #close(): void {
    this.#engine.stop();
    this.#events.close();
    this.#logs.close();
  }

  /** The engine may still work off a call of an agent that was killed: its container bears the name that is taken. */
  async #madeMeanwhile<T>(error: unknown, find: () => Promise<T | undefined>): Promise<T | undefined> {
    return statusOf(error) === 409 ? find() : undefined;
  }
}

const invalid = (subject: string, cause: unknown) => refusedByEngine(subject, cause, textOf(cause));
