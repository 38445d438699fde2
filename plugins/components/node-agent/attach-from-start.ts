/**
 * An attach that misses nothing: what a container has printed and goes on to print comes from its log, which has no hole;
 * only what the client types goes to the container itself.
 */
import type { AttachRequest, ProcessStreams } from '../../../kernel/contract/index.ts';
import { readLogs, type LogSource } from './log-reader.ts';

/** `live` is undefined for a container that has ended already. */
export function attachFromStart(
  source: LogSource,
  live: ProcessStreams | undefined,
  request: AttachRequest,
  container: { readonly tty: boolean },
): ProcessStreams {
  const stop = new AbortController();
  // Read, or it would be kept for us.
  live?.stdout?.resume();
  live?.stderr?.resume();
  const isTerminal = request.tty || container.tty;
  const stream = (name: 'Stdout' | 'Stderr', isWanted: boolean) =>
    isWanted ? readLogs(source, { ...request, follow: true, stream: name }, stop.signal) : undefined;
  return {
    stdin: live?.stdin,
    stdout: stream('Stdout', request.stdout),
    stderr: stream('Stderr', request.stderr && !isTerminal),
    resize: (size) => live?.resize(size),
    exited: live?.exited ?? Promise.resolve({ exitCode: 0 }),
    close: () => {
      stop.abort();
      live?.close();
    },
  };
}
