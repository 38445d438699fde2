/**
 * The runtime: keeps the inventory of sandboxes and containers, orders the calls for one sandbox, and hands out what
 * the contract promises. What each thing is made of stands in sandbox-life.ts and container-life.ts.
 */
import { readdirSync, watch, writeFileSync, type FSWatcher } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
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
  type Runtime,
  type RuntimeEvent,
  type RuntimeStatus,
  type Sandbox,
  type SandboxSpec,
} from '../../../kernel/contract/index.ts';
import { attachToContainer } from './attach.ts';
import { Cgroups } from './cgroups.ts';
import { containerCommand, invocation } from './container-command.ts';
import { ContainerLife, pause, readContainerRecord, type Launch } from './container-life.ts';
import { containerStats } from './container-stats.ts';
import { layerBytes } from './layer-bytes.ts';
import { NamespaceUsage } from './namespace-usage.ts';
import { CallOrder } from '../../../kernel/machinery/call-order.ts';
import {
  containerNotFound,
  containerNotRunning,
  sandboxNotReady,
} from '../../../kernel/machinery/engine/runtime-refusals.ts';
import { emptyStateFolder, openStateFolder } from '../../../kernel/machinery/engine/state-folder.ts';
import { EventStream } from '../../../kernel/machinery/event-stream.ts';
import { execInContainer } from './exec.ts';
import { canBeLayer, formatFstab } from './fstab.ts';
import { tryHostCommand } from './host-command.ts';
import { findHostFacts, type HostFacts } from './host-facts.ts';
import { ImageStore, describeImage, type LocalImage } from './images/image-store.ts';
import { checkId, layoutOf, makeLayout, type Layout } from './layout.ts';
import { isMountPoint } from './mount-table.ts';
import { planRoot } from './root-plan.ts';
import { SandboxLife } from './sandbox-life.ts';
import { lockState } from './state-lock.ts';
import { prepareTools } from './tools.ts';

export interface ProcessRuntimeOptions {
  readonly stateDir: string;
  readonly hidden: readonly string[];
  readonly log: Logger;
  readonly clock: Clock;
}

/** How often containers are looked at without a hint. */
const sweepMs = 2_000;

export class ProcessRuntime implements Runtime, AsyncDisposable {
  readonly #layout: Layout;
  readonly #facts: HostFacts;
  readonly #cgroups: Cgroups;
  readonly #processUsage: NamespaceUsage;
  readonly #images: ImageStore;
  readonly #options: ProcessRuntimeOptions;
  readonly #unlock: () => void;
  readonly #sandboxes = new Map<string, SandboxLife>();
  readonly #containers = new Map<string, ContainerLife>();
  /** By sandbox id. */
  readonly #order = new CallOrder();
  readonly #events = new EventStream<RuntimeEvent>();
  #watcher: FSWatcher | undefined;
  #sweep: NodeJS.Timeout | undefined;

  private constructor(
    layout: Layout,
    facts: HostFacts,
    cgroups: Cgroups,
    options: ProcessRuntimeOptions,
    unlock: () => void,
  ) {
    this.#unlock = unlock;
    this.#layout = layout;
    this.#facts = facts;
    this.#cgroups = cgroups;
    this.#processUsage = new NamespaceUsage(() => options.clock.now());
    this.#options = options;
    this.#images = new ImageStore(layout.images);
  }

  static async open(options: ProcessRuntimeOptions): Promise<ProcessRuntime> {
    const layout = layoutOf(openStateFolder(options.stateDir));
    if (!canBeLayer(layout.root))
      throw new PintleError(
        'UNSUPPORTED',
        `state folder ${layout.root}: overlayfs needs a path without blanks, commas, colons, quotes and backslashes; choose another`,
      );
    const unlock = lockState(layout.root);
    try {
      makeLayout(layout);
      await prepareTools(layout);
      const facts = await findHostFacts(layout);
      const runtime = new ProcessRuntime(layout, facts, Cgroups.open(layout.root, facts.isRealRoot), options, unlock);
      await runtime.#recover();
      return runtime;
    } catch (error) {
      unlock();
      throw error;
    }
  }

  status(): RuntimeStatus {
    const limitations = [
      ...(this.#facts.isRealRoot
        ? this.#cgroups.limitations()
        : ['no cgroup: memory, cpu and pids limits are not enforced (the node does not run as root)']),
      ...this.#facts.limitations,
    ];
    return { ready: true, version: 'process://1.0', limitations };
  }

  ensureSandbox(spec: SandboxSpec): Promise<Sandbox> {
    checkId(spec.id, 'sandbox');
    return this.#order.run(spec.id, async () => {
      const existing = this.#sandboxes.get(spec.id);
      if (existing !== undefined && (existing.isReady || existing.isStopped)) return existing.describe();
      const life = existing ?? new SandboxLife(this.#layout, { spec, createdMs: this.#options.clock.now() });
      if (existing === undefined) {
        life.persist();
        this.#sandboxes.set(spec.id, life);
      }
      this.#cgroups.makeSandbox(spec.id, life.spec.limits);
      await life.build();
      return life.describe();
    });
  }

  stopSandbox(id: string): Promise<void> {
    return this.#order.run(id, async () => {
      const sandbox = this.#sandboxes.get(id);
      if (sandbox === undefined || sandbox.isStopped) return;
      await Promise.all(this.#of(id).map((life) => life.stop(0)));
      await sandbox.stop();
      this.#events.push({ type: 'sandbox-stopped', sandboxId: id });
    });
  }

  removeSandbox(id: string): Promise<void> {
    return this.#order.run(id, async () => {
      const sandbox = this.#sandboxes.get(id);
      if (sandbox === undefined) return;
      await Promise.all(this.#of(id).map((life) => this.#remove(life)));
      await sandbox.stop();
      for (let round = 0; !this.#cgroups.removeSandbox(id) && round < 100; round++) await pause(20);
      await sandbox.remove();
      this.#sandboxes.delete(id);
      this.#events.push({ type: 'sandbox-stopped', sandboxId: id });
    });
  }

  async listSandboxes(podUid?: string): Promise<readonly Sandbox[]> {
    const lives = [...this.#sandboxes.values()];
    // Describing one looks at the kernel.
    return lives.filter(({ spec }) => podUid === undefined || spec.podUid === podUid).map((life) => life.describe());
  }

  startContainer(spec: ContainerSpec): Promise<Container> {
    checkId(spec.id, 'container');
    return this.#order.run(spec.sandboxId, async () => {
      const existing = this.#containers.get(spec.id);
      if (existing !== undefined) return existing.describe();
      const sandbox = this.#sandboxes.get(spec.sandboxId);
      if (sandbox === undefined || !sandbox.isReady) throw sandboxNotReady(spec, sandbox !== undefined);
      const image = this.#image(spec.image);
      const target = this.#targetOf(spec, sandbox);
      const life = this.#track({
        spec,
        imageId: image.id,
        stopSignal: spec.stopSignal ?? image.config.stopSignal,
        hostPid: sandbox.spec.hostPid,
        sharedPid: sandbox.spec.sharedPid === true || target !== undefined,
        createdMs: this.#options.clock.now(),
      });
      life.persist();
      await this.#launch(life, sandbox, image, target);
      this.#events.push({ type: 'container-started', sandboxId: spec.sandboxId, containerId: spec.id });
      return life.describe();
    });
  }

  /** Path of the pid namespace that the container enters besides those of its sandbox. */
  #targetOf(spec: ContainerSpec, sandbox: SandboxLife): string | undefined {
    if (spec.targetContainerId === undefined || sandbox.spec.hostPid || sandbox.spec.sharedPid === true)
      return undefined;
    const init = this.#containers.get(spec.targetContainerId)?.initProcess;
    if (init !== undefined) return `/proc/${init.pid}/ns/pid`;
    throw new PintleError(
      'CONTAINER_INVALID',
      `container ${spec.name}: its target ${spec.targetContainerId} does not run: start that first`,
    );
  }

  async #launch(
    life: ContainerLife,
    sandbox: SandboxLife,
    image: LocalImage,
    target: string | undefined,
  ): Promise<void> {
    const { spec } = life.record;
    let launch: Launch;
    try {
      const command = containerCommand(spec, image.config, sandbox.spec.hostname, this.#facts);
      const entries = await planRoot({
        layout: this.#layout,
        facts: this.#facts,
        spec,
        sandbox: sandbox.spec,
        folder: life.folder,
        rootfs: image.rootfs,
        hidden: this.#options.hidden,
        sharedMemory: sandbox.sharedMemory,
        workingDir: command.workingDir,
      });
      writeFileSync(join(life.folder, 'fstab'), formatFstab(entries));
      const bidirectional = spec.mounts.some(({ propagation }) => propagation === 'Bidirectional');
      launch = {
        propagation: bidirectional ? 'unchanged' : 'slave',
        nsenter: [...sandbox.nsenter, ...(target === undefined ? [] : [`--pid=${target}`])],
        procsFiles: this.#cgroups.makeContainer(spec.sandboxId, spec.id, spec.limits),
        invocation: invocation(spec, command, command.words, {
          tty: spec.tty,
          mapsWholeIds: this.#facts.uids.isWhole,
          enterWorkingDir: false,
        }),
        command: command.words[0] ?? '',
        path: command.path,
        workingDir: command.workingDir,
      };
    } catch (cause) {
      const text = cause instanceof Error ? cause.message : String(cause);
      await life.fail(128, text);
      if (isPintleError(cause)) throw cause;
      throw new PintleError(
        'CONTAINER_START_FAILED',
        `container ${spec.name}: its file system could not be prepared: ${text}`,
        { cause },
      );
    }
    await life.start(launch);
  }

  async stopContainer(id: string, graceMs: number): Promise<void> {
    await this.#containers.get(id)?.stop(graceMs);
  }

  async removeContainer(id: string): Promise<void> {
    const life = this.#containers.get(id);
    if (life === undefined) return;
    await life.stop(0);
    await this.#order.run(life.record.spec.sandboxId, async () => {
      if (this.#containers.get(id) === life) await this.#remove(life);
    });
  }

  async listContainers(sandboxId?: string): Promise<readonly Container[]> {
    const lives = sandboxId === undefined ? [...this.#containers.values()] : this.#of(sandboxId);
    return lives.map((life) => life.describe());
  }

  events(signal: AbortSignal): AsyncIterable<RuntimeEvent> {
    return this.#events.subscribe(signal);
  }

  async exec(
    containerId: string,
    request: { readonly command: readonly string[]; readonly stdin: boolean; readonly tty: boolean },
  ): Promise<ProcessStreams> {
    const life = this.#running(containerId);
    const sandbox = this.#sandboxes.get(life.record.spec.sandboxId);
    const image = this.#images.find(life.record.imageId) ?? this.#image(life.record.spec.image);
    const command = containerCommand(life.record.spec, image.config, sandbox?.spec.hostname ?? '', this.#facts);
    const { sandboxId } = life.record.spec;
    return execInContainer(life, command, request, {
      procsFiles: this.#cgroups.procsFiles(sandboxId, containerId),
      mapsWholeIds: this.#facts.uids.isWhole,
    });
  }

  async attach(
    containerId: string,
    request: { readonly stdin: boolean; readonly tty: boolean },
  ): Promise<ProcessStreams> {
    return attachToContainer(this.#running(containerId), request);
  }

  async stats(containerId: string, options: { readonly disk?: boolean | undefined } = {}): Promise<ContainerStats> {
    const life = this.#running(containerId);
    const { sandboxId } = life.record.spec;
    const fromCgroup = this.#cgroups.stats(sandboxId, containerId);
    const stats = containerStats(life, fromCgroup, this.#processUsage, this.#options.clock.now());
    if (options.disk !== true) return stats;
    return { ...stats, writableLayerBytes: await layerBytes(this.#layout, containerId) };
  }

  async imageStatus(name: string): Promise<Image | undefined> {
    const image = this.#images.find(name);
    return image === undefined ? undefined : describeImage(image);
  }

  async pullImage(name: string): Promise<Image> {
    return describeImage(this.#image(name));
  }

  async listImages(): Promise<readonly Image[]> {
    return this.#images.list().map(describeImage);
  }

  async removeImage(name: string): Promise<void> {
    const image = this.#images.find(name);
    const user = [...this.#containers.values()].find(({ record }) => record.imageId === image?.id);
    if (user !== undefined)
      throw new PintleError(
        'CONFLICT',
        `image ${name} is used by container ${user.record.spec.name}: remove that first`,
      );
    await this.#images.remove(name);
  }

  async purge(): Promise<void> {
    await Promise.all([...this.#sandboxes.keys()].map((id) => this.removeSandbox(id)));
    await Promise.all([...this.#containers.values()].map((life) => this.#remove(life)));
    await this.#close();
    this.#cgroups.purge();
    if (isMountPoint(this.#layout.memory)) await tryHostCommand(['umount', '--lazy', '--', this.#layout.memory]);
    await emptyStateFolder(this.#layout.root);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#close();
  }

  async #close(): Promise<void> {
    clearInterval(this.#sweep);
    this.#watcher?.close();
    this.#events.close();
    for (const life of this.#containers.values()) life.release();
    this.#unlock();
  }

  /** Takes over what an earlier agent left, and removes what belongs to nothing. */
  async #recover(): Promise<void> {
    for (const id of readdirSync(this.#layout.sandboxes)) {
      const life = SandboxLife.read(this.#layout, id);
      if (life !== undefined) this.#sandboxes.set(id, life);
      else await new SandboxLife(this.#layout, { spec: { ...noSpec, id }, createdMs: 0 }).remove();
    }
    for (const id of readdirSync(this.#layout.containers)) {
      const folder = join(this.#layout.containers, id);
      const record = readContainerRecord(folder);
      if (record === undefined) await rm(folder, { recursive: true, force: true });
      else this.#track(record);
    }
    for (const folder of [this.#layout.exits, this.#layout.memory])
      for (const id of readdirSync(folder))
        if (!this.#containers.has(id)) await rm(join(folder, id), { recursive: true, force: true });
    for (const id of this.#cgroups.strays(new Set(this.#sandboxes.keys()))) this.#cgroups.removeSandbox(id);
    this.#watcher = watch(this.#layout.exits, { persistent: false }, (_, name) => {
      if (name !== null) this.#containers.get(name)?.check();
    });
    this.#watcher.on('error', () => undefined);
    this.#sweep = setInterval(() => {
      for (const life of this.#containers.values()) life.check();
    }, sweepMs);
    this.#sweep.unref();
    await this.#images.sweep();
    await Promise.all([...this.#containers.values()].map((life) => life.resume()));
  }

  #track(record: ContainerLife['record']): ContainerLife {
    const life = new ContainerLife(record, {
      layout: this.#layout,
      cgroups: this.#cgroups,
      onEnd: (ended) =>
        this.#events.push({ type: 'container-exited', sandboxId: ended.record.spec.sandboxId, containerId: ended.id }),
    });
    this.#containers.set(life.id, life);
    return life;
  }

  async #remove(life: ContainerLife): Promise<void> {
    await life.stop(0);
    await life.remove();
    this.#containers.delete(life.id);
  }

  #of(sandboxId: string): readonly ContainerLife[] {
    return [...this.#containers.values()].filter((life) => life.record.spec.sandboxId === sandboxId);
  }

  #running(id: string): ContainerLife {
    const life = this.#containers.get(id);
    if (life === undefined) throw containerNotFound(id);
    const { state } = life.describe();
    if (state !== 'running') throw containerNotRunning(life.record.spec.name, state);
    return life;
  }

  #image(name: string): LocalImage {
    const image = this.#images.find(name);
    if (image !== undefined) return image;
    throw new PintleError(
      'IMAGE_NOT_FOUND',
      `image ${name} is not on this node: runtime process downloads nothing; use image "host", or import a folder, tarball, docker or OCI archive first (pintle image import)`,
    );
  }
}

const noSpec: SandboxSpec = {
  id: '',
  podNamespace: '',
  podName: '',
  podUid: '',
  hostname: '',
  labels: {},
  hostNetwork: false,
  hostIpc: false,
  hostPid: false,
  resolvConf: '',
  etcHosts: '',
  sysctls: {},
};
