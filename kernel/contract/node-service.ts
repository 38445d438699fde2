/**
 * What a node offers to the API server: the streams of its containers. Served by component `node-agent`, reached through
 * `Cluster.serveNode` / `ClusterServer.node`. Times are milliseconds since 1970; sizes are bytes.
 * Errors: CONTAINER_NOT_FOUND, CONTAINER_NOT_RUNNING, BAD_REQUEST, UNAVAILABLE.
 */
import type { Duplex, Readable, Writable } from 'node:stream';

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

export interface NodeService {
  logs(request: LogRequest, signal: AbortSignal): Promise<Readable>;
  exec(request: ExecRequest): Promise<ProcessStreams>;
  attach(request: AttachRequest): Promise<ProcessStreams>;
  /** A connection to a TCP port inside the pod. */
  portForward(request: { readonly namespace: string; readonly pod: string; readonly port: number }): Promise<Duplex>;
}
