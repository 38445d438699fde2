/** A root file system for containers made of the host's static busybox, as a tar: nothing is downloaded. */
import { execFileSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

export const busybox = ['/bin/busybox', '/usr/bin/busybox'].find((path) => existsSync(path));

/** Packages that a test needs and this host lacks, by the program that each brings. */
export function missingPackages(programs: Readonly<Record<string, string>>): readonly string[] {
  return Object.entries(programs)
    .filter(([program]) => !existsSync(program))
    .map(([, name]) => name);
}

/** Writes FOLDER/rootfs.tar and resolves to its path. `marker` makes images differ. */
export function makeBusyboxTar(folder: string, marker = 'kit'): string {
  if (busybox === undefined) throw new Error('no busybox: apt-get install busybox-static');
  const root = join(folder, `rootfs-${marker}`);
  for (const name of ['bin', 'etc', 'tmp', 'run', 'root', 'mnt', 'proc', 'sys', 'dev', 'usr/share', 'var'])
    mkdirSync(join(root, name), { recursive: true });
  copyFileSync(busybox, join(root, 'bin/busybox'));
  const applets = execFileSync(busybox, ['--list'], { encoding: 'utf8' }).trim().split('\n');
  for (const name of applets) if (name !== 'busybox') symlinkSync('busybox', join(root, 'bin', name));
  symlinkSync('/run', join(root, 'var/run'));
  writeFileSync(join(root, 'etc/passwd'), 'root:x:0:0:root:/root:/bin/sh\n');
  writeFileSync(join(root, 'etc/group'), 'root:x:0:\n');
  writeFileSync(join(root, 'etc/marker'), `${marker}\n`);
  const tar = join(folder, `${marker}.tar`);
  execFileSync('tar', [
    '--create',
    '--file',
    tar,
    '--directory',
    root,
    '--numeric-owner',
    '--owner=0',
    '--group=0',
    '.',
  ]);
  rmSync(root, { recursive: true });
  return tar;
}
