/**
 * The sandboxes and containers of one agent, as the container runtime has them, and the containers that it refused to
 * make, which are kept in files. Keeps what it was last told of those that have not changed.
 */
import { mkdirSync, readFileSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Container, Sandbox } from '../../../kernel/contract/index.ts';
import {
  containerFacts,
  failureOf,
  labelKeys,
  sandboxFacts,
  type ContainerFacts,
  type Failure,
  type SandboxFacts,
} from '../../../kernel/machinery/engine/engine-labels.ts';
import { startExitCode, startMessage } from '../../../kernel/machinery/engine/start-failure.ts';
import { visibleNetns } from '../../../kernel/machinery/engine/visible-netns.ts';
import { isNotFound, type CriClient } from './cri-client.ts';

type Labels = Readonly<Record<string, string>>;

interface CriSandbox {
  readonly id: string;
  readonly state: number;
  readonly created_at: number;
  readonly labels: Labels;
  readonly annotations: Labels;
}

interface CriContainer {
  readonly id: string;
  readonly image_ref: string;
  readonly image_id: string;
  readonly state: number;
  readonly created_at: number;
  readonly labels: Labels;
  readonly annotations: Labels;
}

interface CriStatus {
  readonly status: {
    readonly state: number;
    readonly started_at: number;
    readonly finished_at: number;
    readonly exit_code: number;
    readonly reason: string;
    readonly message: string;
  };
  readonly info: Labels;
}

export interface KnownSandbox {
  readonly criId: string;
  readonly facts: SandboxFacts;
  readonly sandbox: Sandbox;
}

export interface KnownContainer {
  /** Undefined for one that was never made. */
  readonly criId: string | undefined;
  readonly facts: ContainerFacts;
  readonly container: Container;
}

const sandboxReady = 0;
const containerStates = { created: 0, running: 1, exited: 2, unknown: 3 } as const;

const ms = (nanoseconds: number): number => Math.floor(nanoseconds / 1_000_000);

export class Inventory {
  readonly #client: CriClient;
  readonly #owner: string;
  readonly #failures: string;
  /** Network namespaces of sandboxes that are up, by the runtime's id. */
  readonly #netns = new Map<string, string | undefined>();
  /** Containers in a state that lasts, by the runtime's id. */
  readonly #statuses = new Map<string, { readonly state: number; readonly container: Container }>();

  constructor(client: CriClient, owner: string, failuresFolder: string) {
    this.#client = client;
    this.#owner = owner;
    this.#failures = failuresFolder;
    mkdirSync(failuresFolder, { recursive: true });
  }

  async sandboxes(): Promise<readonly KnownSandbox[]> {
    const filter = { label_selector: { [labelKeys.owner]: this.#owner } };
    const { items } = await this.#client.runtime<{ items: CriSandbox[] }>('ListPodSandbox', { filter });
    const ids = new Set(items.map(({ id }) => id));
    for (const id of this.#netns.keys()) if (!ids.has(id)) this.#netns.delete(id);
    const known = await Promise.all(items.map((item) => this.#describeSandbox(item)));
    return known.filter((one) => one !== undefined);
  }

  async sandbox(id: string): Promise<KnownSandbox | undefined> {
    return (await this.sandboxes()).find(({ facts }) => facts.id === id);
  }

  async containers(): Promise<readonly KnownContainer[]> {
    const filter = { label_selector: { [labelKeys.owner]: this.#owner } };
    const { containers } = await this.#client.runtime<{ containers: CriContainer[] }>('ListContainers', { filter });
    const ids = new Set(containers.map(({ id }) => id));
    for (const id of this.#statuses.keys()) if (!ids.has(id)) this.#statuses.delete(id);
    const known = await Promise.all(containers.map((item) => this.#describeContainer(item)));
    return [...known.filter((one) => one !== undefined), ...this.#failed()];
  }

  async container(id: string): Promise<KnownContainer | undefined> {
    return (await this.containers()).find(({ facts }) => facts.id === id);
  }

  /** Puts on record that it could not be made. */
  recordFailure(labels: Labels, failure: Failure, createdMs: number): void {
    const facts = containerFacts(labels);
    if (facts === undefined) return;
    const path = join(this.#failures, facts.id);
    const record = { createdMs, labels: { ...labels, [labelKeys.failure]: JSON.stringify(failure) } };
    writeFileSync(`${path}~`, JSON.stringify(record), { mode: 0o600 });
    renameSync(`${path}~`, path);
  }

  forgetFailure(id: string): void {
    rmSync(join(this.#failures, id), { force: true });
  }

  #failed(): readonly KnownContainer[] {
    return readdirSync(this.#failures)
      .filter((name) => !name.endsWith('~'))
      .flatMap((name): readonly KnownContainer[] => {
        let record: { readonly createdMs: number; readonly labels: Labels };
        try {
          record = JSON.parse(readFileSync(join(this.#failures, name), 'utf8')) as typeof record;
        } catch {
          return [];
        }
        const facts = containerFacts(record.labels);
        const failure = failureOf(record.labels);
        if (facts === undefined || failure === undefined) return [];
        const container: Container = {
          ...about(facts, failure.imageId, record.createdMs),
          state: 'exited',
          finishedMs: record.createdMs,
          exitCode: failure.exitCode,
          reason: 'StartError',
          message: failure.message,
        };
        return [{ criId: undefined, facts, container }];
      });
  }

  async #describeSandbox(item: CriSandbox): Promise<KnownSandbox | undefined> {
    const facts = sandboxFacts({ ...item.labels, ...item.annotations });
    if (facts === undefined) return undefined;
    const isUp = item.state === sandboxReady;
    if (!isUp) this.#netns.delete(item.id);
    const netns = isUp && !facts.hostNetwork ? await this.#netnsOf(item.id) : undefined;
    const { id, podNamespace, podName, podUid, labels } = facts;
    const ready = isUp && (facts.hostNetwork || netns !== undefined);
    const sandbox = { id, podNamespace, podName, podUid, labels, ready, netns, createdMs: ms(item.created_at) };
    return { criId: item.id, facts, sandbox };
  }

  async #netnsOf(criId: string): Promise<string | undefined> {
    if (this.#netns.has(criId)) return this.#netns.get(criId);
    try {
      const { info } = await this.#client.runtime<{ info: Labels }>('PodSandboxStatus', {
        pod_sandbox_id: criId,
        verbose: true,
      });
      // What containerd and CRI-O tell when they are asked to be verbose.
      const told = JSON.parse(info['info'] ?? '{}') as {
        readonly pid?: number;
        readonly runtimeSpec?: {
          readonly linux?: { readonly namespaces?: readonly { type: string; path?: string }[] };
        };
      };
      const mount = told.runtimeSpec?.linux?.namespaces?.find(({ type }) => type === 'network')?.path;
      const netns = visibleNetns(mount, { pid: told.pid ?? 0, containerId: criId });
      this.#netns.set(criId, netns);
      return netns;
    } catch (error) {
      if (isNotFound(error)) return undefined;
      throw error;
    }
  }

  async #describeContainer(item: CriContainer): Promise<KnownContainer | undefined> {
    const facts = containerFacts({ ...item.labels, ...item.annotations });
    if (facts === undefined) return undefined;
    const known = this.#statuses.get(item.id);
    if (known?.state === item.state) return { criId: item.id, facts, container: known.container };
    try {
      const answer = await this.#client.runtime<CriStatus>('ContainerStatus', { container_id: item.id, verbose: true });
      const container = describe(about(facts, item.image_id || item.image_ref, ms(item.created_at)), answer);
      const { state } = answer.status;
      if (state === containerStates.running || state === containerStates.exited)
        this.#statuses.set(item.id, { state, container });
      return { criId: item.id, facts, container };
    } catch (error) {
      if (isNotFound(error)) return undefined;
      throw error;
    }
  }
}

type About = Omit<Container, 'state'>;

function about(facts: ContainerFacts, imageId: string, createdMs: number): About {
  const { id, sandboxId, name, attempt, image, labels, logPath } = facts;
  return { id, sandboxId, name, attempt, image, imageId, labels, createdMs, logPath };
}

function describe(common: About, { status, info }: CriStatus): Container {
  if (status.state === containerStates.created) return { ...common, state: 'created' };
  const startedMs = ms(status.started_at);
  if (status.state === containerStates.running) {
    const { pid } = JSON.parse(info['info'] ?? '{}') as { readonly pid?: number };
    return { ...common, state: 'running', startedMs, ...(pid === undefined ? {} : { pid }) };
  }
  const finishedMs = status.finished_at === 0 ? Math.max(startedMs, common.createdMs) : ms(status.finished_at);
  if (status.started_at === 0) {
    const message = startMessage(status.message);
    const exitCode = startExitCode(message);
    return { ...common, state: 'exited', finishedMs, exitCode, reason: 'StartError', message };
  }
  const { exit_code: exitCode, message } = status;
  return {
    ...common,
    state: 'exited',
    startedMs,
    finishedMs: Math.max(startedMs, finishedMs),
    exitCode,
    reason: status.reason === 'OOMKilled' ? 'OOMKilled' : exitCode === 0 ? 'Completed' : 'Error',
    ...(message === '' ? {} : { message }),
  };
}
