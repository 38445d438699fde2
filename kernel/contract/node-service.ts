/**
 * What a node offers to the API server: the streams of its containers, and what they use. Served by component `node-agent`, reached through
 * `Cluster.serveNode` / `ClusterServer.node`. Times are milliseconds since 1970; sizes are bytes.
 * Errors: CONTAINER_NOT_FOUND, CONTAINER_NOT_RUNNING, BAD_REQUEST, UNAVAILABLE.
 */
import type { Duplex, Readable, Writable } from 'node:stream';
import type { NetworkAnswers, NetworkQuestion } from './network-view.ts';

export interface ContainerRef {
  readonly namespace: string;
  readonly pod: string;
  /** Undefined: the pod of this name, whatever its uid. */
  readonly podUid?: string | undefined;
  readonly container: string;
}

/** Kubernetes' PodLogOptions. */
export interface LogRequest extends ContainerRef {
  readonly follow?: boolean | undefined;
  readonly previous?: boolean | undefined;
  readonly timestamps?: boolean | undefined;
  readonly tailLines?: number | undefined;
  readonly limitBytes?: number | undefined;
  /** Only lines at or after this time. */
  readonly sinceMs?: number | undefined;
  /** "All" (default), "Stdout", "Stderr". */
  readonly stream?: string | undefined;
}

export interface ExecRequest extends ContainerRef {
  readonly command: readonly string[];
  readonly stdin: boolean;
  readonly stdout: boolean;
  readonly stderr: boolean;
  readonly tty: boolean;
}

export type AttachRequest = Omit<ExecRequest, 'command'>;

/** A process's streams. With `tty` there is no stderr. Ending `stdin` is a half-close: output goes on. */
export interface ProcessStreams {
  readonly stdin: Writable | undefined;
  readonly stdout: Readable | undefined;
  readonly stderr: Readable | undefined;
  /** Of the terminal. The first one may come before the process has its terminal, and holds all the same. */
  resize(size: { readonly columns: number; readonly rows: number }): void;
  /** Resolves when the process has ended and its output has been read to the end. */
  readonly exited: Promise<ProcessExit>;
  /** Ends the process and the streams. */
  close(): void;
}
export interface ProcessExit {
  readonly exitCode: number;
  /** Set when a signal ended it. */
  readonly signal?: number | undefined;
  /** Why it could not be run at all; exitCode is then 126 or 127. */
  readonly message?: string | undefined;
}

/** CPU use. `nanoCores`: the mean over the time since the sample before. */
export interface CpuUsage {
  readonly totalNanos: number;
  readonly nanoCores: number;
}
export interface MemoryUsage {
  readonly usageBytes: number;
  /** What cannot be given back under pressure: usage without inactive file pages. */
  readonly workingSetBytes: number;
}
export interface FileSystemUsage {
  readonly capacityBytes: number;
  readonly availableBytes: number;
  readonly usedBytes: number;
  readonly inodes: number;
  readonly inodesFree: number;
}

export interface ContainerUsage {
  readonly name: string;
  readonly startedMs: number;
  /** When it was sampled, and over how long `cpu.nanoCores` is the mean. */
  readonly timeMs: number;
  readonly windowMs: number;
  readonly cpu: CpuUsage;
  readonly memory: MemoryUsage;
}
export interface PodUsage {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  readonly startedMs: number;
  /** Of its running containers that have been sampled. Empty: it has just begun. */
  readonly containers: readonly ContainerUsage[];
  /** Containers that run and have not been sampled twice yet. */
  readonly unsampled: readonly string[];
  /** Writable layers, logs and emptyDir volumes on disk, when they have been measured. */
  readonly ephemeralStorageBytes?: number | undefined;
}
/** What a node uses as a whole, and each of its pods: one sampling. */
export interface NodeUsage {
  readonly nodeName: string;
  /** When the node was booted. */
  readonly startedMs: number;
  readonly timeMs: number;
  readonly windowMs: number;
  readonly cpu: CpuUsage;
  readonly memory: MemoryUsage & { readonly availableBytes: number };
  readonly fileSystem: FileSystemUsage;
  readonly processes: { readonly count: number; readonly max: number };
  readonly pods: readonly PodUsage[];
}

export interface NodeService {
  /** The newest sampling. Rejects UNAVAILABLE while there is none. */
  stats(signal: AbortSignal): Promise<NodeUsage>;
  /** Prometheus text of the node's agent. */
  metrics(signal: AbortSignal): Promise<string>;
  /** What the node's network is like (network-view.ts). */
  network<Q extends NetworkQuestion>(question: Q, signal: AbortSignal): Promise<NetworkAnswers[Q['ask']]>;
  logs(request: LogRequest, signal: AbortSignal): Promise<Readable>;
  exec(request: ExecRequest): Promise<ProcessStreams>;
  /**
   * The streams of the main process, from its start for the first client of a young container or of one with `stdinOnce`,
   * else from now on. Of the end of the process, the exit code is told by the pod's status and not here.
   */
  attach(request: AttachRequest): Promise<ProcessStreams>;
  /** A connection to a TCP port inside the pod. */
  portForward(request: { readonly namespace: string; readonly pod: string; readonly port: number }): Promise<Duplex>;
}
