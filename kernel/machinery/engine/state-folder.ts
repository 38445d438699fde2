/** A runtime's own folder of the host. Other programs are told its path, so links in it are followed first. */
import { mkdirSync, readdirSync, realpathSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';

/** Makes it when missing; its real path. */
export function openStateFolder(path: string): string {
  mkdirSync(path, { recursive: true });
  return realpathSync(path);
}

/** The folder itself stays: it belongs to whoever named it. */
export async function emptyStateFolder(path: string): Promise<void> {
  for (const name of readdirSync(path)) await rm(join(path, name), { recursive: true, force: true });
}
