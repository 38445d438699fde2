/**
 * What is on disk of a container, and the state that follows from it. The files are written by four parties (agent,
 * shim, init, kernel), any of which can die between any two of them; so the state is always derived, never stored.
 */
import { closeSync, openSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Container, ContainerSpec } from '../../../kernel/contract/index.ts';
import { readText } from './layout.ts';
import { isAlive, recordedProcess } from './procfs.ts';

export interface ContainerRecord {
  readonly spec: ContainerSpec;
  readonly imageId: string;
  readonly stopSignal: string | undefined;
  readonly hostPid: boolean;
  /** In a pid namespace with other containers: the pod's, or that of its target. */
  readonly sharedPid?: boolean | undefined;
  readonly createdMs: number;
}

export type Observed =
  | { readonly state: 'created' }
  | { readonly state: 'running'; readonly startedMs: number; readonly pid: number | undefined }
  | ({ readonly state: 'exited' } & Ending)
  /** Nothing of it runs, and nobody wrote down how it ended. */
  | { readonly state: 'lost'; readonly startedMs: number | undefined };

export interface Ending {
  readonly startedMs: number | undefined;
  readonly finishedMs: number;
  readonly exitCode: number;
  readonly reason: string;
  readonly message: string | undefined;
}

/** Exit code of a container of which only the end is known: as if killed. */
const lostExitCode = 137;

export function observe(folder: string, exitFile: string): Observed {
  const first = readEnding(folder, exitFile);
  if (first !== undefined) return first;
  const init = recordedProcess(join(folder, 'init'));
  const initRuns = isAlive(init);
  if (initRuns || isAlive(recordedProcess(join(folder, 'claim')))) {
    const startedMs = startedAt(folder);
    return startedMs === undefined
      ? { state: 'created' }
      : { state: 'running', startedMs, pid: initRuns ? init?.pid : undefined };
  }
  // The shim may have written the exit code and gone between the two looks.
  return readEnding(folder, exitFile) ?? { state: 'lost', startedMs: startedAt(folder) };
}

function readEnding(folder: string, exitFile: string): ({ readonly state: 'exited' } & Ending) | undefined {
  const line = /^(\d+)\n/.exec(readText(exitFile) ?? '')?.[1];
  if (line === undefined) return undefined;
  const exitCode = Number(line);
  const failure = failureOf(folder);
  const lost = readText(join(folder, 'lost'));
  const outOfMemory = readText(join(folder, 'out-of-memory')) !== undefined;
  const reason =
    failure !== undefined ? 'StartError' : outOfMemory ? 'OOMKilled' : exitCode === 0 ? 'Completed' : 'Error';
  return {
    state: 'exited',
    startedMs: startedAt(folder),
    finishedMs: Math.round(statSync(exitFile).mtimeMs),
    exitCode: failure?.exitCode ?? exitCode,
    reason,
    message: failure?.message ?? lost,
  };
}

export function failureOf(folder: string): { readonly exitCode: number; readonly message: string } | undefined {
  const match = /^failed (\d+) ([\s\S]*?)\n?$/.exec(readText(join(folder, 'outcome')) ?? '');
  return match === null ? undefined : { exitCode: Number(match[1]), message: match[2] ?? '' };
}

function startedAt(folder: string): number | undefined {
  const path = join(folder, 'outcome');
  return readText(path) === 'started\n' ? Math.round(statSync(path).mtimeMs) : undefined;
}

/** Puts on record that it could not be started. */
export function recordFailure(folder: string, exitFile: string, exitCode: number, message: string): void {
  writeFileSync(join(folder, 'outcome'), `failed ${exitCode} ${message}\n`);
  writeFileSync(exitFile, `${exitCode}\n`);
}

/** Puts on record that its end went unseen. */
export function recordLoss(folder: string, exitFile: string): void {
  writeFileSync(
    join(folder, 'lost'),
    'its end was not seen (the node restarted, or its shim was killed); the exit code is not known',
  );
  writeFileSync(exitFile, `${lostExitCode}\n`);
}

/**
 * Keeps a container from being started by a launch that a dead agent left half-way: whoever makes the claim first has
 * it. False when a shim has it already.
 */
export function takeClaim(folder: string): boolean {
  try {
    closeSync(openSync(join(folder, 'claim'), 'wx'));
    return true;
  } catch {
    return false;
  }
}

export function describeContainer({ spec, imageId, createdMs }: ContainerRecord, observed: Observed): Container {
  const about = {
    id: spec.id,
    sandboxId: spec.sandboxId,
    name: spec.name,
    attempt: spec.attempt,
    image: spec.image,
    imageId,
    labels: spec.labels,
    createdMs,
    logPath: spec.logPath,
  };
  if (observed.state === 'lost') return { ...about, state: 'running', startedMs: observed.startedMs };
  return { ...about, ...observed };
}
