/** From a sandbox or container as Kubernetes wants it to the messages of the CRI. */
import { existsSync } from 'node:fs';
import { PintleError, type ContainerSpec, type SandboxSpec } from '../../../kernel/contract/index.ts';
import { labelKeys, type SandboxFacts } from '../../../kernel/machinery/engine/engine-labels.ts';
import type { SandboxPaths } from '../../../kernel/machinery/engine/sandbox-files.ts';
import { linuxCapabilities } from '../../../kernel/machinery/linux-capabilities.ts';

const modes = { pod: 0, container: 1, node: 2, target: 3 } as const;
const runtimeDefault = { profile_type: 0 } as const;
const unconfined = { profile_type: 1 } as const;
const propagations = { None: 0, HostToContainer: 1, Bidirectional: 2 } as const;
const cpuPeriodMicros = 100_000;

/** What container runtimes leave to their client: the paths that Docker hides and protects. */
const maskedPaths = [
  ...['/proc/acpi', '/proc/asound', '/proc/kcore', '/proc/keys', '/proc/latency_stats', '/proc/timer_list'],
  ...['/proc/timer_stats', '/proc/sched_debug', '/proc/scsi', '/sys/firmware', '/sys/devices/virtual/powercap'],
];
const readOnlyPaths = ['/proc/bus', '/proc/fs', '/proc/irq', '/proc/sys', '/proc/sysrq-trigger'];

type Labels = Readonly<Record<string, string>>;

/** Facts may be long, which labels may not. */
function split(labels: Labels): { readonly labels: Labels; readonly annotations: Labels } {
  const { [labelKeys.facts]: facts = '', ...rest } = labels;
  return { labels: rest, annotations: { [labelKeys.facts]: facts } };
}

const namespaces = (spec: Pick<SandboxSpec, 'hostNetwork' | 'hostIpc' | 'hostPid' | 'sharedPid'>): object => ({
  network: spec.hostNetwork ? modes.node : modes.pod,
  ipc: spec.hostIpc ? modes.node : modes.pod,
  pid: spec.hostPid ? modes.node : spec.sharedPid === true ? modes.pod : modes.container,
});

export function sandboxConfig(spec: SandboxSpec, owner: string, labels: Labels): object {
  return {
    // The runtime takes no two of the same name, uid and attempt: ours is one for each id.
    metadata: { name: spec.podName, namespace: spec.podNamespace, uid: `${owner}.${spec.id}`, attempt: 0 },
    // With the node's network goes the node's name.
    hostname: spec.hostNetwork ? '' : spec.hostname,
    // Log paths are whole paths.
    log_directory: '/',
    ...split(labels),
    linux: {
      sysctls: spec.sysctls,
      security_context: {
        namespace_options: namespaces(spec),
        // Containers of it may be privileged; nothing else follows.
        privileged: true,
        seccomp: runtimeDefault,
      },
    },
  };
}

export function containerConfig(
  spec: ContainerSpec,
  sandbox: { readonly facts: SandboxFacts; readonly files: SandboxPaths },
  image: { readonly id: string; readonly uid: number | undefined },
  labels: Labels,
  /** The runtime's id of the container whose processes it joins. */
  targetId: string | undefined,
): object {
  const joinsTarget = targetId !== undefined && !sandbox.facts.hostPid && sandbox.facts.sharedPid !== true;
  const user = spec.user ?? (spec.group === undefined ? undefined : (image.uid ?? 0));
  const { limits } = spec;
  return {
    metadata: { name: spec.name, attempt: spec.attempt },
    image: { image: image.id },
    command: spec.command,
    args: spec.args,
    working_dir: spec.workingDir ?? '',
    envs: spec.env.map(({ name, value }) => ({ key: name, value })),
    mounts: mountsOf(spec, sandbox.files),
    ...split(labels),
    log_path: spec.logPath.replace(/^\/+/, ''),
    stdin: spec.stdin,
    stdin_once: spec.stdinOnce ?? false,
    tty: spec.tty,
    linux: {
      resources: {
        ...(limits?.memoryBytes === undefined
          ? {}
          : { memory_limit_in_bytes: limits.memoryBytes, memory_swap_limit_in_bytes: limits.memoryBytes }),
        ...(limits?.cpuMillis === undefined
          ? {}
          : { cpu_period: cpuPeriodMicros, cpu_quota: Math.round((limits.cpuMillis * cpuPeriodMicros) / 1000) }),
        ...(limits?.cpuRequestMillis === undefined
          ? {}
          : { cpu_shares: Math.max(2, Math.round((limits.cpuRequestMillis * 1024) / 1000)) }),
      },
      security_context: {
        namespace_options: {
          ...namespaces(sandbox.facts),
          ...(joinsTarget ? { pid: modes.target, target_id: targetId } : {}),
        },
        privileged: spec.privileged,
        capabilities: spec.privileged
          ? {}
          : {
              add_capabilities: spec.addCapabilities.map(plainCapability),
              drop_capabilities: spec.dropCapabilities.map(plainCapability),
            },
        ...(user === undefined ? {} : { run_as_user: { value: user } }),
        ...(spec.group === undefined ? {} : { run_as_group: { value: spec.group } }),
        supplemental_groups: spec.supplementalGroups ?? [],
        readonly_rootfs: spec.readOnlyRoot,
        no_new_privs: spec.noNewPrivileges,
        seccomp: seccompOf(spec),
        ...(spec.privileged ? {} : { masked_paths: maskedPaths, readonly_paths: readOnlyPaths }),
      },
    },
  };
}

function seccompOf({ privileged, seccomp = 'RuntimeDefault' }: ContainerSpec): object {
  if (privileged || seccomp === 'Unconfined') return unconfined;
  return seccomp === 'RuntimeDefault' ? runtimeDefault : { profile_type: 2, localhost_ref: seccomp.file };
}

function mountsOf(spec: ContainerSpec, files: SandboxPaths): readonly object[] {
  const mounts = [...spec.mounts];
  const own = [
    [files.hosts, '/etc/hosts'],
    [files.resolvConf, '/etc/resolv.conf'],
  ] as const;
  for (const [hostPath, containerPath] of own)
    if (!mounts.some((mount) => mount.containerPath === containerPath))
      mounts.push({ hostPath, containerPath, readOnly: false });
  return mounts.map((mount) => {
    // The runtime would make a folder there.
    if (!existsSync(mount.hostPath))
      throw new PintleError(
        'CONTAINER_INVALID',
        `${mount.hostPath}, to be mounted at ${mount.containerPath}, does not exist`,
      );
    return {
      container_path: mount.containerPath,
      host_path: mount.hostPath,
      readonly: mount.readOnly,
      propagation: propagations[mount.propagation ?? 'None'],
    };
  });
}

/** Runtimes want names without "CAP_", and some overlook names that they do not know. */
function plainCapability(name: string): string {
  const plain = name.toLowerCase().replace(/^cap_/, '');
  if (plain !== 'all' && !linuxCapabilities.has(plain))
    throw new PintleError('CONTAINER_INVALID', `capability ${name} does not exist`);
  return plain.toUpperCase();
}
