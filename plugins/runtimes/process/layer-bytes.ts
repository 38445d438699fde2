/** Bytes on disk of what a container has written outside its volumes. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { tryHostCommand } from './host-command.ts';
import type { Layout } from './layout.ts';

/** Undefined when it cannot be told. Mounts are not followed: they are volumes, and other containers' business. */
export async function layerBytes(layout: Layout, containerId: string): Promise<number | undefined> {
  const folders = [
    join(layout.containers, containerId, 'root'),
    join(layout.containers, containerId, 'layers'),
    join(layout.memory, containerId),
  ].filter((path) => existsSync(path));
  if (folders.length === 0) return 0;
  // A file that goes while du looks at it makes du complain and still print its sums.
  const { stdout } = await tryHostCommand([
    'du',
    '--summarize',
    '--one-file-system',
    '--block-size=1',
    '--',
    ...folders,
  ]);
  const sizes = stdout
    .trim()
    .split('\n')
    .filter(Boolean)
    .map((line) => Number.parseInt(line, 10));
  return sizes.length === 0 ? undefined : sizes.reduce((sum, size) => sum + size, 0);
}
