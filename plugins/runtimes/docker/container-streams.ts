/** exec and attach: the engine's connections as the streams of a process. */
import { readFileSync } from 'node:fs';
import type { Duplex } from 'node:stream';
import type { ExecInspectInfo } from 'dockerode';
import { PintleError, type ProcessExit, type ProcessStreams } from '../../../kernel/contract/index.ts';
import { startExitCode, startMessage } from '../../../kernel/machinery/engine/start-failure.ts';
import { isProcessOf } from '../../../kernel/machinery/engine/visible-netns.ts';
import { terminalResizer } from '../../../kernel/machinery/terminal-resizer.ts';
import { statusOf, textOf, type Engine } from './engine.ts';
import { engineStreams } from './engine-streams.ts';

const killedExitCode = 137;

export async function execInContainer(
  engine: Engine,
  dockerId: string,
  request: { readonly command: readonly string[]; readonly stdin: boolean; readonly tty: boolean },
): Promise<ProcessStreams> {
  if (request.command.length === 0) throw new PintleError('BAD_REQUEST', 'exec: no command given');
  const made = await running(dockerId, () =>
    engine.call((docker) =>
      docker.getContainer(dockerId).exec({
        Cmd: [...request.command],
        AttachStdin: request.stdin,
        AttachStdout: true,
        AttachStderr: true,
        Tty: request.tty,
      }),
    ),
  );
  let connection: Duplex;
  try {
    connection = await engine.call(
      (docker) => docker.getExec(made.id).start({ hijack: true, stdin: true, Tty: request.tty }) as Promise<Duplex>,
    );
  } catch (error) {
    if (statusOf(error) === undefined) throw error;
    const message = startMessage(textOf(error));
    return failedExec({ exitCode: startExitCode(message), message });
  }
  const streams = engineStreams(connection, request);
  const exited = streams.ended.then(() => exitOf(engine, made.id, streams.beginning));
  const resize = terminalResizer(async ({ columns, rows }) => {
    await engine.call((docker) => docker.getExec(made.id).resize({ w: columns, h: rows }));
    return true;
  }, exited);
  return {
    stdin: streams.stdin,
    stdout: streams.stdout,
    stderr: streams.stderr,
    resize: request.tty ? resize : () => {},
    exited,
    close: () => {
      void endExec(engine, made.id, dockerId).finally(() => streams.close());
    },
  };
}

export async function attachToContainer(
  engine: Engine,
  dockerId: string,
  request: { readonly stdin: boolean; readonly tty: boolean },
): Promise<ProcessStreams> {
  const wait = engine.find(
    (docker) => docker.getContainer(dockerId).wait() as Promise<{ readonly StatusCode: number }>,
  );
  // Awaited below, or not at all when the container cannot be reached.
  wait.catch(() => undefined);
  const connection = await running(dockerId, () =>
    engine.call(
      (docker) =>
        docker.getContainer(dockerId).attach({
          ...{ stream: true, hijack: true, stdin: request.stdin, stdout: true, stderr: true },
        }) as unknown as Promise<Duplex>,
    ),
  );
  const streams = engineStreams(connection, request);
  const exited = wait.then(async (end): Promise<ProcessExit> => {
    await streams.ended;
    return { exitCode: end?.StatusCode ?? killedExitCode };
  });
  // The caller's to await; one that reads output only must not be ended by it.
  exited.catch(() => undefined);
  const resize = terminalResizer(async ({ columns, rows }) => {
    await engine.call((docker) => docker.getContainer(dockerId).resize({ w: columns, h: rows }));
    return true;
  }, exited);
  return {
    stdin: streams.stdin,
    stdout: streams.stdout,
    stderr: streams.stderr,
    resize: request.tty ? resize : () => {},
    exited,
    close: () => streams.close(),
  };
}

async function running<T>(dockerId: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (statusOf(error) !== 409 && statusOf(error) !== 404) throw error;
    throw new PintleError('CONTAINER_NOT_RUNNING', `container ${dockerId} does not run`, { cause: error });
  }
}

/** The streams may end a moment before the engine has the exit code, and before it has the pid. */
const settleMs = 10_000;
const lookMs = 10;

/** Looks at an exec until `judge` has an answer; undefined when it has none in time, or the exec is forgotten. */
async function lookAtExec<T>(
  engine: Engine,
  execId: string,
  judge: (info: ExecInspectInfo) => T | undefined,
): Promise<T | undefined> {
  for (let waitedMs = 0; waitedMs < settleMs; waitedMs += lookMs) {
    const info = await engine.find((docker) => docker.getExec(execId).inspect());
    if (info === undefined) return undefined;
    const answer = judge(info);
    if (answer !== undefined) return answer;
    await new Promise((resolve) => void setTimeout(resolve, lookMs));
  }
  return undefined;
}

async function exitOf(engine: Engine, execId: string, beginning: () => string): Promise<ProcessExit> {
  try {
    const exit = await lookAtExec(engine, execId, ({ Running, ExitCode, Pid }): ProcessExit | undefined => {
      if (Running || ExitCode === null) return undefined;
      // Never started: the reason is all of its output. Engines differ in the exit code.
      const isRefused = Pid === 0 && [126, 127].includes(ExitCode);
      if (!isRefused) return { exitCode: ExitCode };
      const message = startMessage(beginning().trim());
      return { exitCode: startExitCode(message) === 127 ? 127 : ExitCode, message };
    });
    return exit ?? { exitCode: killedExitCode };
  } catch (error) {
    return { exitCode: killedExitCode, message: textOf(error) };
  }
}

/** The engine leaves a process alone whose client has gone, and has no call to end it. */
async function endExec(engine: Engine, execId: string, dockerId: string): Promise<void> {
  try {
    await lookAtExec(engine, execId, ({ Running, Pid }) => {
      if (!Running) return true;
      if (Pid === 0) return undefined;
      if (isProcessOf(Pid, dockerId)) killTree(Pid);
      return true;
    });
  } catch {
    // The engine has gone: its execs go with the connection that asks for them.
  }
}

function failedExec(exit: ProcessExit): ProcessStreams {
  return {
    stdin: undefined,
    stdout: undefined,
    stderr: undefined,
    resize: () => {},
    exited: Promise.resolve(exit),
    close: () => {},
  };
}

function killTree(pid: number): void {
  let children: readonly number[] = [];
  try {
    children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'latin1')
      .trim()
      .split(' ')
      .filter(Boolean)
      .map(Number);
    process.kill(pid, 'SIGKILL');
  } catch {
    // it has gone by itself
  }
  for (const child of children) killTree(child);
}
