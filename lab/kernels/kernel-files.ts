/**
 * The unpacked files of the second kernels: Debian packages that scripts/fetch-kernels.sh downloads and unpacks in a folder
 * of their own. Nothing is installed.
 */
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';

/** Where fetch-kernels.sh puts them, below the repository. */
export const kernelsFolder = '.state/kernels';

export interface VmFiles {
  readonly release: string;
  readonly image: string;
  /** Holds lib/modules/<release> with the indexes that modprobe needs. */
  readonly root: string;
  readonly busybox: string;
}

export interface UmlFiles {
  readonly release: string;
  readonly program: string;
  readonly modules: string;
}

const onlyEntry = (folder: string): string | undefined => (existsSync(folder) ? readdirSync(folder)[0] : undefined);

export function findVmFiles(kernels: string): VmFiles | undefined {
  const root = join(kernels, 'vm');
  const busybox = join(kernels, 'busybox/bin/busybox');
  const release = onlyEntry(join(root, 'lib/modules'));
  if (release === undefined || !existsSync(busybox)) return undefined;
  const image = join(root, 'boot', `vmlinuz-${release}`);
  const isComplete = existsSync(image) && existsSync(join(root, 'lib/modules', release, 'modules.dep.bin'));
  return isComplete ? { release, image, root, busybox } : undefined;
}

export function findUmlFiles(kernels: string): UmlFiles | undefined {
  const program = join(kernels, 'uml/usr/bin/linux.uml');
  const modules = join(kernels, 'uml/usr/lib/uml/modules');
  const release = onlyEntry(modules);
  return release !== undefined && existsSync(program) ? { release, program, modules } : undefined;
}
