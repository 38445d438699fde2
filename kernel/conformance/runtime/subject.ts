/** What a case of the runtime kit works with: a runtime on a state folder of its own, and specs that fit it. */
import { mkdtemp, rm } from 'node:fs/promises';
import { existsSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Container, ContainerSpec, Runtime, RuntimeCapability, SandboxSpec } from '../../contract/index.ts';
import type { KitAssertions, KitCase } from '../kit.ts';
import { startRuntimeAgent, type RuntimeAgent } from './agent.ts';

export type OpenRuntime = Runtime & AsyncDisposable;
export type RuntimeCase = KitCase<RuntimeSubject, RuntimeCapability | 'crash'>;

/** What a container of a case should do. Without `exitCode` it runs until it is stopped. */
export interface Behaviour {
  /** Lines on standard output. */
  readonly say?: readonly string[];
  readonly exitCode?: number;
}

export interface RuntimeKitOptions {
  readonly name: string;
  readonly capabilities: readonly RuntimeCapability[];
  /** Opens the runtime on a state folder, which may hold what an earlier one left. */
  readonly open: (stateDir: string) => Promise<OpenRuntime>;
  /** An image that is on the node. */
  readonly image: string;
  /** An image that is nowhere. Default: "absent/image:1". */
  readonly absentImage?: string;
  /** How a container is told what to do. Default: a script for `sh`. */
  readonly behave?: (wish: Behaviour) => Partial<ContainerSpec>;
  /** What a case's script becomes before it is run. Default: nothing else. */
  readonly wrapScript?: (script: string) => string;
  /** URL of a module whose default export is the plugin: the cases that kill an agent run it in a process of its own. */
  readonly module?: string;
  /** The plugin's configuration there. Default: none. */
  readonly config?: unknown;
  /** Where state folders and logs are made. Default: the system's folder for temporary files. */
  readonly folder?: string;
}

export class RuntimeSubject {
  readonly options: RuntimeKitOptions;
  /** A folder of the case's own, for logs and volumes. */
  readonly folder: string;
  readonly stateDir: string;
  runtime: OpenRuntime;
  readonly #t: KitAssertions;
  #count = 0;

  private constructor(options: RuntimeKitOptions, folder: string, runtime: OpenRuntime, t: KitAssertions) {
    this.options = options;
    this.folder = folder;
    this.stateDir = join(folder, 'state');
    this.runtime = runtime;
    this.#t = t;
  }

  static async open(options: RuntimeKitOptions, t: KitAssertions): Promise<RuntimeSubject> {
    const folder = await mkdtemp(join(options.folder ?? tmpdir(), 'pintle-runtime-kit-'));
    const runtime = await options.open(join(folder, 'state'));
    const subject = new RuntimeSubject(options, folder, runtime, t);
    t.teardown(async () => {
      try {
        await subject.runtime.purge();
        await subject.runtime[Symbol.asyncDispose]();
      } finally {
        await rm(folder, { recursive: true, force: true });
      }
    });
    return subject;
  }

  /** What an orderly restart of the agent does. */
  async reopen(): Promise<OpenRuntime> {
    await this.runtime[Symbol.asyncDispose]();
    this.runtime = await this.options.open(this.stateDir);
    return this.runtime;
  }

  /** Hands the state folder to an agent in a process of its own; `takeBack` opens it here again. */
  async handOver(): Promise<RuntimeAgent> {
    await this.runtime[Symbol.asyncDispose]();
    const { module } = this.options;
    if (module === undefined) throw new Error('the kit was given no module to run in a process of its own');
    const agent = await startRuntimeAgent(module, this.stateDir, this.options.config);
    this.#t.teardown(() => agent.kill());
    return agent;
  }

  async takeBack(): Promise<OpenRuntime> {
    this.runtime = await this.options.open(this.stateDir);
    return this.runtime;
  }

  sandboxSpec(over: Partial<SandboxSpec> = {}): SandboxSpec {
    const id = `sandbox-${++this.#count}`;
    return {
      id,
      podNamespace: 'default',
      podName: `pod-${this.#count}`,
      podUid: `uid-${this.#count}`,
      hostname: `host-${this.#count}`,
      labels: { app: 'kit' },
      hostNetwork: false,
      hostIpc: false,
      hostPid: false,
      resolvConf: 'nameserver 192.0.2.53\nsearch kit.example\n',
      etcHosts: '127.0.0.1\tlocalhost\n192.0.2.7\tkit-peer\n',
      sysctls: {},
      ...over,
    };
  }

  containerSpec(sandboxId: string, wish: Behaviour | Partial<ContainerSpec> = {}): ContainerSpec {
    const id = `container-${++this.#count}`;
    const isWish = 'say' in wish || 'exitCode' in wish || Object.keys(wish).length === 0;
    return {
      id,
      sandboxId,
      name: `main-${this.#count}`,
      attempt: 2,
      image: this.options.image,
      labels: { kit: 'yes' },
      command: [],
      args: [],
      env: [],
      mounts: [],
      readOnlyRoot: false,
      privileged: false,
      noNewPrivileges: false,
      addCapabilities: [],
      dropCapabilities: [],
      tty: false,
      stdin: false,
      logPath: join(this.folder, 'logs', id, '0.log'),
      maxLogBytes: 10_000_000,
      maxLogFiles: 3,
      ...(isWish ? (this.options.behave ?? scriptFor)(wish as Behaviour) : wish),
    };
  }

  /** A container that runs a script of `sh`. For cases that need `real`. */
  scriptSpec(sandboxId: string, script: string, over: Partial<ContainerSpec> = {}): ContainerSpec {
    const { wrapScript = (plain: string) => plain } = this.options;
    return this.containerSpec(sandboxId, { command: ['sh', '-c', wrapScript(script)], ...over });
  }

  /** A sandbox, and a container in it that has been started. */
  async started(
    wish: Behaviour | Partial<ContainerSpec> = {},
  ): Promise<{ readonly sandboxId: string; readonly spec: ContainerSpec; readonly container: Container }> {
    const { id: sandboxId } = await this.runtime.ensureSandbox(this.sandboxSpec());
    const spec = this.containerSpec(sandboxId, wish);
    return { sandboxId, spec, container: await this.runtime.startContainer(spec) };
  }

  async find(id: string): Promise<Container | undefined> {
    return (await this.runtime.listContainers()).find((container) => container.id === id);
  }

  /** Waits until the container has ended. */
  async ended(id: string): Promise<Container> {
    return until(`container ${id} has ended`, async () => {
      const container = await this.find(id);
      return container?.state === 'exited' ? container : undefined;
    });
  }

  /** Runs a script in a sandbox of its own to its end; resolves to its exit code and what it printed. */
  async run(
    script: string,
    over: Partial<ContainerSpec> = {},
    sandbox: Partial<SandboxSpec> = {},
  ): Promise<{ readonly exitCode: number | undefined; readonly stdout: string; readonly stderr: string }> {
    const { id } = await this.runtime.ensureSandbox(this.sandboxSpec(sandbox));
    const spec = this.scriptSpec(id, script, over);
    await this.runtime.startContainer(spec);
    const { exitCode } = await this.ended(spec.id);
    const log = readLog(spec.logPath);
    return { exitCode, stdout: log.text('stdout'), stderr: log.text('stderr') };
  }
}

/** The default behaviour: a script. It prints first, so that a case can wait for it. */
function scriptFor({ say = [], exitCode }: Behaviour): Partial<ContainerSpec> {
  const end = exitCode === undefined ? 'sleep 1000000 & wait' : `exit ${exitCode}`;
  return {
    // As pid 1 it would not hear TERM without a handler; it has one before it says anything.
    command: [
      'sh',
      '-c',
      'trap "exit 143" TERM; for line; do printf "%s\\n" "$line"; done; eval "$KIT_END"',
      'sh',
      ...say,
    ],
    env: [{ name: 'KIT_END', value: end }],
  };
}

/** The kit's own tests, in which runtimes are broken on purpose, do not wait so long. */
export const patience = { ms: 60_000 };

/** Waits for a condition; the deadline only bounds a test that fails. */
export async function until<T>(what: string, condition: () => Promise<T | undefined> | T | undefined): Promise<T> {
  const deadline = Date.now() + patience.ms;
  for (;;) {
    const value = await condition();
    if (value !== undefined && value !== false) return value;
    if (Date.now() > deadline) throw new Error(`did not happen: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

export interface LogLine {
  readonly time: string;
  readonly stream: string;
  readonly tag: string;
  readonly text: string;
}

/** A log in the form of the CRI; a line of another form is an error. */
export function readLog(path: string): {
  readonly lines: readonly LogLine[];
  readonly text: (stream: string) => string;
} {
  const content = existsSync(path) ? readFileSync(path, 'utf8') : '';
  const lines = content
    .split('\n')
    .slice(0, -1)
    .map((line): LogLine => {
      const match = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?Z (stdout|stderr) ([FP]) (.*)$/.exec(line);
      if (match === null) throw new Error(`no line of a CRI log: ${JSON.stringify(line.slice(0, 200))}`);
      const [, seconds = '', fraction = '', stream = '', tag = '', text = ''] = match;
      // All nine digits, so that times compare as texts.
      return { time: `${seconds}.${fraction.padEnd(9, '0')}Z`, stream, tag, text };
    });
  return {
    lines,
    text: (stream) =>
      lines
        .filter((line) => line.stream === stream)
        .map(({ text, tag }) => (tag === 'F' ? `${text}\n` : text))
        .join(''),
  };
}

/** Processes whose command line holds `marker`, zombies aside. */
export function processesWith(marker: string, pids: readonly string[]): readonly string[] {
  return pids.filter((pid) => {
    try {
      return readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(marker);
    } catch {
      return false;
    }
  });
}
