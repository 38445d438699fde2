/** Reads /proc/self/mountinfo (proc_pid_mountinfo(5)) for the flags that a bind mount has to keep, and for what is ours. */
import { readFileSync, statSync, statfsSync } from 'node:fs';
import { dirname } from 'node:path';

export interface MountInfo {
  readonly target: string;
  readonly options: readonly string[];
  readonly type: string;
  readonly superOptions: readonly string[];
  /** Path inside the file system that is mounted here. */
  readonly root: string;
}

export function parseMountInfo(text: string): readonly MountInfo[] {
  return text
    .split('\n')
    .filter(Boolean)
    .map((line) => {
      const [left = '', right = ''] = line.split(' - ');
      const fields = left.split(' ');
      const [type = '', , superOptions = ''] = right.split(' ');
      return {
        root: unescape(fields[3] ?? ''),
        target: unescape(fields[4] ?? ''),
        options: (fields[5] ?? '').split(','),
        type,
        superOptions: superOptions.split(','),
      };
    });
}

export function readMountTable(): readonly MountInfo[] {
  return parseMountInfo(readFileSync('/proc/self/mountinfo', 'utf8'));
}

const unescape = (text: string): string =>
  text.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));

/** Flags that a user namespace may not take away when it remounts a bind of `path` read-only (mount_namespaces(7)). */
export function keptFlags(path: string, table: readonly MountInfo[]): readonly string[] {
  const covering = table
    .filter(({ target }) => isWithin(path, target))
    .sort((a, b) => a.target.length - b.target.length);
  return (covering.at(-1)?.options ?? []).filter((option) =>
    /^(nosuid|nodev|noexec|noatime|nodiratime|ro)$/.test(option),
  );
}

export function isWithin(path: string, folder: string): boolean {
  return path === folder || folder === '/' || path.startsWith(`${folder}/`);
}

const NSFS_MAGIC = 0x6e736673;

/** True when a namespace is mounted on the file. */
export function isNamespaceFile(path: string): boolean {
  try {
    return statfsSync(path).type === NSFS_MAGIC;
  } catch {
    return false;
  }
}

/** True when another file system begins at the folder. */
export function isMountPoint(folder: string): boolean {
  const own = statSync(folder, { throwIfNoEntry: false });
  return own !== undefined && own.dev !== statSync(dirname(folder)).dev;
}
