/** How much each pod has on the node's disk. Asks `du`, a process of its own: a large tree must not hold up the agent. */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Container, Runtime } from '../../../../kernel/contract/index.ts';
import type { Pod } from '../../../../kernel/contract/kubernetes.ts';

export interface PodDiskUsage {
  readonly totalBytes: number;
  /** Writable layer and logs, by container. */
  readonly containers: ReadonlyMap<string, number>;
}

export interface DiskUsageSources {
  readonly runtime: Pick<Runtime, 'stats'>;
  /** Of a pod: its volumes, logs and messages. */
  folder(uid: string): string;
}

export async function podDiskUsage(
  pod: Pod,
  running: readonly Container[],
  { runtime, folder }: DiskUsageSources,
): Promise<PodDiskUsage> {
  const root = folder(pod.metadata.uid);
  const logs = (await readdir(root).catch(() => [])).filter((name) => name.includes('.log'));
  const sizes = await diskUsage([root, ...logs.map((name) => join(root, name))]);
  const containers = new Map<string, number>();
  let layers = 0;
  for (const container of running) {
    const { writableLayerBytes = 0 } = await runtime.stats(container.id, { disk: true }).catch(() => ({}) as never);
    layers += writableLayerBytes;
    const ofLogs = logs
      .filter((name) => name.startsWith(`${container.name}_`))
      .reduce((sum, name) => sum + (sizes.get(join(root, name)) ?? 0), 0);
    containers.set(container.name, writableLayerBytes + ofLogs);
  }
  return { totalBytes: (sizes.get(root) ?? 0) + layers, containers };
}

/** Bytes on disk below each path, other file systems left out. What cannot be read counts for nothing. */
export async function diskUsage(paths: readonly string[]): Promise<ReadonlyMap<string, number>> {
  const sizes = new Map<string, number>();
  const there = paths.filter((path) => existsSync(path));
  // One path a process: du counts a file once, and the logs lie within the pod's folder.
  await Promise.all(
    there.map(async (path) => {
      const text = await output('du', ['--summarize', '--one-file-system', '--block-size=1', '--', path]);
      const bytes = Number.parseInt(text, 10);
      if (!Number.isNaN(bytes)) sizes.set(path, bytes);
    }),
  );
  return sizes;
}

/** A file that goes meanwhile makes du complain and still print its sum. */
function output(program: string, argv: readonly string[]): Promise<string> {
  return new Promise((resolve) => {
    const options = { env: { PATH: process.env['PATH'] ?? '', LC_ALL: 'C' }, timeout: 60_000 };
    execFile(program, argv, options, (_error, stdout) => resolve(stdout));
  });
}
