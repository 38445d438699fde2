/** Ends a cluster of `pintle up`, however little of it is left, and removes what it has in its folder. */
import { chmodSync, existsSync, readdirSync, rmdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { PintleError } from '../../kernel/contract/errors.ts';
import { hasEnded, isAlive, signalProcess, type ProcessIdentity } from '../../lab/index.ts';
import { defaultStateDir } from '../state-dir.ts';
import { clusterFiles, ownEntries, readRecord } from './cluster-files.ts';
import { purgeRuntimes } from './node-runtimes.ts';

async function end(identity: ProcessIdentity | undefined, graceMs: number): Promise<void> {
  if (!identity || !isAlive(identity)) return;
  signalProcess(identity, 'SIGTERM');
  if (await hasEnded(identity, graceMs)) return;
  signalProcess(identity, 'SIGKILL');
  if (!(await hasEnded(identity, 5000))) {
    throw new PintleError(
      'PLUGIN_STOP_FAILED',
      `process ${identity.pid} does not end, not even killed; it waits for the kernel (ps -o stat,wchan -p ${identity.pid})`,
    );
  }
}

/** Resolves to false when there was nothing to end. */
export async function downCluster(folder: string, options: { readonly keepState: boolean }): Promise<boolean> {
  const files = clusterFiles(folder);
  const record = readRecord(files);
  if (record) {
    if (options.keepState) writeFileSync(files.keepState, '', { mode: 0o600 });
    // `up` takes the rest down in order; what survives a killed `up` is ended here.
    await end(record.up, 30_000);
    await end(record.lab, 0);
    await end(record.server, 10_000);
    if (record.exposedLink !== undefined) (await import('./expose.ts')).hideLab(record.exposedLink);
    for (const file of [files.record, files.keepState]) rmSync(file, { force: true });
  }
  const found = record !== undefined || existsSync(files.server);
  if (options.keepState) await purgeRuntimes(folder);
  else await removeState(folder, true);
  return found;
}

/** overlayfs makes work folders with mode 0, which their owner may remove only after a chmod. */
function openFolders(folder: string): void {
  chmodSync(folder, 0o700);
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    if (entry.isDirectory()) openFolders(join(folder, entry.name));
  }
}

function removeFolder(folder: string): void {
  try {
    rmSync(folder, { recursive: true, force: true });
  } catch (error) {
    if (!['EACCES', 'EPERM'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error;
    openFolders(folder);
    rmSync(folder, { recursive: true, force: true });
  }
}

const logs: ReadonlySet<string> = new Set(['up.log', 'up-errors.log', 'server.log']);

/** Leaves an agent's log and nothing else of its node. */
function removeAllButLogs(nodes: string): void {
  for (const node of existsSync(nodes) ? readdirSync(nodes) : []) {
    for (const name of readdirSync(join(nodes, node))) {
      if (name !== 'agent.log') removeFolder(join(nodes, node, name));
    }
  }
}

/** Removes what the cluster has in its folder; after a failure (`!clean`) the logs stay, so that the reason can be read. */
export async function removeState(folder: string, clean: boolean): Promise<void> {
  if (!existsSync(folder)) return;
  await purgeRuntimes(folder);
  for (const name of ownEntries) {
    if (!clean && logs.has(name)) continue;
    if (!clean && name === 'nodes') removeAllButLogs(join(folder, name));
    else removeFolder(join(folder, name));
  }
  if (readdirSync(folder).length > 0) return;
  rmdirSync(folder);
  // Made for a cluster that was given no folder; another cluster's may be beside it.
  const parent = dirname(folder);
  if (parent === defaultStateDir(process.env) && readdirSync(parent).length === 0) rmdirSync(parent);
}
