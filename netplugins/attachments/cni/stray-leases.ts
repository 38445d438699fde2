/**
 * Leases of host-local that nobody owns: one that is cut short between making its file and writing it leaves the file empty,
 * and no DEL finds it. Looks through the folder that the attachment gave it, while no executable runs.
 */
import { readdirSync, readFileSync, rmSync } from 'node:fs';
import { isIP } from 'node:net';
import { join } from 'node:path';

/** A lease is a file named after its address; its first line is the container's id. IPv6 may have "_" for ":". */
export function removeStrayLeases(folder: string, containerIds: ReadonlySet<string>): void {
  for (const network of entries(folder))
    for (const name of entries(join(folder, network))) {
      const path = join(folder, network, name);
      if (isIP(name.replaceAll('_', ':')) === 0) continue;
      const [owner = ''] = readFileSync(path, 'utf8').split(/\r?\n/);
      if (!containerIds.has(owner.trim())) rmSync(path, { force: true });
    }
}

function entries(folder: string): readonly string[] {
  try {
    return readdirSync(folder);
  } catch {
    // Not made yet.
    return [];
  }
}
