/** What the engine says about a container, as the contract wants it told. */
import { readFileSync, statfsSync } from 'node:fs';
import type { ContainerInspectInfo } from 'dockerode';
import type { Container, Sandbox } from '../../../kernel/contract/index.ts';
import { failureOf, type ContainerFacts, type SandboxFacts } from './labels.ts';

/** Exit code of a container that never ran, when the engine gave none. */
const neverRan = 128;
const nsfsMagic = 0x6e736673;

export function describeSandbox(info: ContainerInspectInfo, facts: SandboxFacts): Sandbox {
  const netns = info.State.Running && !facts.hostNetwork ? netnsOf(info) : undefined;
  const { id, podNamespace, podName, podUid, labels } = facts;
  return {
    ...{ id, podNamespace, podName, podUid, labels },
    ready: info.State.Running && (facts.hostNetwork || netns !== undefined),
    netns,
    createdMs: Date.parse(info.Created),
  };
}

/**
 * Where the namespace can be opened from here: the engine's mount of it, or its process. Undefined when neither is seen
 * (the engine is in other mount and pid namespaces than this agent, or on another machine).
 */
export function netnsOf(info: ContainerInspectInfo): string | undefined {
  const { SandboxKey } = info.NetworkSettings as { readonly SandboxKey?: string };
  try {
    if (SandboxKey !== undefined && SandboxKey !== '' && statfsSync(SandboxKey).type === nsfsMagic) return SandboxKey;
  } catch {
    // not mounted here
  }
  return isProcessOf(info.State.Pid, info.Id) ? `/proc/${info.State.Pid}/ns/net` : undefined;
}

/** True when the process of this number is one of the container: in another pid namespace it would be any other. */
export function isProcessOf(pid: number, dockerId: string): boolean {
  try {
    return pid > 0 && readFileSync(`/proc/${pid}/cgroup`, 'latin1').includes(dockerId);
  } catch {
    return false;
  }
}

export const hasStarted = (info: ContainerInspectInfo): boolean => timeOf(info.State.StartedAt) !== undefined;

/** Refused by the engine, when it was made or when it was to start. */
export const hasFailed = (info: ContainerInspectInfo): boolean =>
  failureOf(info.Config.Labels) !== undefined || (!hasStarted(info) && info.State.Error !== '');

export function describeContainer(info: ContainerInspectInfo, facts: ContainerFacts, hasSandbox: boolean): Container {
  const { id, sandboxId, name, attempt, image, labels, logPath } = facts;
  const failure = failureOf(info.Config.Labels);
  const createdMs = Date.parse(info.Created);
  const about = {
    id,
    sandboxId,
    name,
    attempt,
    image,
    labels,
    logPath,
    createdMs,
    imageId: failure?.imageId ?? info.Image,
  };
  const startedMs = timeOf(info.State.StartedAt);
  if (failure !== undefined || startedMs === undefined) {
    const message = failure?.message ?? startMessage(info.State.Error);
    if (message === '' && hasSandbox) return { ...about, state: 'created' };
    return {
      ...about,
      state: 'exited',
      finishedMs: createdMs,
      exitCode: failure?.exitCode ?? startExitCode(message),
      reason: 'StartError',
      message: message === '' ? 'it was not started before its sandbox was stopped' : message,
    };
  }
  if (info.State.Running) return { ...about, state: 'running', startedMs, pid: info.State.Pid };
  const exitCode = info.State.ExitCode;
  return {
    ...about,
    state: 'exited',
    startedMs,
    // Of one that ends at once, the engine may note the end before the start.
    finishedMs: Math.max(startedMs, timeOf(info.State.FinishedAt) ?? startedMs),
    exitCode,
    reason: info.State.OOMKilled ? 'OOMKilled' : exitCode === 0 ? 'Completed' : 'Error',
    ...(info.State.Error === '' ? {} : { message: info.State.Error }),
  };
}

/** Without the names of the programs that pass the error on. */
export function startMessage(text: string): string {
  return text
    .replace(
      /^(?:failed to create (?:shim )?task(?: for container)?: |OCI runtime (?:exec|create) failed: |runc (?:create|exec) failed: |container_linux\.go:\d+: |unable to start container process: |exec failed: )+/i,
      '',
    )
    .replace(/: unknown$/, '')
    .trim();
}

/** As shells have it: 127 when there is no such command, 126 when it cannot be run. */
export function startExitCode(message: string): number {
  if (/executable file not found|no such file or directory/i.test(message)) return 127;
  return /permission denied|is a directory|exec format error/i.test(message) ? 126 : neverRan;
}

/** Docker's "0001-01-01T00:00:00Z" is no time. */
function timeOf(text: string): number | undefined {
  const ms = Date.parse(text);
  return ms > 0 ? ms : undefined;
}
