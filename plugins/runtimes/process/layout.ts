/**
 * Where the runtime keeps what it knows. One folder a sandbox and a container under the plugin's state folder:
 *
 *   sandboxes/ID/sandbox.json    the record: written before anything exists, removed after everything is gone
 *                ns/{net,uts,ipc} namespaces kept by bind mounts;  shm: the pod's /dev/shm;  stopped: a marker
 *                pause           the same line as below of pid 1 of a pid namespace that containers share
 *   containers/ID/container.json the record
 *                claim           "PID (comm) S ... starttime ..." of the shim, made once (O_EXCL)
 *                init, main      the same line of the container's init and of its command (inner pid)
 *                outcome         "started" or "failed CODE text";   setup.log: stderr of the set-up
 *                root upper work the container's file system;   {stdout,stderr,stdin,release}.fifo
 *                journal         output on its way into the log (log-journal.ts)
 *   exits/ID                     exit code, one line, written by the shim; its mtime is the time of the end
 *   memory/ID                    writable layers that cannot be on the state folder's own file system (a tmpfs)
 *   agent           the process that works on all this
 *   images/, tools/              imported images; the few host programs that foreign images are started with
 */
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { PintleError } from '../../../kernel/contract/index.ts';

export interface Layout {
  readonly root: string;
  readonly sandboxes: string;
  readonly containers: string;
  readonly exits: string;
  readonly memory: string;
  readonly images: string;
  readonly tools: string;
  readonly probe: string;
}

export function layoutOf(root: string): Layout {
  return {
    root,
    sandboxes: join(root, 'sandboxes'),
    containers: join(root, 'containers'),
    exits: join(root, 'exits'),
    memory: join(root, 'memory'),
    images: join(root, 'images'),
    tools: join(root, 'tools'),
    probe: join(root, 'probe'),
  };
}

export function makeLayout(layout: Layout): void {
  for (const folder of [layout.sandboxes, layout.containers, layout.exits, layout.memory, layout.images, layout.probe])
    mkdirSync(folder, { recursive: true, mode: 0o711 });
}

/** Ids become file names and cgroup names, so they must be harmless as such. */
export function checkId(id: string, what: 'sandbox' | 'container'): void {
  if (/^[A-Za-z0-9][A-Za-z0-9_.-]{0,199}$/.test(id)) return;
  throw new PintleError(
    'CONTAINER_INVALID',
    `${what} id ${JSON.stringify(id)} cannot be used: expected 1 to 200 letters, digits, "-", "_" or "."`,
  );
}

/** Whole or not at all: a reader never sees half a record. */
export function writeRecord(path: string, record: unknown): void {
  writeFileSync(`${path}.tmp`, JSON.stringify(record), { mode: 0o600 });
  renameSync(`${path}.tmp`, path);
}

/** The record, or undefined when there is none or (after a power loss) half of one. */
export function readRecord<T>(path: string): T | undefined {
  const text = readText(path);
  if (text === undefined) return undefined;
  try {
    return JSON.parse(text) as T;
  } catch {
    return undefined;
  }
}

export function readText(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}
