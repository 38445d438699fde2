/** Runs a further command inside a running container: all its namespaces, its root, cgroup, user and environment. */
import { spawn } from 'node:child_process';
import { PintleError, type ProcessStreams } from '../../../kernel/contract/index.ts';
import { terminalResizer } from '../../../kernel/machinery/terminal-resizer.ts';
import { invocation, invocationVariables, type ContainerCommand } from './container-command.ts';
import type { ContainerLife } from './container-life.ts';
import { hostEnvironment } from './host-command.ts';
import { childrenOf, signalProcess, statOf } from './procfs.ts';
import { resizeTerminal } from './terminal.ts';

const execScript = `
set -f
while [ "$1" != -- ]; do echo 0 >"$1" || exit 126; shift; done
shift
n=0 words=
while [ "$n" -lt "$PINTLE_ARGC" ]; do
  words="$words \\"\\$PINTLE_ARG_$n\\""
  n=$((n + 1))
done
eval "set -- \\"\\$@\\" $words"
exec nsenter "$@"
`;

export async function execInContainer(
  life: ContainerLife,
  command: ContainerCommand,
  request: { readonly command: readonly string[]; readonly stdin: boolean; readonly tty: boolean },
  host: { readonly procsFiles: readonly string[]; readonly mapsWholeIds: boolean },
): Promise<ProcessStreams> {
  const { spec, hostPid } = life.record;
  const init = life.initProcess;
  if (init === undefined) throw new PintleError('CONTAINER_NOT_RUNNING', `container ${spec.name} does not run`);
  if (request.command.length === 0) throw new PintleError('BAD_REQUEST', 'exec: no command given');
  const run = invocation(spec, command, request.command, {
    tty: request.tty,
    mapsWholeIds: host.mapsWholeIds,
    enterWorkingDir: true,
  });
  // Not --root or --wd: the mount namespace brings its root, and nsenter would look the folder up from the node's root,
  // where a symbolic link that the container made leads out of it.
  const namespaces = ['--mount', '--uts', '--ipc', '--net', ...(hostPid ? [] : ['--pid'])];
  const words = [...host.procsFiles, '--', `--target=${init.pid}`, ...namespaces, '--'];
  const child = spawn('dash', ['-c', 'eval "$PINTLE_EXEC"', 'pintle-exec', ...words], {
    cwd: '/',
    env: { ...hostEnvironment, ...invocationVariables(run), PINTLE_EXEC: execScript },
    // A terminal without input is silent; it has not ended.
    stdio: [request.stdin || request.tty ? 'pipe' : 'ignore', 'pipe', 'pipe'],
  });
  child.stdin?.on('error', () => undefined);
  const exited = new Promise<{ exitCode: number; signal?: number; message?: string }>((resolve) => {
    child.once('error', (error) => resolve({ exitCode: 126, message: error.message }));
    child.once('close', (code, signal) =>
      resolve(code !== null ? { exitCode: code } : { exitCode: 128 + (signal === 'SIGKILL' ? 9 : 15) }),
    );
  });
  const resize = terminalResizer(async (size) => {
    // nsenter, then script(1), then what runs on the terminal.
    const script = child.pid === undefined ? undefined : childrenOf(child.pid)[0];
    const onTerminal = script === undefined ? undefined : childrenOf(script)[0];
    return onTerminal !== undefined && (await resizeTerminal(onTerminal, size));
  }, exited);
  return {
    stdin: request.stdin ? (child.stdin ?? undefined) : undefined,
    stdout: child.stdout ?? undefined,
    stderr: request.tty ? undefined : (child.stderr ?? undefined),
    resize: request.tty ? resize : () => {},
    exited,
    close: () => {
      if (child.pid === undefined) return;
      // What runs inside goes first, so that nsenter reaps it: left to the init of the node's pid namespace, which may
      // reap nothing, it would keep the container's pid namespace from ever ending.
      const inside = childrenOf(child.pid);
      for (const pid of inside) signalProcess(statOf(pid), 'SIGKILL');
      if (inside.length === 0) child.kill('SIGKILL');
      child.stdin?.destroy();
      child.stdout?.destroy();
      child.stderr?.destroy();
    },
  };
}
