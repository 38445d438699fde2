/** The folder of a cluster that `pintle up` made, and the record of its processes: what `down` and `status` go by. */
import { chmodSync, existsSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { PintleError } from '../../kernel/contract/errors.ts';
import { isAlive } from '../../lab/index.ts';
import { makeStateDir } from '../state-dir.ts';

const identity = z.object({ pid: z.int().positive(), startTicks: z.string() });

const record = z.object({
  version: z.literal(1),
  /** `pintle up` itself, the server, and the lab's outermost process; pids of the host. */
  up: identity,
  server: identity.optional(),
  lab: identity.optional(),
  /** Where the API listens, once it does. */
  listen: z.string().optional(),
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
  /** Of a detached `up`. */
  readonly log: string;
  readonly errorLog: string;
  /** There while a `down --keep-state` ends `up`, which would remove the state otherwise. */
  readonly keepState: string;
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
    errorLog: join(folder, 'up-errors.log'),
    keepState: join(folder, 'keep-state'),
  };
}

/** What `pintle up` puts into its folder: all that `down` may remove from it. */
export const ownEntries: readonly string[] = [
  ...['up.json', 'up.json.new', 'up.log', 'up-errors.log', 'server.log', 'keep-state'],
  ...['server', 'kubeconfig', 'lab.json', 'lab', 'nodes'],
];

/**
 * Makes the folder and closes it to others. One that holds anything else is refused, a home folder named by mistake for
 * one, and so is one whose cluster runs. Resolves to the record of one that was killed.
 */
export function openFolder(files: ClusterFiles): ClusterRecord | undefined {
  const { folder } = files;
  makeStateDir(folder);
  const foreign = readdirSync(folder).find((name) => !ownEntries.includes(name));
  if (foreign !== undefined) {
    throw new PintleError(
      'ALREADY_EXISTS',
      `${folder} holds other things (${foreign}); a cluster needs a folder of its own: name an empty or a new one with --state-dir`,
    );
  }
  const known = readRecord(files);
  if (known && isAlive(known.up)) {
    throw new PintleError(
      'ALREADY_EXISTS',
      `a cluster runs from ${folder} already (process ${known.up.pid}); "pintle down" ends it, --state-dir names another folder`,
    );
  }
  chmodSync(folder, 0o700);
  return known;
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
