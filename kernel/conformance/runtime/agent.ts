/**
 * A runtime in a process of its own, so that the kit can kill it as a crash would: without a chance to tidy up. The
 * process is this very module, started by `startRuntimeAgent`; calls go over Node's IPC channel.
 */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import {
  PintleError,
  type Container,
  type ContainerSpec,
  type ErrorCode,
  type Plugin,
  type Runtime,
  type Sandbox,
  type SandboxSpec,
} from '../../contract/index.ts';

export interface RuntimeAgent {
  ensureSandbox(spec: SandboxSpec): Promise<Sandbox>;
  startContainer(spec: ContainerSpec): Promise<Container>;
  listContainers(): Promise<readonly Container[]>;
  removeSandbox(id: string): Promise<void>;
  /** SIGKILL, and wait until it is gone. */
  kill(): Promise<void>;
}

type Verb = 'ensureSandbox' | 'startContainer' | 'listContainers' | 'removeSandbox';

interface Call {
  readonly id: number;
  readonly verb: Verb;
  readonly args: readonly unknown[];
}

interface Answer {
  readonly id: number;
  readonly value?: unknown;
  readonly error?: { readonly code: ErrorCode; readonly message: string };
}

const environmentKey = 'PINTLE_RUNTIME_KIT_AGENT';

export async function startRuntimeAgent(module: string, stateDir: string, config: unknown): Promise<RuntimeAgent> {
  const child = fork(new URL(import.meta.url), {
    env: { ...process.env, [environmentKey]: JSON.stringify({ module, stateDir, config }) },
    execArgv: [],
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  });
  const waiting = new Map<number, { resolve: (value: unknown) => void; reject: (error: unknown) => void }>();
  const gone = once(child, 'exit');
  let count = 0;
  child.on('message', (answer: Answer) => {
    const call = waiting.get(answer.id);
    waiting.delete(answer.id);
    if (answer.error === undefined) call?.resolve(answer.value);
    else call?.reject(new PintleError(answer.error.code, answer.error.message));
  });
  void gone.then(() => {
    for (const call of waiting.values()) call.reject(new Error('the agent is gone'));
    waiting.clear();
  });
  const call = (verb: Verb, ...args: readonly unknown[]): Promise<unknown> =>
    new Promise((resolve, reject) => {
      const id = ++count;
      waiting.set(id, { resolve, reject });
      child.send({ id, verb, args } satisfies Call, (error) => {
        if (error !== null) reject(error);
      });
    });
  const agent: RuntimeAgent = {
    ensureSandbox: async (spec) => (await call('ensureSandbox', spec)) as Sandbox,
    startContainer: async (spec) => (await call('startContainer', spec)) as Container,
    listContainers: async () => (await call('listContainers')) as readonly Container[],
    removeSandbox: async (id) => void (await call('removeSandbox', id)),
    kill: async () => {
      child.kill('SIGKILL');
      await gone;
    },
  };
  await agent.listContainers();
  return agent;
}

const settings = process.env[environmentKey];
if (
  settings !== undefined &&
  process.argv[1] !== undefined &&
  import.meta.url === pathToFileURL(process.argv[1]).href
) {
  delete process.env[environmentKey];
  const { module, stateDir, config } = JSON.parse(settings) as { module: string; stateDir: string; config?: unknown };
  const ready = openRuntime(module, stateDir, config);
  process.on('message', ({ id, verb, args }: Call) => {
    const answer = ready
      .then((runtime) => (runtime[verb] as (...values: readonly unknown[]) => Promise<unknown>)(...args))
      .then((value): Answer => ({ id, value }))
      .catch((error: PintleError): Answer => ({
        id,
        error: { code: error.code ?? 'INTERNAL', message: error.message },
      }));
    void answer.then((message) => process.send?.(message));
  });
  process.on('disconnect', () => process.exit());
}

/** Starts a runtime plugin as the kernel would. */
export async function openRuntime(
  module: string,
  stateDir: string,
  config: unknown = {},
): Promise<Runtime & AsyncDisposable> {
  const plugin = ((await import(module)) as { default: Plugin<'runtime'> }).default;
  mkdirSync(stateDir, { recursive: true });
  const checked = await plugin.config['~standard'].validate(config);
  if (checked.issues !== undefined) throw new Error(`${plugin.name}: ${JSON.stringify(checked.issues)}`);
  const silent = (): void => undefined;
  return plugin.start(
    {
      config: checked.value as never,
      cluster: {
        podCidrs: ['10.244.0.0/16'],
        serviceCidrs: ['10.96.0.0/12'],
        dnsDomain: 'cluster.local',
        dnsServiceIp: '10.96.0.10',
      },
      uses: {} as never,
      log: { debug: silent, info: silent, warn: silent, error: silent },
      clock: { now: () => Date.now(), sleep: (ms) => new Promise((resolve) => void setTimeout(resolve, ms)) },
      stateDir,
      nodeName: 'kit',
      processMetrics: async () => '',
    },
    new AbortController().signal,
  );
}
