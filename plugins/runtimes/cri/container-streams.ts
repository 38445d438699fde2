/** exec and attach through the streaming server of the container runtime. */
import { PintleError, type ProcessExit, type ProcessStreams } from '../../../kernel/contract/index.ts';
import { startExitCode, startMessage } from '../../../kernel/machinery/engine/start-failure.ts';
import { codeOf, textOf, type CriClient } from './cri-client.ts';
import { openRemoteCommand } from './remote-command.ts';

export interface StreamingServer {
  readonly client: CriClient;
  /** Where its network namespace is kept; undefined: it is ours. */
  readonly netns: string | undefined;
}

interface Place {
  readonly criId: string;
  readonly facts: { readonly name: string };
}

const killedExitCode = 137;

export async function execInContainer(
  server: StreamingServer,
  place: Place,
  request: { readonly command: readonly string[]; readonly stdin: boolean; readonly tty: boolean },
): Promise<ProcessStreams> {
  if (request.command.length === 0) throw new PintleError('BAD_REQUEST', 'exec: no command given');
  const url = await streamingUrl(server.client, 'Exec', place, {
    cmd: request.command,
    ...{ tty: request.tty, stdin: request.stdin, stdout: true, stderr: !request.tty },
  });
  const streams = await openRemoteCommand(url, request, server.netns);
  const exited = streams.status.then((exit): ProcessExit => {
    if (exit === undefined) return { exitCode: killedExitCode };
    if (exit.message === undefined) return exit;
    const message = startMessage(exit.message.replace(/^error executing command in container: /, ''));
    // Ended with its container, or never begun.
    if (/container .*not running|task .*not found|ttrpc: closed|context canceled/i.test(message))
      return { exitCode: killedExitCode, message };
    return { exitCode: startExitCode(message) === 127 ? 127 : 126, message };
  });
  return { ...streams, exited: exited.finally(() => streams.close()) };
}

export async function attachToContainer(
  server: StreamingServer,
  place: Place,
  request: { readonly stdin: boolean; readonly tty: boolean },
  exitCode: () => Promise<number>,
): Promise<ProcessStreams> {
  const url = await streamingUrl(server.client, 'Attach', place, {
    ...{ tty: request.tty, stdin: request.stdin, stdout: true, stderr: !request.tty },
  });
  const streams = await openRemoteCommand(url, request, server.netns);
  let isClosed = false;
  const exited = streams.status.then(async () => ({ exitCode: isClosed ? 0 : await exitCode() }));
  // The caller's to await; one that reads output only must not be ended by it.
  exited.catch(() => undefined);
  return {
    ...streams,
    exited,
    close: () => {
      isClosed = true;
      streams.close();
    },
  };
}

async function streamingUrl(
  client: CriClient,
  method: 'Exec' | 'Attach',
  place: Place,
  request: object,
): Promise<string> {
  try {
    const answer = await client.runtime<{ url: string }>(method, { container_id: place.criId, ...request });
    return answer.url;
  } catch (error) {
    if (codeOf(error) === undefined) throw error;
    throw new PintleError('CONTAINER_NOT_RUNNING', `container ${place.facts.name}: ${textOf(error)}`, { cause: error });
  }
}
