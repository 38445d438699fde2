/** Runs a further command inside a running container: all its namespaces, its root, cgroup, user and environment. */
import { spawn } from 'node:child_process';
import { PintleError, type ProcessStreams } from '../../../kernel/contract/index.ts';
import { enterArguments, type ContainerCommand } from './container-command.ts';
import type { ContainerLife } from './container-life.ts';
import { hostEnvironment } from './host-command.ts';
import { childrenOf, signalProcess, statOf } from './procfs.ts';

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
  const words = enterArguments(spec, command, request.command, host.mapsWholeIds);
  const variables = Object.fromEntries(words.map((word, index) => [`PINTLE_ARG_${index}`, word]));
  const namespaces = ['--mount', '--uts', '--ipc', '--net', ...(hostPid ? [] : ['--pid'])];
  const child = spawn(
    'dash',
    [
      '-c',
      execScript,
      'pintle-exec',
      ...host.procsFiles,
      '--',
      `--target=${init.pid}`,
      ...namespaces,
      `--root`,
      `--wd=/proc/${init.pid}/root${command.workingDir}`,
      '--',
    ],
    {
      env: { ...hostEnvironment, ...variables, PINTLE_ARGC: String(words.length) },
      stdio: [request.stdin ? 'pipe' : 'ignore', 'pipe', 'pipe'],
    },
  );
  child.stdin?.on('error', () => undefined);
  const exited = new Promise<{ exitCode: number; signal?: number; message?: string }>((resolve) => {
    child.once('error', (error) => resolve({ exitCode: 126, message: error.message }));
    child.once('close', (code, signal) =>
      resolve(code !== null ? { exitCode: code } : { exitCode: 128 + (signal === 'SIGKILL' ? 9 : 15) }),
    );
  });
  return {
    stdin: child.stdin ?? undefined,
    stdout: child.stdout ?? undefined,
    stderr: request.tty ? undefined : (child.stderr ?? undefined),
    resize: () => undefined,
    exited,
    close: () => {
      if (child.pid === undefined) return;
      for (const pid of childrenOf(child.pid)) signalProcess(statOf(pid), 'SIGKILL');
      child.kill('SIGKILL');
      child.stdout?.destroy();
      child.stderr?.destroy();
    },
  };
}
