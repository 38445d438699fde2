/** What the engine says about a container, as the contract wants it told. */
import type { ContainerInspectInfo } from 'dockerode';
import type { Container, Sandbox } from '../../../kernel/contract/index.ts';
import { startExitCode, startMessage } from '../../../kernel/machinery/engine/start-failure.ts';
import { visibleNetns } from '../../../kernel/machinery/engine/visible-netns.ts';
import { failureOf, type ContainerFacts, type SandboxFacts } from '../../../kernel/machinery/engine/engine-labels.ts';

export function describeSandbox(info: ContainerInspectInfo, facts: SandboxFacts): Sandbox {
  const { SandboxKey } = info.NetworkSettings as { readonly SandboxKey?: string };
  const isSeen = info.State.Running && !facts.hostNetwork;
  const netns = isSeen ? visibleNetns(SandboxKey, { pid: info.State.Pid, containerId: info.Id }) : undefined;
  const { id, podNamespace, podName, podUid, labels } = facts;
  return {
    ...{ id, podNamespace, podName, podUid, labels },
    ready: info.State.Running && (facts.hostNetwork || netns !== undefined),
    netns,
    createdMs: Date.parse(info.Created),
  };
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

/** Docker's "0001-01-01T00:00:00Z" is no time. */
function timeOf(text: string): number | undefined {
  const ms = Date.parse(text);
  return ms > 0 ? ms : undefined;
}
