/**
 * Network namespaces and the mounts that keep them. Owns the process's "home" namespace handle of this thread.
 *
 * A network namespace belongs to a thread: what runs between setns there and setns back must be synchronous, and runs on
 * the calling thread only. Sockets and children made there stay there.
 */
import { closeSync, existsSync, mkdirSync, openSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { errnoName, kernelRefused, libc } from './libc.ts';

const CLONE_NEWNET = 0x40000000;

const MS_BIND = 4096;

const MNT_DETACH = 2;
const ownNetns = '/proc/thread-self/ns/net';

let home: number | undefined;

/** Goes back to the thread's own namespace. A thread that is left elsewhere would do all further work there: abort. */
function returnHome(fd: number): void {
  if (libc().setns(fd, CLONE_NEWNET) === 0) return;
  process.stderr.write(
    `pintle: cannot return to the network namespace this process started in (${errnoName(libc().errno())}); aborting\n`,
  );
  process.abort();
}

function homeFd(): number {
  home ??= openSync(ownNetns, 'r');
  return home;
}

/**
 * Runs `fn` with this thread inside the network namespace at `path`, then returns (6 µs both ways). `fn` must be
 * synchronous: after its first `await` it would be back home, so a promise is refused.
 */
export function runInNetns<T>(path: string, fn: () => T): T {
  const back = homeFd();
  const fd = openNetns(path);
  let result: T;
  try {
    if (libc().setns(fd, CLONE_NEWNET) !== 0) throw kernelRefused(`Entering network namespace ${path}`, libc().errno());
    try {
      result = fn();
    } finally {
      returnHome(back);
    }
  } finally {
    closeSync(fd);
  }
  if (result instanceof Promise) {
    // The mistake is told below; how its promise ends is nobody's concern.
    result.catch(() => undefined);
    throw new TypeError(`runInNetns(${path}): expected a synchronous function, got one that returns a promise`);
  }
  return result;
}

/**
 * Makes a new network namespace and keeps it by a bind mount at `path` (made with its folders when missing). The new
 * namespace has nothing but a loopback that is down.
 */
export function createNetns(path: string): void {
  const back = homeFd();
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, '', { flag: 'wx', mode: 0o444 });
  try {
    if (libc().unshare(CLONE_NEWNET) !== 0) throw kernelRefused(`Creating network namespace ${path}`, libc().errno());
    try {
      mount(ownNetns, path, undefined, MS_BIND);
    } finally {
      returnHome(back);
    }
  } catch (error) {
    rmSync(path, { force: true });
    throw error;
  }
}

/**
 * Runs `fn` with the path of a new network namespace that nothing keeps: it is gone when the sockets and descriptors that
 * `fn` opened in it are closed.
 */
export function withScratchNetns<T>(fn: (path: string) => T): T {
  const back = homeFd();
  if (libc().unshare(CLONE_NEWNET) !== 0) throw kernelRefused('Creating a network namespace', libc().errno());
  let fd: number;
  try {
    fd = openSync(ownNetns, 'r');
  } finally {
    returnHome(back);
  }
  try {
    return fn(`/proc/self/fd/${fd}`);
  } finally {
    closeSync(fd);
  }
}

/** A descriptor of the namespace at `path`; the caller closes it. */
export function openNetns(path: string): number {
  try {
    return openSync(path, 'r');
  } catch (error) {
    const { errno } = error as NodeJS.ErrnoException;
    const advice = 'expected a network namespace there; was its sandbox removed?';
    throw kernelRefused(`Opening network namespace ${path}`, -(errno ?? 0), { advice });
  }
}

/** True when a network namespace is kept at `path` (a plain file left by a crash or a reboot is none). */
export function isNetns(path: string): boolean {
  try {
    const kept = statSync(path);
    // All namespaces live on one nsfs instance, so they share the device of our own.
    return kept.dev === statSync(ownNetns).dev && existsSync(path);
  } catch {
    return false;
  }
}

/** Unmounts and removes what `createNetns` made. Resolves the same when there is nothing. The kernel destroys the
 *  namespace when the last process and socket in it are gone. */
export function deleteNetns(path: string): void {
  if (!existsSync(path)) return;
  for (let depth = 0; depth < 16 && isNetns(path); depth += 1) umount(path, { lazy: true });
  rmSync(path, { force: true });
}

export function unshare(flags: number): void {
  if (libc().unshare(flags) !== 0) throw kernelRefused(`unshare(0x${flags.toString(16)})`, libc().errno());
}

export function mount(
  source: string,
  target: string,
  type: string | undefined,
  flags: number,
  data?: string | undefined,
): void {
  if (libc().mount(source, target, type ?? null, flags, data ?? null) !== 0)
    throw kernelRefused(`Mounting ${source} on ${target}`, libc().errno());
}

/** Returns false when nothing is mounted there. */
export function umount(target: string, options: { readonly lazy?: boolean } = {}): boolean {
  if (libc().umount2(target, options.lazy === true ? MNT_DETACH : 0) === 0) return true;
  const errno = libc().errno();
  if (['EINVAL', 'ENOENT'].includes(errnoName(errno))) return false;
  throw kernelRefused(`Unmounting ${target}`, errno);
}
