/** A process's streams to a client's channels, whichever protocol carries them, and its exit as the last word. */
import type { Readable, Writable } from 'node:stream';
import type { ProcessStreams } from '../../../../kernel/contract/index.ts';
import { exitStatus } from '../status.ts';

export interface ClientChannels {
  readonly stdin: Readable | undefined;
  readonly stdout: Writable | undefined;
  readonly stderr: Writable | undefined;
  /** Calls back with each new size of the client's terminal. */
  onResize(listener: (size: { readonly columns: number; readonly rows: number }) => void): void;
  /** Called when the client is gone. */
  onClose(listener: () => void): void;
  /** Sends the Status of the process's end, then closes. */
  finish(status: object): void;
}

export async function carryProcess(process: ProcessStreams, channels: ClientChannels): Promise<void> {
  let isGone = false;
  channels.onClose(() => {
    isGone = true;
    process.close();
  });
  channels.onResize((size) => process.resize(size));
  if (process.stdin !== undefined && channels.stdin !== undefined) {
    process.stdin.on('error', () => undefined);
    channels.stdin.pipe(process.stdin);
  } else channels.stdin?.resume();
  try {
    const [exit] = await Promise.all([
      process.exited,
      carry(process.stdout, channels.stdout),
      carry(process.stderr, channels.stderr),
    ]);
    if (isGone) return;
    if (exit.message !== undefined && exit.exitCode !== 0) {
      // kubectl shows only the exit code of a NonZeroExitCode: the reason must be seen as output.
      const target = channels.stderr ?? channels.stdout;
      await new Promise<void>((resolve) =>
        target === undefined ? resolve() : target.write(`${exit.message}\n`, () => resolve()),
      );
    }
    // The end must not overtake output that still waits for the socket.
    await Promise.all([flushed(channels.stdout), flushed(channels.stderr)]);
    channels.finish(exitStatus(exit));
  } catch (error) {
    if (isGone) return;
    const message = `Internal error occurred: ${String((error as Error).message)}`;
    channels.finish({ metadata: {}, status: 'Failure', message, reason: 'InternalError', code: 500 });
  }
}

async function carry(from: Readable | undefined, to: Writable | undefined): Promise<void> {
  if (from === undefined) return;
  for await (const chunk of from) {
    if (to === undefined || to.destroyed) continue;
    if (!to.write(chunk)) await drained(to);
  }
}

function flushed(stream: Writable | undefined): Promise<void> {
  if (stream === undefined || stream.destroyed) return Promise.resolve();
  return new Promise((resolve) => {
    stream.once('close', resolve).once('error', () => resolve());
    stream.end(() => resolve());
  });
}

function drained(stream: Writable): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      stream.off('drain', done).off('close', done).off('error', done);
      resolve();
    };
    stream.on('drain', done).on('close', done).on('error', done);
  });
}

/** Kubernetes' TerminalSize as it comes over the wire: {"Width": 80, "Height": 24}. */
export function terminalSize(text: string): { readonly columns: number; readonly rows: number } | undefined {
  try {
    const { Width, Height } = JSON.parse(text) as { Width?: unknown; Height?: unknown };
    const isSize = (value: unknown): value is number =>
      Number.isInteger(value) && (value as number) >= 0 && (value as number) <= 0xffff;
    return isSize(Width) && isSize(Height) ? { columns: Width, rows: Height } : undefined;
  } catch {
    return undefined;
  }
}
