/**
 * Pods started and stopped in the process of the runtime that does it, as in an agent; and the same by bare namespaces, in
 * such a process too: what it costs to start a program depends on the memory of the one that does.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { statSync, unlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import type { Runtime } from '../../../kernel/contract/index.ts';
import { umount } from '../../../netplugins/linux/namespaces.ts';
import type { Job } from '../../bed/plugin-process.ts';
import { endChild } from '../../bed/place.ts';
import { ascending, quantile } from '../../method/statistics.ts';
import type { Size } from '../../method/suite.ts';
import { containerSpec, type Program, sandboxSpec } from './pod-spec.ts';

/** Pods at once when the rate is measured. */
export const width = 4;

interface Effort {
  /** Until compilers and caches have settled: pods that are not counted. */
  readonly warmUpMs: number;
  /** About how long pods are started and stopped one after the other; that many are then started together. */
  readonly measureMs: number;
  readonly least: number;
  readonly most: number;
}

const efforts: Readonly<Record<Size, Effort>> = {
  smoke: { warmUpMs: 0, measureMs: 0, least: 2, most: 2 },
  standard: { warmUpMs: 600, measureMs: 1_200, least: 8, most: 40 },
  full: { warmUpMs: 2_000, measureMs: 10_000, least: 40, most: 200 },
};

interface Pods {
  start(index: number): Promise<unknown>;
  stop(index: number): Promise<unknown>;
}

export interface PodTimes {
  readonly pods: number;
  readonly figures: Readonly<Record<string, number>>;
}

export interface RuntimePodsArgs {
  readonly size: Size;
  readonly program: Program;
  /** For logs. */
  readonly folder: string;
}

/** Of the runtime that the process runs. */
export const runtimePodsJob: Job<RuntimePodsArgs, PodTimes> = (args, _start, running) => {
  const runtime = running<Runtime>('runtime');
  const names = new Map<number, string>();
  let next = 0;
  return measurePods(efforts[args.size], {
    start: async (index) => {
      const id = `bench-pod-${(next += 1)}`;
      names.set(index, id);
      await runtime.ensureSandbox(sandboxSpec(id));
      await runtime.startContainer(containerSpec(id, args.program, args.folder));
    },
    stop: async (index) => {
      const id = names.get(index)!;
      await runtime.stopContainer(`${id}-main`, 0);
      await runtime.removeSandbox(id);
    },
  });
};

/** It ends when this process does. */
const bareProgram = ['sh', '-c', 'echo up; exec cat >/dev/null'];
const keptNamespaces = ['net', 'ipc', 'uts'] as const;

export interface BarePodsArgs {
  readonly size: Size;
  readonly folder: string;
}

/** Namespaces are kept by bind mounts, as a runtime must keep them, and the way back is to end the process and unmount them. */
export const barePodsJob: Job<BarePodsArgs, PodTimes> = ({ size, folder }) => {
  const running = new Map<number, { readonly child: ChildProcess; readonly files: readonly string[] }>();
  let next = 0;
  return measurePods(efforts[size], {
    start: async (index) => {
      next += 1;
      const files = keptNamespaces.map((kind) => join(folder, `${kind}-${next}`));
      for (const file of files) writeFileSync(file, '');
      const kept = keptNamespaces.map((kind, at) => `--${kind}=${files[at]}`);
      const flags = [...kept, '--mount', '--pid', '--fork', '--kill-child', '--mount-proc'];
      const child = spawn('unshare', [...flags, ...bareProgram], { stdio: ['pipe', 'pipe', 'ignore'] });
      running.set(index, { child, files });
      await new Promise<void>((resolve, reject) => {
        child.once('error', reject);
        child.stdout.once('data', () => resolve());
        child.once('exit', (code) => reject(new Error(`unshare ended with ${code}`)));
      });
      // A process of unshare's own binds them, while the program begins already: ended before, it would wait for ever.
      const device = statSync(folder).dev;
      while (files.some((file) => statSync(file).dev === device)) {
        if (child.exitCode !== null) throw new Error(`unshare ended with ${child.exitCode}`);
        await setTimeout(1);
      }
    },
    stop: async (index) => {
      const { child, files } = running.get(index)!;
      await endChild(child);
      for (const file of files) {
        umount(file);
        unlinkSync(file);
      }
    },
  });
};

/** Start, stop, start many at once, stop: the same for a runtime and for its baseline. */
async function measurePods(effort: Effort, { start, stop }: Pods): Promise<PodTimes> {
  const figures: Record<string, number> = {};
  const count = podCount(effort, await warmUp(effort, { start, stop }));
  record(figures, 'start', await inTurn(count, 1, start));
  record(figures, 'stop', await inTurn(count, 1, stop));
  const began = performance.now();
  await inTurn(count, width, start);
  figures['rate'] = (count / (performance.now() - began)) * 1000;
  await inTurn(count, width, stop);
  return { pods: count, figures };
}

/** Resolves to the milliseconds of one pod there and back, when they have settled. */
async function warmUp({ warmUpMs }: Effort, { start, stop }: Pods): Promise<number> {
  const until = performance.now() + warmUpMs;
  for (;;) {
    const began = performance.now();
    await start(0);
    await stop(0);
    if (performance.now() >= until) return performance.now() - began;
  }
}

/** Whole rounds of `width`, where there is more than one. */
function podCount({ measureMs, least, most }: Effort, podMs: number): number {
  const count = Math.min(most, Math.max(least, Math.floor(measureMs / podMs)));
  return count < width ? count : count - (count % width);
}

function record(figures: Record<string, number>, id: string, took: readonly number[]): void {
  const sorted = ascending(took);
  figures[`${id}-p50`] = quantile(sorted, 0.5);
  figures[`${id}-p99`] = quantile(sorted, 0.99);
}

async function inTurn(count: number, atOnce: number, act: (index: number) => Promise<unknown>): Promise<number[]> {
  const took: number[] = [];
  let next = 0;
  const lane = async (): Promise<void> => {
    for (let index = next++; index < count; index = next++) {
      const began = performance.now();
      await act(index);
      took.push(performance.now() - began);
    }
  };
  await Promise.all(Array.from({ length: atOnce }, lane));
  return took;
}
