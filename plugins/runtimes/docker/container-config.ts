/** From a sandbox or container as Kubernetes wants it to what the engine is asked to make. */
import { readFile } from 'node:fs/promises';
import type Docker from 'dockerode';
import { PintleError, type ContainerSpec, type SandboxSpec } from '../../../kernel/contract/index.ts';
import { parseImageName } from '../../../kernel/machinery/image-name.ts';
import type { SandboxFacts } from '../../../kernel/machinery/engine/engine-labels.ts';
import type { SandboxPaths } from '../../../kernel/machinery/engine/sandbox-files.ts';

/** Output waits here until it is in the pod's log; an agent may be away for as long as it takes to fill it. */
export interface EngineLog {
  readonly fileBytes: number;
  readonly files: number;
}

export function sandboxConfig(
  spec: SandboxSpec,
  image: string,
  labels: Readonly<Record<string, string>>,
): Docker.ContainerCreateOptions {
  return {
    Image: image,
    Hostname: spec.hostname,
    Labels: { ...labels },
    HostConfig: {
      // Not a network of Docker's: the namespace stays empty, but for lo, until the attachment fills it in.
      NetworkMode: spec.hostNetwork ? 'host' : 'none',
      IpcMode: spec.hostIpc ? 'host' : 'shareable',
      Sysctls: { ...spec.sysctls },
      ReadonlyRootfs: true,
      CapDrop: ['ALL'],
      SecurityOpt: ['no-new-privileges'],
      LogConfig: { Type: 'none', Config: {} },
    },
  };
}

export function containerConfig(
  spec: ContainerSpec,
  sandbox: { readonly dockerId: string; readonly facts: SandboxFacts; readonly files: SandboxPaths },
  image: { readonly Id: string; readonly Config?: { readonly User?: string } | undefined },
  labels: Readonly<Record<string, string>>,
  engineLog: EngineLog,
  /** How the engine names the container that `targetContainerId` means. */
  targetName: (id: string) => string,
  /** As the engine takes it: "unconfined" or the profile's JSON; undefined: the engine's own. */
  seccomp: string | undefined,
): Docker.ContainerCreateOptions {
  const { facts, files, dockerId } = sandbox;
  const mounts = [...spec.mounts];
  const own = [
    [files.hosts, '/etc/hosts'],
    [files.resolvConf, '/etc/resolv.conf'],
  ] as const;
  for (const [hostPath, containerPath] of own)
    if (!mounts.some((mount) => mount.containerPath === containerPath))
      mounts.push({ hostPath, containerPath, readOnly: false });
  const { limits } = spec;
  return {
    Image: image.Id,
    Labels: { ...labels },
    ...(spec.command.length > 0 ? { Entrypoint: [...spec.command] } : {}),
    ...(spec.args.length > 0 ? { Cmd: [...spec.args] } : {}),
    ...(spec.workingDir === undefined ? {} : { WorkingDir: spec.workingDir }),
    Env: spec.env.map(({ name, value }) => `${name}=${value}`),
    User: userOf(spec, image.Config?.User ?? ''),
    Tty: spec.tty,
    OpenStdin: spec.stdin,
    StdinOnce: spec.stdinOnce ?? false,
    HostConfig: {
      NetworkMode: `container:${dockerId}`,
      IpcMode: facts.hostIpc ? 'host' : `container:${dockerId}`,
      PidMode: pidModeOf(spec, facts, dockerId, targetName),
      // Not Binds, in which a colon ends a path.
      Mounts: mounts.map((mount) => ({
        Type: 'bind' as const,
        Source: mount.hostPath,
        Target: mount.containerPath,
        ReadOnly: mount.readOnly,
        BindOptions: { Propagation: propagations[mount.propagation ?? 'None'] },
      })),
      ReadonlyRootfs: spec.readOnlyRoot,
      Privileged: spec.privileged,
      CapAdd: [...spec.addCapabilities],
      CapDrop: [...spec.dropCapabilities],
      SecurityOpt: [
        ...(spec.noNewPrivileges ? ['no-new-privileges'] : []),
        ...(seccomp === undefined ? [] : [`seccomp=${seccomp}`]),
      ],
      GroupAdd: (spec.supplementalGroups ?? []).map(String),
      LogConfig: {
        Type: 'json-file',
        Config: { 'max-size': String(engineLog.fileBytes), 'max-file': String(engineLog.files) },
      },
      // As much swap as memory would be twice the limit.
      ...(limits?.memoryBytes === undefined ? {} : { Memory: limits.memoryBytes, MemorySwap: limits.memoryBytes }),
      ...(limits?.cpuMillis === undefined ? {} : { NanoCpus: limits.cpuMillis * 1_000_000 }),
      ...(limits?.cpuRequestMillis === undefined
        ? {}
        : { CpuShares: Math.max(2, Math.round((limits.cpuRequestMillis * 1024) / 1000)) }),
      ...(limits?.pids === undefined ? {} : { PidsLimit: limits.pids }),
    },
  };
}

function pidModeOf(
  { targetContainerId }: ContainerSpec,
  facts: SandboxFacts,
  sandboxId: string,
  targetName: (id: string) => string,
): string {
  if (facts.hostPid) return 'host';
  if (facts.sharedPid === true) return `container:${sandboxId}`;
  return targetContainerId === undefined ? '' : `container:${targetName(targetContainerId)}`;
}

const propagations = { None: 'rprivate', HostToContainer: 'rslave', Bidirectional: 'rshared' } as const;

/** USER[:GROUP]; empty: the image's. */
function userOf({ user, group }: ContainerSpec, ofImage: string): string {
  if (user === undefined && group === undefined) return '';
  const [imageUser = ''] = ofImage.split(':');
  const name = user === undefined ? imageUser || '0' : String(user);
  return group === undefined ? name : `${name}:${group}`;
}

/** What the engine's pull call takes; without a tag it would pull every tag. */
export function pullQuery(name: string): { readonly fromImage: string; readonly tag: string } | undefined {
  const parsed = parseImageName(name);
  if (parsed === undefined) return undefined;
  const registry = parsed.registry === 'docker.io' ? '' : `${parsed.registry}/`;
  return { fromImage: `${registry}${parsed.repository}`, tag: parsed.digest ?? parsed.tag ?? 'latest' };
}

export function hasCommand(config: { readonly Cmd?: unknown; readonly Entrypoint?: unknown } | undefined): boolean {
  return [config?.Cmd, config?.Entrypoint].some((words) => (Array.isArray(words) ? words.length > 0 : Boolean(words)));
}

/** The engine takes a profile's text, not its path. */
export async function readSeccomp({ seccomp = 'RuntimeDefault' }: ContainerSpec): Promise<string | undefined> {
  if (seccomp === 'RuntimeDefault') return undefined;
  if (seccomp === 'Unconfined') return 'unconfined';
  try {
    return await readFile(seccomp.file, 'utf8');
  } catch (cause) {
    throw new PintleError(
      'CONTAINER_INVALID',
      `seccomp profile ${seccomp.file} cannot be read: ${cause instanceof Error ? cause.message : String(cause)}`,
      { cause },
    );
  }
}
