/**
 * Terminals without compiled code: script(1) opens a pseudo-terminal in the container's own /dev/pts and carries bytes
 * between it and its standard streams. Its size is set from outside through the slave, which the process below has open.
 */
import { childrenOf } from './procfs.ts';
import { tryHostCommand } from './host-command.ts';
import { tool } from './tools.ts';

/** Words that run `words` on a terminal of its own and end with its exit code. */
export function onTerminal(words: readonly string[]): readonly string[] {
  return [
    ...tool('env'),
    `SHELL=/.pintle/dash`,
    ...tool('script'),
    '-q',
    '-e',
    '-c',
    'exec "$@"',
    '/dev/null',
    ...words,
  ];
}

/** Sets the size of the terminal that the children of `scriptPid` run on. */
export async function resizeTerminal(
  scriptPid: number,
  size: { readonly columns: number; readonly rows: number },
): Promise<void> {
  const child = childrenOf(scriptPid)[0];
  if (child === undefined) return;
  await tryHostCommand([
    'stty',
    '-F',
    `/proc/${child}/fd/0`,
    'rows',
    String(size.rows),
    'cols',
    String(size.columns),
  ]).catch(() => undefined);
}
