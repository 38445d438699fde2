import { resolve } from 'node:path';
import { Command, Option } from 'commander';
import type { Cli } from '../terminal.ts';
import { clusterFolder } from './up.ts';

export function downCommand(cli: Cli): Command {
  return new Command('down')
    .description('end the cluster of "pintle up" and remove what it left, also after its processes were killed')
    .option('--keep-state', 'keep what the cluster stored, for the next "pintle up"')
    .addOption(new Option('--state-dir <folder>', 'the folder of the cluster').default(clusterFolder(cli.env)))
    .action(
      cli.action(async (flags: { readonly stateDir: string; readonly keepState?: boolean }) => {
        const { downCluster } = await import('../up/down-cluster.ts');
        const folder = resolve(flags.stateDir);
        const found = await downCluster(folder, { keepState: flags.keepState ?? false });
        cli.terminal.line(found ? `the cluster in ${folder} is down` : `there is no cluster in ${folder}`);
      }),
    );
}
