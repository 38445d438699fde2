/**
 * Kind `runtime`: sandboxes and containers on one node. A smaller CRI (k8s.io/cri-api runtime/v1).
 *
 * A *sandbox* is a pod's shared environment: network and ipc namespaces, host name, limits of the whole pod. A *container*
 * is a process tree in a sandbox. Ids are chosen by the caller (unique for ever: pod uid, container name, attempt), so a
 * repeated call after a crash finds what the first one made. The runtime makes the network namespace, empty but for `lo`;
 * an attachment fills it in.
 *
 * Guarantees
 * - A sandbox or container is on record (it shows in `list`) before anything of it exists, and until nothing of it does.
 * - Containers outlive the agent: after `kill -9` of the agent and a new start, `list` shows every one with its true
 *   state, exit codes of those that ended meanwhile included, and logs have no hole.
 * - `stdout` and `stderr` are written to `logPath` in CRI log form: RFC 3339 time with up to nine digits of a second, stream, F or P, text.
 *   With `maxLogBytes` the file is rotated to `logPath.1` ... keeping `maxLogFiles`.
 * - What has been written to stdout and stderr can be told from the log to the byte: of a last line without a newline only
 *   P pieces are there.
 * - When a container has ended, all processes of it have.
 * Idempotency: ensureSandbox and startContainer with an id that exists return it as it is; stop, remove of what is stopped
 * or gone succeed. removeSandbox stops and removes its containers, namespaces, mounts, limits.
 * Ordering and concurrency: calls for different sandboxes run at once; calls for one sandbox are ordered by the runtime.
 * Cancellation: none; every call has an end of its own.
 * Errors: IMAGE_NOT_FOUND, SANDBOX_NOT_FOUND, CONTAINER_NOT_FOUND, CONTAINER_INVALID, CONTAINER_START_FAILED,
 * CONTAINER_NOT_RUNNING, HOST_COMMAND_FAILED, UNSUPPORTED; UNAVAILABLE while an engine that the runtime drives is away.
 * Capabilities:
 * - `real`: runs processes.  `tty`: terminals.  `images`: pull, list, remove.
 * - `limits`: memory and cpu limits hold.  `pids`: limits of the number of processes do too.
 * - `init`: pid 1 of a container is an init of the runtime's own. Without it the command is pid 1, with what the kernel
 *   makes of that: a signal that it does not handle is ignored, save KILL from outside.
 * - `log-bound`: no log file grows beyond `maxLogBytes` by more than a line. Without it, by what is written in two seconds.
 * - `exec-end`: closing the streams of an exec ends its process. Without it, its input ends and it is left alone.
 * - `shared-pid`: `sharedPid` of a sandbox and `targetContainerId` of a container hold. Without it both are ignored.
 */
import type { ProcessStreams } from './node-service.ts';

export type RuntimeCapability =
  'images' | 'limits' | 'pids' | 'tty' | 'real' | 'init' | 'log-bound' | 'exec-end' | 'shared-pid';

export interface SandboxSpec {
  readonly id: string;
  readonly podNamespace: string;
  readonly podName: string;
  readonly podUid: string;
  readonly hostname: string;
  readonly labels: Readonly<Record<string, string>>;
  /** True: share the node's namespace instead of having an own one. */
  readonly hostNetwork: boolean;
  readonly hostIpc: boolean;
  readonly hostPid: boolean;
  /** Its containers see each other's processes: one pid namespace for all of them, whose pid 1 is the runtime's. */
  readonly sharedPid?: boolean | undefined;
  /** Written to /etc/resolv.conf and /etc/hosts of every container. */
  readonly resolvConf: string;
  readonly etcHosts: string;
  readonly sysctls: Readonly<Record<string, string>>;
  /** Limits of the whole pod; undefined: none. */
  readonly limits?: ResourceLimits | undefined;
}

export interface ResourceLimits {
  readonly memoryBytes?: number | undefined;
  readonly cpuMillis?: number | undefined;
  /** Relative weight, from requests. */
  readonly cpuRequestMillis?: number | undefined;
  readonly pids?: number | undefined;
}

export interface Sandbox {
  readonly id: string;
  readonly podNamespace: string;
  readonly podName: string;
  readonly podUid: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly ready: boolean;
  /** Path of its network namespace; undefined with hostNetwork or when not ready. */
  readonly netns: string | undefined;
  readonly createdMs: number;
}

export interface Mount {
  readonly hostPath: string;
  readonly containerPath: string;
  readonly readOnly: boolean;
  readonly propagation?: 'None' | 'HostToContainer' | 'Bidirectional' | undefined;
}

/**
 * Which system calls a container may make: what the runtime allows by default, all, or what a JSON profile of the OCI kind
 * on this node allows. A runtime that cannot load a profile refuses `file` with CONTAINER_INVALID.
 */
export type SeccompChoice = 'RuntimeDefault' | 'Unconfined' | { readonly file: string };

export interface ContainerSpec {
  readonly id: string;
  readonly sandboxId: string;
  /** Container name in the pod, and how often it has been started before (0, 1, ...). */
  readonly name: string;
  readonly attempt: number;
  readonly image: string;
  readonly labels: Readonly<Record<string, string>>;
  /** Entry point and arguments; empty: those of the image. */
  readonly command: readonly string[];
  readonly args: readonly string[];
  readonly workingDir?: string | undefined;
  /** In order; the image's own variables come first. */
  readonly env: readonly { readonly name: string; readonly value: string }[];
  readonly mounts: readonly Mount[];
  readonly user?: number | undefined;
  readonly group?: number | undefined;
  readonly supplementalGroups?: readonly number[] | undefined;
  readonly readOnlyRoot: boolean;
  readonly privileged: boolean;
  readonly noNewPrivileges: boolean;
  /** Undefined: the runtime's choice. Privileged containers have none. */
  readonly seccomp?: SeccompChoice | undefined;
  readonly addCapabilities: readonly string[];
  readonly dropCapabilities: readonly string[];
  readonly tty: boolean;
  readonly stdin: boolean;
  /** With `stdin`: it ends for good when the first client that is attached to it ends it or goes away. */
  readonly stdinOnce?: boolean | undefined;
  readonly logPath: string;
  readonly maxLogBytes: number;
  readonly maxLogFiles: number;
  readonly limits?: ResourceLimits | undefined;
  /** Signal to stop it with, "SIGUSR1"; undefined: that of the image, or TERM. */
  readonly stopSignal?: string | undefined;
  /** It runs in the pid namespace of this running container, and ends with it. */
  readonly targetContainerId?: string | undefined;
}

export type ContainerState = 'created' | 'running' | 'exited';

export interface Container {
  readonly id: string;
  readonly sandboxId: string;
  readonly name: string;
  readonly attempt: number;
  readonly image: string;
  /** What identifies the image's content. */
  readonly imageId: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly state: ContainerState;
  readonly createdMs: number;
  readonly startedMs?: number | undefined;
  readonly finishedMs?: number | undefined;
  readonly exitCode?: number | undefined;
  /** Completed, Error, OOMKilled, StartError ... */
  readonly reason?: string | undefined;
  readonly message?: string | undefined;
  readonly pid?: number | undefined;
  readonly logPath: string;
}

export interface ContainerStats {
  readonly timeMs: number;
  /** Nanoseconds of CPU used since start. */
  readonly cpuNanos: number;
  readonly memoryBytes: number;
  readonly workingSetBytes: number;
  readonly writableLayerBytes?: number | undefined;
}

export interface Image {
  readonly id: string;
  readonly names: readonly string[];
  readonly sizeBytes: number;
  /** Id of the user that its containers run as unless told otherwise; undefined: not known. */
  readonly user?: number | undefined;
}

/** What a registry is asked with: a user and password, or a token. */
export interface RegistryCredentials {
  /** As the secret names it: "registry.example.com:5000", "https://index.docker.io/v1/". */
  readonly server: string;
  readonly username?: string | undefined;
  readonly password?: string | undefined;
  readonly identityToken?: string | undefined;
  readonly registryToken?: string | undefined;
}

export interface PullOptions {
  readonly credentials?: RegistryCredentials | undefined;
  /** How far it is, as often as the runtime learns of it. The total grows while layers are still being found. */
  readonly onProgress?: ((progress: { readonly bytes: number; readonly totalBytes: number }) => void) | undefined;
}

export interface RuntimeStatus {
  readonly ready: boolean;
  readonly reason?: string | undefined;
  /** "process://1.0": node.status.nodeInfo.containerRuntimeVersion. */
  readonly version: string;
  /** What it cannot do on this host, each in words for a user: "no cgroup: memory and cpu limits are not enforced". */
  readonly limitations: readonly string[];
  /** True: nothing really runs, so that what the host itself uses says nothing about this node. */
  readonly simulated?: boolean | undefined;
}

export type RuntimeEvent = {
  readonly type: 'container-started' | 'container-exited' | 'sandbox-stopped';
  readonly sandboxId: string;
  readonly containerId?: string | undefined;
};

export interface Runtime {
  status(): RuntimeStatus;
  ensureSandbox(spec: SandboxSpec): Promise<Sandbox>;
  /** Ends its containers at once and gives up its network namespace. The record stays. */
  stopSandbox(id: string): Promise<void>;
  removeSandbox(id: string): Promise<void>;
  /** All, or those of one pod. */
  listSandboxes(podUid?: string): Promise<readonly Sandbox[]>;
  /** Creates and starts. Rejects CONTAINER_START_FAILED or CONTAINER_INVALID with a message for the pod's status; the failed container is on record as exited. */
  startContainer(spec: ContainerSpec): Promise<Container>;
  /** TERM (or the image's stop signal), then KILL after `graceMs`. Resolves when it has ended. */
  stopContainer(id: string, graceMs: number): Promise<void>;
  /** Stops it first when it still runs. Removes its log files too. */
  removeContainer(id: string): Promise<void>;
  listContainers(sandboxId?: string): Promise<readonly Container[]>;
  /** Hints that something changed, so that the caller need not poll; may be late or repeated, never the only source. */
  events(signal: AbortSignal): AsyncIterable<RuntimeEvent>;
  exec(
    containerId: string,
    request: { readonly command: readonly string[]; readonly stdin: boolean; readonly tty: boolean },
  ): Promise<ProcessStreams>;
  /**
   * The main process's streams from now on. Capability-free; stdin only when the container was started with it. Many may
   * be attached at once.
   */
  attach(containerId: string, request: { readonly stdin: boolean; readonly tty: boolean }): Promise<ProcessStreams>;
  /** Figures of a moment ago at most. `disk`: `writableLayerBytes` too where it can be told, which takes longer. */
  stats(containerId: string, options?: { readonly disk?: boolean | undefined }): Promise<ContainerStats>;
  /** Resolves to the image's id, or undefined when it is not here. */
  imageStatus(name: string): Promise<Image | undefined>;
  /** Rejects IMAGE_NOT_FOUND when it cannot be had. */
  pullImage(name: string, options?: PullOptions): Promise<Image>;
  listImages(): Promise<readonly Image[]>;
  /** Takes the name away, and the image with its last one. Rejects CONFLICT when a container is made of it. */
  removeImage(name: string): Promise<void>;
  /** Removes every sandbox, container, namespace, mount and limit of this runtime on this node. */
  purge(): Promise<void>;
}

/**
 * What a process beside the agent may do about a node's runtime: `pintle image`, and `pintle down` once the agent has
 * ended. Made by `offline` of the plugin. Images may be worked on while the agent runs.
 */
export interface RuntimeOffline {
  /**
   * Makes an image of a folder, a tarball, or a docker or OCI archive; `names` are added to those that an archive brings.
   * Rejects UNSUPPORTED where the engine has its own way, which the message names.
   */
  importImage(source: string, names: readonly string[]): Promise<Image>;
  listImages(): Promise<readonly Image[]>;
  /** As the runtime's own; resolves to false when there is no image of this name. */
  removeImage(name: string): Promise<boolean>;
  /** Removes what outlives the agent and its namespaces: limits, containers of an engine. Only when the agent has ended. */
  purge(): Promise<void>;
}
