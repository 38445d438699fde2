/** Runtimes that each break one promise of the contract, made from `hollow` by changing one verb. */
import { appendFileSync, readFileSync, writeFileSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import type { Container, ContainerSpec, Runtime } from '../../../kernel/contract/index.ts';
import type { OpenRuntime } from '../../../kernel/conformance/runtime.ts';
import { HollowRuntime } from '../../../plugins/runtimes/hollow/hollow-runtime.ts';

const clock = {
  now: () => Date.now(),
  sleep: (ms: number) => new Promise<void>((resolve) => void setTimeout(resolve, ms)),
};

export async function soundRuntime(stateDir: string): Promise<OpenRuntime> {
  await mkdir(stateDir, { recursive: true });
  return new HollowRuntime({ stateDir, clock, startDelayMs: 0, cpuMillis: 0, memoryBytes: 0 });
}

type Change = (sound: OpenRuntime, stateDir: string) => Partial<Runtime> & Partial<AsyncDisposable>;

/** The sound runtime with some verbs replaced. */
const broken =
  (change: Change) =>
  async (stateDir: string): Promise<OpenRuntime> => {
    const sound = await soundRuntime(stateDir);
    const changed = change(sound, stateDir);
    return new Proxy(sound, {
      get: (target, key) => {
        const value = (changed as Record<PropertyKey, unknown>)[key] ?? Reflect.get(target, key);
        return typeof value === 'function' ? value.bind(key in changed ? changed : target) : value;
      },
    });
  };

export interface BrokenRuntime {
  readonly what: string;
  readonly open: (stateDir: string) => Promise<OpenRuntime>;
  /** Titles (without the name) of cases that must fail for it. */
  readonly noticedBy: readonly string[];
}

let serial = 0;

export const brokenRuntimes: readonly BrokenRuntime[] = [
  {
    what: 'starts a container anew each time it is asked',
    open: broken((sound) => ({
      startContainer: async (spec: ContainerSpec) => {
        await sound.removeContainer(spec.id);
        const container = await sound.startContainer(spec);
        return { ...container, startedMs: (container.startedMs ?? 0) + ++serial };
      },
    })),
    noticedBy: ['starting a container ten times, at once and later, starts one'],
  },
  {
    what: 'forgets how containers ended',
    open: broken((sound) => ({
      listContainers: async (id?: string) =>
        (await sound.listContainers(id)).map((one): Container =>
          one.state === 'exited' ? { ...one, exitCode: 0 } : one,
        ),
    })),
    noticedBy: ['an exit code of 0 is Completed, another is Error', 'two containers of one sandbox are told apart'],
  },
  {
    what: 'remembers nothing after a restart',
    open: async (stateDir) => {
      const sound = await soundRuntime(stateDir);
      await sound.purge();
      return soundRuntime(stateDir);
    },
    noticedBy: [
      'disposing twice is harmless and leaves what runs alone',
      'after a restart everything is listed as before',
      'after a restart the same ids are found, not made again',
    ],
  },
  {
    what: 'ends everything when it is disposed',
    open: broken((sound) => ({
      [Symbol.asyncDispose]: async () => {
        for (const { id } of await sound.listContainers()) await sound.stopContainer(id, 0);
        await sound[Symbol.asyncDispose]();
      },
    })),
    noticedBy: ['disposing twice is harmless and leaves what runs alone'],
  },
  {
    what: 'rejects the removal of what is gone',
    open: broken((sound) => ({
      removeContainer: async (id: string) => {
        if (!(await sound.listContainers()).some((one) => one.id === id)) throw new Error('gone');
        await sound.removeContainer(id);
      },
    })),
    noticedBy: [
      'stopping and removing what is not there succeeds',
      'removing a container stops it and removes its log, ten times over',
    ],
  },
  {
    what: 'leaves containers behind when their sandbox is removed',
    open: broken((sound) => {
      const left: Container[] = [];
      return {
        removeSandbox: async (id: string) => {
          left.push(...(await sound.listContainers(id)));
          await sound.removeSandbox(id);
        },
        listContainers: async (id?: string) => [...(await sound.listContainers(id)), ...left],
      };
    }),
    noticedBy: ['removing a sandbox removes its containers, ten times over'],
  },
  {
    what: 'keeps a stopped sandbox ready',
    open: broken((sound) => ({
      listSandboxes: async (podUid?: string) =>
        (await sound.listSandboxes(podUid)).map((one) => ({ ...one, ready: true })),
    })),
    noticedBy: ['stopping a sandbox ends its containers and keeps both on record'],
  },
  {
    what: 'does not stop',
    open: broken(() => ({ stopContainer: async () => undefined })),
    noticedBy: ['stopping a container ends it, ten times over'],
  },
  {
    what: 'writes logs that are no CRI logs',
    open: broken((sound) => ({
      startContainer: async (spec: ContainerSpec) => {
        const container = await sound.startContainer(spec);
        writeFileSync(spec.logPath, readFileSync(spec.logPath, 'utf8').replaceAll(' stdout F ', ' '));
        return container;
      },
    })),
    noticedBy: ['standard output is in the log, in the form of the CRI'],
  },
  {
    what: 'writes a line to the log that nobody said',
    open: broken((sound) => ({
      startContainer: async (spec: ContainerSpec) => {
        const container = await sound.startContainer(spec);
        appendFileSync(spec.logPath, '2026-01-01T00:00:00.000000000Z stdout F extra\n');
        return container;
      },
    })),
    noticedBy: ['standard output is in the log, in the form of the CRI', 'sandboxes work side by side'],
  },
  {
    what: 'leaves the log of a removed container',
    open: broken((sound) => ({
      removeContainer: async (id: string) => {
        const path = (await sound.listContainers()).find((one) => one.id === id)?.logPath;
        await sound.removeContainer(id);
        if (path !== undefined) writeFileSync(path, '');
      },
    })),
    noticedBy: ['removing a container stops it and removes its log, ten times over'],
  },
  {
    what: 'takes every image',
    open: broken((sound) => ({
      pullImage: async (name: string) => ({ id: name, names: [name], sizeBytes: 1 }),
      startContainer: (spec: ContainerSpec) => sound.startContainer({ ...spec, image: 'any' }),
    })),
    noticedBy: ['an image that is nowhere is refused by name', 'a running container is listed as it was asked for'],
  },
  {
    what: 'has no events',
    open: broken(() => ({
      events: async function* () {
        // None.
      },
    })),
    noticedBy: ['the end of a container is an event'],
  },
  {
    what: 'leaves a file when it is purged',
    open: broken((sound, stateDir) => ({
      purge: async () => {
        await sound.purge();
        writeFileSync(`${stateDir}/left`, '');
      },
    })),
    noticedBy: ['purge leaves no record and no file'],
  },
  {
    what: 'claims that exec worked where nothing runs',
    open: broken(() => ({
      exec: async () => ({
        stdin: undefined,
        stdout: undefined,
        stderr: undefined,
        resize: () => undefined,
        exited: Promise.resolve({ exitCode: 0 }),
        close: () => undefined,
      }),
    })),
    noticedBy: [
      'a runtime in which nothing runs refuses exec and attach',
      'a call for a container that is not there or not running says so',
    ],
  },
];
