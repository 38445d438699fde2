/**
 * Settings of a link that the kernel has in sysfs alone (/sys/class/net), in the calling thread's network namespace. A mounted
 * /sys shows the links of the namespace that it was mounted in: this mounts its own, which nobody else sees and which is gone
 * at once.
 */
import { closeSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import type koffiType from 'koffi';
import { kernelRefused, libc } from './libc.ts';

/** The same on all processors. */
const calls = { fsopen: 430, fsconfig: 431, fsmount: 432 } as const;
const FSOPEN_CLOEXEC = 1;
const FSMOUNT_CLOEXEC = 1;
const FSCONFIG_CMD_CREATE = 6;

type Open = (call: number, name: string, flags: number) => number;
type Act = (call: number, ...args: readonly number[]) => number;

/** `setting` is a path below the link's folder. Throws KERNEL_REFUSED. */
export function writeLinkSetting(link: string, setting: string, value: string): void {
  const root = mountSysfs();
  try {
    writeFileSync(`/proc/self/fd/${root}/class/net/${link}/${setting}`, value);
  } catch (error) {
    const { errno = 0 } = error as NodeJS.ErrnoException;
    throw kernelRefused(`Setting ${setting} of link ${link} to ${value}`, -errno);
  } finally {
    closeSync(root);
  }
}

/** Descriptor of a mount that is nowhere in the tree. */
function mountSysfs(): number {
  const koffi = createRequire(import.meta.url)('koffi') as typeof koffiType;
  const library = koffi.load(null);
  const open = library.func('int64_t syscall(int64_t, const char *, uint64_t)') as unknown as Open;
  const act = library.func(
    'int64_t syscall(int64_t, int64_t, uint64_t, uint64_t, uint64_t, uint64_t)',
  ) as unknown as Act;
  const check = (result: number): number => {
    if (result < 0) throw kernelRefused('Mounting sysfs', libc().errno(), { advice: 'it needs root, and Linux 5.2' });
    return result;
  };
  const context = check(open(calls.fsopen, 'sysfs', FSOPEN_CLOEXEC));
  try {
    check(act(calls.fsconfig, context, FSCONFIG_CMD_CREATE, 0, 0, 0));
    return check(act(calls.fsmount, context, FSMOUNT_CLOEXEC, 0, 0, 0));
  } finally {
    closeSync(context);
  }
}
