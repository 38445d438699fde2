/**
 * Starts a command as the main process of a new lab: private network, mount and pid namespaces, and for an ordinary user
 * a user namespace in which it is root. When the lab's first process ends, the kernel ends everything in it.
 */
import { spawn, type ChildProcess } from 'node:child_process';

/**
 * The lab's pid 1: reaps what is left to it, ignores the terminal's signals, and ends with the main process.
 * A background job of a shell has no standard input of its own, so it is handed over as descriptor 3.
 */
const init = `trap '' INT TERM HUP; exec 3<&0; "$@" <&3 3<&- & exec 3<&-; wait $!; exit $?`;

/**
 * Propagation `slave`: mounts that the host makes later are seen in the lab (a container engine keeps the network
 * namespaces of its containers by such), and none that the lab makes is seen on the host.
 */
export function labArguments(isRoot: boolean): readonly string[] {
  return [
    ...(isRoot ? [] : ['--user', '--map-root-user']),
    ...['--net', '--mount', '--pid', '--fork', '--kill-child', '--mount-proc', '--propagation', 'slave'],
  ];
}

/** The child's standard input is its life line: the lab's main process stops when it closes. */
export function enterLab(
  command: readonly string[],
  options: { readonly isRoot: boolean; readonly env?: NodeJS.ProcessEnv },
): ChildProcess {
  return spawn('unshare', [...labArguments(options.isRoot), '--', '/bin/sh', '-c', init, 'pintle-lab', ...command], {
    stdio: ['pipe', 'pipe', 'pipe'],
    // Ctrl-C in a terminal reaches the whole process group; the order of the stop is the caller's.
    detached: true,
    env: options.env ?? process.env,
  });
}

/** Why no lab can be made here, with what to do; undefined when it can. */
export async function labProblem(
  isRoot: boolean,
): Promise<{ readonly reason: string; readonly fix: string } | undefined> {
  const child = spawn('unshare', [...labArguments(isRoot), '--', 'true'], { stdio: ['ignore', 'ignore', 'pipe'] });
  let stderr = '';
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString('utf8')));
  const code = await new Promise<number | NodeJS.ErrnoException>((resolve) => {
    child.on('error', resolve);
    child.on('close', (exit) => resolve(exit ?? 1));
  });
  if (code === 0) return undefined;
  if (typeof code !== 'number') {
    return { reason: `the command unshare cannot be run: ${code.message}`, fix: 'apt-get install util-linux' };
  }
  const reason = `namespaces cannot be made here: ${stderr.trim() || `unshare ended with ${code}`}`;
  const fix = isRoot
    ? 'inside a container, give it the capability SYS_ADMIN and a seccomp profile that allows unshare (docker run --privileged)'
    : 'allow user namespaces (sysctl kernel.unprivileged_userns_clone=1, user.max_user_namespaces > 0; on Ubuntu 24.04 and later kernel.apparmor_restrict_unprivileged_userns=0), or run as root';
  return { reason, fix };
}
