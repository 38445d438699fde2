/** The folder of a cluster that `pintle up` made, and the record of its processes: what `down` and `status` go by. */
import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { PintleError } from '../../kernel/contract/errors.ts';

const identity = z.object({ pid: z.int().positive(), startTicks: z.string() });

const record = z.object({
  version: z.literal(1),
  /** `pintle up` itself, the server, and the lab's outermost process; pids of the host. */
  up: identity,
  server: identity.optional(),
  lab: identity.optional(),
  listen: z.string(),
  nodes: z.array(z.object({ name: z.string(), address: z.string() })),
  exposedLink: z.string().optional(),
  ready: z.boolean(),
});

export type ClusterRecord = z.infer<typeof record>;

export interface ClusterFiles {
  readonly folder: string;
  readonly record: string;
  readonly server: string;
  readonly socket: string;
  readonly kubeconfig: string;
  readonly plan: string;
  readonly log: string;
}

export function clusterFiles(folder: string): ClusterFiles {
  const server = join(folder, 'server');
  return {
    folder,
    record: join(folder, 'up.json'),
    server,
    socket: join(server, 'api.sock'),
    kubeconfig: join(folder, 'kubeconfig'),
    plan: join(folder, 'lab.json'),
    log: join(folder, 'up.log'),
  };
}

export function readRecord(files: ClusterFiles): ClusterRecord | undefined {
  if (!existsSync(files.record)) return undefined;
  try {
    return record.parse(JSON.parse(readFileSync(files.record, 'utf8')));
  } catch (cause) {
    throw new PintleError(
      'CONFIG_INVALID',
      `${files.record} cannot be read as a record of "pintle up" of this version; end its processes by hand and remove ${files.folder}`,
      { cause },
    );
  }
}

export function writeRecord(files: ClusterFiles, value: ClusterRecord): void {
  writeFileSync(`${files.record}.new`, `${JSON.stringify(value, undefined, 2)}\n`, { mode: 0o600 });
  renameSync(`${files.record}.new`, files.record);
}
