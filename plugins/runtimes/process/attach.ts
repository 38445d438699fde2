/** Attaches a client to the streams of a container's main process, from now on. */
import { Socket } from 'node:net';
import { PintleError, type ProcessStreams } from '../../../kernel/contract/index.ts';
import { terminalResizer } from '../../../kernel/machinery/terminal-resizer.ts';
import { endStdin, openStdin, type ContainerLife } from './container-life.ts';
import { resizeTerminal } from './terminal.ts';

export function attachToContainer(
  life: ContainerLife,
  request: { readonly stdin: boolean; readonly tty: boolean },
): ProcessStreams {
  const { output } = life;
  if (output === undefined)
    throw new PintleError('CONTAINER_NOT_RUNNING', `container ${life.record.spec.name} does not run`);
  const fd = request.stdin ? openStdin(life) : undefined;
  const stdin = fd === undefined ? undefined : new Socket({ fd, readable: false, writable: true });
  stdin?.on('error', () => stdin.destroy());
  stdin?.once('close', () => endStdin(life));
  const stdout = output.listen('stdout');
  const stderr = request.tty || life.record.spec.tty ? undefined : output.listen('stderr');
  const close = (): void => {
    stdin?.destroy();
    stdout.destroy();
    stderr?.destroy();
  };
  const resize = terminalResizer(async (size) => {
    const main = life.mainProcess();
    return main !== undefined && resizeTerminal(main.pid, size);
  }, life.ended);
  return {
    stdin,
    stdout,
    stderr,
    resize: life.record.spec.tty ? resize : () => {},
    exited: life.ended.then(() => ({ exitCode: life.describe().exitCode ?? 0 })),
    close,
  };
}
