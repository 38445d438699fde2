/**
 * A runtime in which nothing runs: it keeps the records, tells the states and writes the logs that a real one would. Its
 * records are files, so that it can be left and opened again like a real one; a container that runs for ever costs one
 * small file and no timer.
 */
import { appendFileSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import {
  PintleError,
  type Clock,
  type Container,
  type ContainerSpec,
  type ContainerStats,
  type Image,
  type ProcessStreams,
  type Runtime,
  type RuntimeEvent,
  type RuntimeStatus,
  type Sandbox,
  type SandboxSpec,
} from '../../../kernel/contract/index.ts';
import {
  containerNotFound,
  containerNotRunning,
  sandboxNotReady,
} from '../../../kernel/machinery/engine/runtime-refusals.ts';

export interface HollowOptions {
  readonly stateDir: string;
  readonly clock: Clock;
  /** What starting a container takes. */
  readonly startDelayMs: number;
  /** What a container says it uses, unless its environment says otherwise. */
  readonly cpuMillis: number;
  readonly memoryBytes: number;
}

interface SandboxRecord {
  readonly spec: SandboxSpec;
  readonly createdMs: number;
  readonly isStopped: boolean;
}

interface ContainerRecord {
  readonly spec: ContainerSpec;
  readonly createdMs: number;
  readonly startedMs: number;
  /** When and how it ends, or has ended; undefined: runs for ever. */
  readonly end: Ending | undefined;
}

interface Ending {
  readonly atMs: number;
  readonly exitCode: number;
  /** Why it could not be started. */
  readonly failure?: string | undefined;
}

/** Longest delay that a timer of Node takes. */
const maxTimerMs = 2 ** 31 - 1;

export class HollowRuntime implements Runtime, AsyncDisposable {
  readonly #options: HollowOptions;
  readonly #sandboxes = new Map<string, SandboxRecord>();
  readonly #containers = new Map<string, ContainerRecord>();
  readonly #starting = new Map<string, Promise<Container>>();
  readonly #timers = new Map<string, NodeJS.Timeout>();
  readonly #subscribers = new Set<(event: RuntimeEvent | undefined) => void>();
  readonly #stop = new AbortController();

  constructor(options: HollowOptions) {
    this.#options = options;
    for (const folder of ['sandboxes', 'containers']) mkdirSync(join(options.stateDir, folder), { recursive: true });
    for (const record of this.#load<SandboxRecord>('sandboxes')) this.#sandboxes.set(record.spec.id, record);
    for (const record of this.#load<ContainerRecord>('containers')) {
      this.#containers.set(record.spec.id, record);
      this.#arm(record);
    }
  }

  status(): RuntimeStatus {
    const limitations = ['nothing runs: containers are records only, and their usage is made up'];
    return { ready: true, version: 'hollow://1.0', limitations, simulated: true };
  }

  async ensureSandbox(spec: SandboxSpec): Promise<Sandbox> {
    const record = this.#sandboxes.get(spec.id) ?? { spec, createdMs: this.#options.clock.now(), isStopped: false };
    if (!this.#sandboxes.has(spec.id)) this.#saveSandbox(record);
    return describeSandbox(record);
  }

  async stopSandbox(id: string): Promise<void> {
    const record = this.#sandboxes.get(id);
    if (record === undefined || record.isStopped) return;
    for (const container of this.#of(id)) this.#finish(container, 137);
    this.#saveSandbox({ ...record, isStopped: true });
    this.#emit({ type: 'sandbox-stopped', sandboxId: id });
  }

  async removeSandbox(id: string): Promise<void> {
    await this.stopSandbox(id);
    for (const container of this.#of(id)) this.#forget(container);
    this.#sandboxes.delete(id);
    rmSync(this.#path('sandboxes', id), { force: true });
  }

  async listSandboxes(podUid?: string): Promise<readonly Sandbox[]> {
    const records = [...this.#sandboxes.values()];
    const wanted = podUid === undefined ? records : records.filter(({ spec }) => spec.podUid === podUid);
    return wanted.map(describeSandbox);
  }

  async startContainer(spec: ContainerSpec): Promise<Container> {
    const existing = this.#containers.get(spec.id);
    if (existing !== undefined) return this.#describe(existing);
    const starting = this.#starting.get(spec.id) ?? this.#start(spec).finally(() => this.#starting.delete(spec.id));
    this.#starting.set(spec.id, starting);
    return starting;
  }

  async #start(spec: ContainerSpec): Promise<Container> {
    const createdMs = this.#options.clock.now();
    this.#checkStartable(spec);
    if (this.#options.startDelayMs > 0) {
      await this.#options.clock.sleep(this.#options.startDelayMs, this.#stop.signal);
      this.#checkStartable(spec);
    }
    const setting = (name: string): string | undefined =>
      spec.env.findLast((variable) => variable.name === name)?.value;
    const startedMs = this.#options.clock.now();
    const end = plannedEnd(setting('HOLLOW_EXIT_CODE'), setting('HOLLOW_EXIT_AFTER_MS'), startedMs);
    const record: ContainerRecord = { spec, createdMs, startedMs, end };
    this.#saveContainer(record);
    if (end?.failure !== undefined)
      throw new PintleError('CONTAINER_INVALID', `container ${spec.name}: ${end.failure}`);
    this.#log(spec, setting('HOLLOW_LOG') ?? `hollow container ${spec.name} started`);
    this.#emit({ type: 'container-started', sandboxId: spec.sandboxId, containerId: spec.id });
    this.#arm(record);
    return this.#describe(record);
  }

  #checkStartable(spec: ContainerSpec): void {
    const sandbox = this.#sandboxes.get(spec.sandboxId);
    if (sandbox === undefined || sandbox.isStopped) throw sandboxNotReady(spec, sandbox !== undefined);
    if (isAbsent(spec.image)) throw imageNotFound(spec.image);
  }

  async stopContainer(id: string, _graceMs: number): Promise<void> {
    // Whoever started it hears why it failed.
    await this.#starting.get(id)?.catch(() => undefined);
    const record = this.#containers.get(id);
    if (record !== undefined) this.#finish(record, 143);
  }

  async removeContainer(id: string): Promise<void> {
    await this.stopContainer(id, 0);
    const record = this.#containers.get(id);
    if (record !== undefined) this.#forget(record);
  }

  async listContainers(sandboxId?: string): Promise<readonly Container[]> {
    const records = sandboxId === undefined ? [...this.#containers.values()] : this.#of(sandboxId);
    return records.map((record) => this.#describe(record));
  }

  async *events(signal: AbortSignal): AsyncIterable<RuntimeEvent> {
    const queue: (RuntimeEvent | undefined)[] = [];
    let wake = (): void => undefined;
    const subscriber = (event: RuntimeEvent | undefined): void => {
      queue.push(event);
      wake();
    };
    const onAbort = (): void => subscriber(undefined);
    this.#subscribers.add(subscriber);
    signal.addEventListener('abort', onAbort, { once: true });
    try {
      while (!signal.aborted && !this.#stop.signal.aborted) {
        if (queue.length === 0)
          await new Promise<void>((resolve) => {
            wake = resolve;
          });
        const event = queue.shift();
        if (event !== undefined) yield event;
      }
    } finally {
      this.#subscribers.delete(subscriber);
      signal.removeEventListener('abort', onAbort);
    }
  }

  async exec(containerId: string): Promise<ProcessStreams> {
    this.#running(containerId);
    throw unsupported('exec');
  }

  async attach(containerId: string): Promise<ProcessStreams> {
    this.#running(containerId);
    throw unsupported('attach');
  }

  async stats(containerId: string): Promise<ContainerStats> {
    const { spec, startedMs } = this.#running(containerId);
    const timeMs = this.#options.clock.now();
    const cpuMillis = madeUp(spec, 'HOLLOW_CPU_MILLIS') ?? this.#options.cpuMillis;
    const memoryBytes = madeUp(spec, 'HOLLOW_MEMORY_BYTES') ?? this.#options.memoryBytes;
    return { timeMs, cpuNanos: (timeMs - startedMs) * cpuMillis * 1000, memoryBytes, workingSetBytes: memoryBytes };
  }

  async imageStatus(name: string): Promise<Image | undefined> {
    return isAbsent(name) ? undefined : imageOf(name);
  }

  async pullImage(name: string): Promise<Image> {
    if (isAbsent(name)) throw imageNotFound(name);
    return imageOf(name);
  }

  async listImages(): Promise<readonly Image[]> {
    return [...new Set([...this.#containers.values()].map(({ spec }) => spec.image))].map(imageOf);
  }

  async removeImage(_name: string): Promise<void> {
    // Every image is here without taking any space.
  }

  async purge(): Promise<void> {
    for (const id of [...this.#sandboxes.keys()]) await this.removeSandbox(id);
    for (const record of [...this.#containers.values()]) this.#forget(record);
    for (const folder of ['sandboxes', 'containers'])
      rmSync(join(this.#options.stateDir, folder), { recursive: true, force: true });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort(new PintleError('UNAVAILABLE', 'runtime hollow has been disposed'));
    for (const timer of this.#timers.values()) clearTimeout(timer);
    this.#timers.clear();
    for (const subscriber of this.#subscribers) subscriber(undefined);
  }

  #describe({ spec, createdMs, startedMs, end }: ContainerRecord): Container {
    const { id, sandboxId, name, attempt, image, labels, logPath } = spec;
    const about = {
      id,
      sandboxId,
      name,
      attempt,
      image,
      imageId: imageOf(image).id,
      labels,
      createdMs,
      startedMs,
      logPath,
    };
    if (end === undefined || end.atMs > this.#options.clock.now()) return { ...about, state: 'running' };
    const reason = end.failure !== undefined ? 'StartError' : end.exitCode === 0 ? 'Completed' : 'Error';
    return { ...about, state: 'exited', finishedMs: end.atMs, exitCode: end.exitCode, reason, message: end.failure };
  }

  #finish(record: ContainerRecord, exitCode: number): void {
    const now = this.#options.clock.now();
    if (record.end !== undefined && record.end.atMs <= now) return;
    clearTimeout(this.#timers.get(record.spec.id));
    this.#saveContainer({ ...record, end: { atMs: now, exitCode } });
    this.#emit({ type: 'container-exited', sandboxId: record.spec.sandboxId, containerId: record.spec.id });
  }

  /** Tells of an end that lies ahead when it comes. */
  #arm({ spec, end }: ContainerRecord): void {
    const left = end === undefined ? undefined : end.atMs - this.#options.clock.now();
    if (left === undefined || left > maxTimerMs) return;
    const timer = setTimeout(
      () => {
        this.#timers.delete(spec.id);
        this.#emit({ type: 'container-exited', sandboxId: spec.sandboxId, containerId: spec.id });
      },
      Math.max(0, left),
    );
    timer.unref();
    this.#timers.set(spec.id, timer);
  }

  #forget({ spec }: ContainerRecord): void {
    clearTimeout(this.#timers.get(spec.id));
    this.#timers.delete(spec.id);
    rmSync(spec.logPath, { force: true });
    rmSync(this.#path('containers', spec.id), { force: true });
    this.#containers.delete(spec.id);
  }

  #running(id: string): ContainerRecord {
    const record = this.#containers.get(id);
    if (record === undefined) throw containerNotFound(id);
    if (this.#describe(record).state !== 'running') throw containerNotRunning(record.spec.name, 'exited');
    return record;
  }

  #of(sandboxId: string): readonly ContainerRecord[] {
    return [...this.#containers.values()].filter(({ spec }) => spec.sandboxId === sandboxId);
  }

  #log({ logPath }: ContainerSpec, text: string): void {
    const time = new Date(this.#options.clock.now()).toISOString().replace('Z', '000000Z');
    const lines = text
      .split('\n')
      .map((line) => `${time} stdout F ${line}\n`)
      .join('');
    try {
      appendFileSync(logPath, lines);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
      mkdirSync(dirname(logPath), { recursive: true });
      appendFileSync(logPath, lines);
    }
  }

  #emit(event: RuntimeEvent): void {
    for (const subscriber of this.#subscribers) subscriber(event);
  }

  #saveSandbox(record: SandboxRecord): void {
    this.#write(this.#path('sandboxes', record.spec.id), record);
    this.#sandboxes.set(record.spec.id, record);
  }

  #saveContainer(record: ContainerRecord): void {
    this.#write(this.#path('containers', record.spec.id), record);
    this.#containers.set(record.spec.id, record);
  }

  #write(path: string, record: unknown): void {
    writeFileSync(`${path}.tmp`, JSON.stringify(record));
    renameSync(`${path}.tmp`, path);
  }

  #load<T>(folder: string): readonly T[] {
    const path = join(this.#options.stateDir, folder);
    return readdirSync(path)
      .filter((name) => name.endsWith('.json'))
      .map((name) => JSON.parse(readFileSync(join(path, name), 'utf8')) as T);
  }

  #path(folder: string, id: string): string {
    return join(this.#options.stateDir, folder, `${encodeURIComponent(id)}.json`);
  }
}

function describeSandbox({ spec, createdMs, isStopped }: SandboxRecord): Sandbox {
  const { id, podNamespace, podName, podUid, labels } = spec;
  return { id, podNamespace, podName, podUid, labels, ready: !isStopped, netns: undefined, createdMs };
}

/** A figure that the container's environment gives; undefined when it gives none that is a number. */
function madeUp(spec: ContainerSpec, name: string): number | undefined {
  const text = spec.env.findLast((variable) => variable.name === name)?.value;
  return text !== undefined && /^\d{1,15}$/.test(text) ? Number(text) : undefined;
}

/** From HOLLOW_EXIT_CODE and HOLLOW_EXIT_AFTER_MS; without either it runs for ever. */
function plannedEnd(code: string | undefined, afterMs: string | undefined, startedMs: number): Ending | undefined {
  if (code === undefined && afterMs === undefined) return undefined;
  const wrong = [code, afterMs].find((text) => text !== undefined && !/^\d{1,9}$/.test(text));
  if (wrong !== undefined)
    return {
      atMs: startedMs,
      exitCode: 128,
      failure: `HOLLOW_EXIT_CODE and HOLLOW_EXIT_AFTER_MS: expected whole numbers, got ${JSON.stringify(wrong)}`,
    };
  return { atMs: startedMs + Number(afterMs ?? 0), exitCode: Number(code ?? 0) };
}

/** So that a failing pull can be tried at scale: every other image is here. */
function isAbsent(image: string): boolean {
  return image.split('/').includes('absent');
}

function imageOf(name: string): Image {
  return { id: `hollow:${name}`, names: [name], sizeBytes: 0 };
}

function imageNotFound(name: string): PintleError {
  return new PintleError(
    'IMAGE_NOT_FOUND',
    `image ${name}: a name with a part "absent" stands for an image that does not exist; use another`,
  );
}

function unsupported(verb: string): PintleError {
  return new PintleError(
    'UNSUPPORTED',
    `${verb}: nothing runs in runtime hollow; choose a runtime with the capability "real", such as process`,
  );
}
