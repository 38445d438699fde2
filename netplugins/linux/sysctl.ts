/** Kernel settings under /proc/sys, of this or another network namespace. Only net.* settings differ by namespace. */
import { readFileSync, writeFileSync } from 'node:fs';
import { PintleError } from '../../kernel/contract/index.ts';
import { runInNetns } from './namespaces.ts';

export interface SysctlOptions {
  readonly netns?: string | undefined;
}

/** "net.ipv4.conf.eth0/1.rp_filter" is written with slashes for dots inside a name, as sysctl(8) does. */
function pathOf(name: string): string {
  return `/proc/sys/${name.replace(/[./]/g, (separator) => (separator === '.' ? '/' : '.'))}`;
}

function within<T>(options: SysctlOptions, fn: () => T): T {
  return options.netns === undefined ? fn() : runInNetns(options.netns, fn);
}

/** The setting's text, or undefined when this kernel lacks it. */
export function readSysctl(name: string, options: SysctlOptions = {}): string | undefined {
  try {
    return within(options, () => readFileSync(pathOf(name), 'latin1')).trim();
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return undefined;
    throw refused(name, 'read', error);
  }
}

/** Returns whether it had to be changed. Throws KERNEL_REFUSED when it is absent or may not be written. */
export function writeSysctl(name: string, value: string | number, options: SysctlOptions = {}): boolean {
  const text = String(value);
  if (readSysctl(name, options) === text) return false;
  try {
    within(options, () => writeFileSync(pathOf(name), text));
  } catch (error) {
    throw refused(name, `set to ${text}`, error);
  }
  return true;
}

function isErrno(error: unknown, ...codes: readonly string[]): boolean {
  return codes.includes(String((error as NodeJS.ErrnoException).code));
}

function refused(name: string, verb: string, error: unknown): PintleError {
  const errno = (error as NodeJS.ErrnoException).code ?? 'unknown';
  const advice = isErrno(error, 'EROFS')
    ? '/proc/sys is read-only here (a container without privileges): set it from outside'
    : isErrno(error, 'ENOENT')
      ? 'this kernel does not have it'
      : 'root of this network namespace is needed';
  return new PintleError('KERNEL_REFUSED', `Kernel setting ${name} could not be ${verb} (${errno}); ${advice}`, {
    details: { errno, extack: '' },
    cause: error,
  });
}
