/**
 * The end of a client's input where the container's own goes on: as in Kubernetes the client has detached, and the input is
 * the next one's.
 */
import type { Container } from '../../../kernel/contract/kubernetes.ts';
import type { ProcessExit, ProcessStreams } from '../../../kernel/contract/index.ts';

/** What answers the last input at once is still seen. */
const lingerMs = 300;

/** The input ends with its first client: that is of containers without a terminal. */
export const isInputForOne = (container: Pick<Container, 'stdin' | 'stdinOnce' | 'tty'> | undefined): boolean =>
  container?.stdin === true && container.stdinOnce === true && container.tty !== true;

export function detachAtEnd(streams: ProcessStreams): ProcessStreams {
  const { stdin } = streams;
  if (stdin === undefined) return streams;
  const detached = new Promise<ProcessExit>((resolve) => {
    stdin.once('finish', () => {
      setTimeout(() => {
        resolve({ exitCode: 0 });
        streams.close();
      }, lingerMs);
    });
  });
  const exited = Promise.race([streams.exited, detached]);
  // The caller's to await.
  exited.catch(() => undefined);
  return { ...streams, exited };
}
