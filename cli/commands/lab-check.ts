import { Command } from 'commander';
import type { Cli } from '../terminal.ts';

/** Part of `doctor` and `plugins ls`, not for people: the host check of a node, run inside a lab's namespaces. */
export function labCheckCommand(cli: Cli): Command {
  return new Command('lab-check').argument('[config]').action(
    cli.action(async (file: string | undefined) => {
      const [{ readConfig }, { hostCheck }] = await Promise.all([
        import('../read-config.ts'),
        import('../host-check.ts'),
      ]);
      cli.terminal.json(await hostCheck(await readConfig(file), 'node'));
    }),
  );
}
