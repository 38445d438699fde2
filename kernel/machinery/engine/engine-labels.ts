/**
 * What the containers of an engine (Docker, containerd, CRI-O) carry as labels: whose they are, and the facts about
 * sandbox or container that the engine does not keep. So an agent without memory finds everything again.
 */
import { createHash } from 'node:crypto';
import { PintleError, type ContainerSpec, type SandboxSpec } from '../../contract/index.ts';

export const labelKeys = {
  owner: 'dev.pintle.owner',
  node: 'dev.pintle.node',
  type: 'dev.pintle.type',
  facts: 'dev.pintle.facts',
  /** On a container that stands for one that the engine refused to make. */
  failure: 'dev.pintle.failure',
  podNamespace: 'io.kubernetes.pod.namespace',
  podName: 'io.kubernetes.pod.name',
  podUid: 'io.kubernetes.pod.uid',
  containerName: 'io.kubernetes.container.name',
} as const;

export type SandboxFacts = Pick<
  SandboxSpec,
  'id' | 'podNamespace' | 'podName' | 'podUid' | 'labels' | 'hostNetwork' | 'hostIpc' | 'hostPid' | 'sharedPid'
>;

export type ContainerFacts = Pick<
  ContainerSpec,
  | 'id'
  | 'sandboxId'
  | 'name'
  | 'attempt'
  | 'image'
  | 'labels'
  | 'logPath'
  | 'maxLogBytes'
  | 'maxLogFiles'
  | 'tty'
  | 'stdin'
>;

export interface Failure {
  readonly exitCode: number;
  readonly message: string;
  readonly imageId: string;
}

type Labels = Readonly<Record<string, string>>;

/** Who made a container: the agent with this state folder. An engine may serve the nodes of several clusters. */
export function ownerOf(stateDir: string): string {
  return createHash('sha256').update(stateDir).digest('hex').slice(0, 12);
}

export function sandboxLabels(owner: string, node: string, spec: SandboxSpec): Labels {
  const { id, podNamespace, podName, podUid, labels, hostNetwork, hostIpc, hostPid, sharedPid } = spec;
  const facts: SandboxFacts = {
    ...{ id, podNamespace, podName, podUid, labels, hostNetwork, hostIpc, hostPid, sharedPid },
  };
  return {
    [labelKeys.owner]: owner,
    [labelKeys.node]: node,
    [labelKeys.type]: 'sandbox',
    [labelKeys.facts]: JSON.stringify(facts),
    [labelKeys.podNamespace]: podNamespace,
    [labelKeys.podName]: podName,
    [labelKeys.podUid]: podUid,
  };
}

export function containerLabels(owner: string, node: string, sandbox: SandboxFacts, spec: ContainerSpec): Labels {
  const { id, sandboxId, name, attempt, image, labels, logPath, maxLogBytes, maxLogFiles, tty, stdin } = spec;
  const facts: ContainerFacts = {
    ...{ id, sandboxId, name, attempt, image, labels, logPath, maxLogBytes, maxLogFiles, tty, stdin },
  };
  return {
    [labelKeys.owner]: owner,
    [labelKeys.node]: node,
    [labelKeys.type]: 'container',
    [labelKeys.facts]: JSON.stringify(facts),
    [labelKeys.podNamespace]: sandbox.podNamespace,
    [labelKeys.podName]: sandbox.podName,
    [labelKeys.podUid]: sandbox.podUid,
    [labelKeys.containerName]: name,
  };
}

export function sandboxFacts(labels: Labels): SandboxFacts | undefined {
  return labels[labelKeys.type] === 'sandbox' ? parse<SandboxFacts>(labels[labelKeys.facts]) : undefined;
}

export function containerFacts(labels: Labels): ContainerFacts | undefined {
  return labels[labelKeys.type] === 'container' ? parse<ContainerFacts>(labels[labelKeys.facts]) : undefined;
}

export function failureOf(labels: Labels): Failure | undefined {
  return parse<Failure>(labels[labelKeys.failure]);
}

function parse<T>(text: string | undefined): T | undefined {
  return text === undefined ? undefined : (JSON.parse(text) as T);
}

/** Ids become names of containers and files. */
export function checkId(id: string, what: 'sandbox' | 'container'): void {
  if (/^[A-Za-z0-9][A-Za-z0-9_.-]{0,199}$/.test(id)) return;
  throw new PintleError(
    'CONTAINER_INVALID',
    `${what} id ${JSON.stringify(id)} cannot be used: expected 1 to 200 letters, digits, "-", "_" or "."`,
  );
}
