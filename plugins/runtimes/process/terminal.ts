/**
 * Terminals without compiled code: script(1) opens a pseudo-terminal in the container's own /dev/pts and carries bytes
 * between it and its standard streams. Its size is set from outside through the slave, which the process below has open.
 */
import type { TerminalSize } from '../../../kernel/machinery/terminal-resizer.ts';
import { tryHostCommand } from './host-command.ts';
import { tool } from './tools.ts';

const terminalScript = `
n=0 words=
while [ "$n" -lt "$PINTLE_TTYC" ]; do
  words="$words \\"\\$PINTLE_TTY_$n\\""
  n=$((n + 1))
done
eval "exec $words"
`;

/**
 * Runs what the PINTLE_TTY_ variables hold on a terminal, and ends with its exit code. script(1) takes one string for
 * a shell, so the shell is the runtime's own, which finds its libraries by LD_LIBRARY_PATH; both end at `env -i`.
 */
export const terminalWords: readonly string[] = [
  ...tool('env'),
  'SHELL=/.pintle/dash',
  'LD_LIBRARY_PATH=/.pintle',
  ...tool('script'),
  '--quiet',
  '--return',
  '--command',
  terminalScript,
  '/dev/null',
];

/** Sets the size of the terminal that a process has as its standard input; false when it has none, or has ended. */
export async function resizeTerminal(pid: number, { columns, rows }: TerminalSize): Promise<boolean> {
  const argv = ['stty', '-F', `/proc/${pid}/fd/0`, 'rows', String(rows), 'cols', String(columns)];
  return (await tryHostCommand(argv)).exitCode === 0;
}
