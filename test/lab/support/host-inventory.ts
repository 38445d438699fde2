/** What a runtime may leave behind on a host: mounts, processes, cgroup folders, files. Equal before and after, or it leaks. */
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { cgroupKey } from '../../../plugins/runtimes/process/cgroups.ts';

export interface HostInventory {
  readonly mounts: readonly string[];
  readonly cgroups: readonly string[];
  readonly processes: readonly string[];
}

export function hostInventory(stateDirs: readonly string[]): HostInventory {
  return { mounts: mounts(), cgroups: cgroups(stateDirs), processes: processes() };
}

function mounts(): readonly string[] {
  return readFileSync('/proc/self/mounts', 'utf8').split('\n').filter(Boolean).sort();
}

/** Folders of runtimes on these state folders: other tests on this machine may run their own. */
function cgroups(stateDirs: readonly string[]): readonly string[] {
  const root = '/sys/fs/cgroup';
  const hierarchies = existsSync(root) ? [root, ...readdirSync(root).map((name) => join(root, name))] : [];
  return hierarchies
    .flatMap((path) => stateDirs.map((stateDir) => join(path, 'pintle', cgroupKey(stateDir))))
    .filter((path) => existsSync(path));
}

/** Command lines of what runs here; zombies have none. The runner and its tests are node processes and come and go. */
function processes(): readonly string[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ').trim();
      } catch {
        return '';
      }
    })
    .filter((line) => line !== '' && !line.includes('node'))
    .sort();
}
