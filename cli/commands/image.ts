import { resolve } from 'node:path';
import { Command, Option } from 'commander';
import { PintleError } from '../../kernel/contract/errors.ts';
import type { Image } from '../../kernel/contract/index.ts';
import { exitCodes } from '../exit-codes.ts';
import { outputOption, type OutputOptions } from '../options.ts';
import type { Cli } from '../terminal.ts';
import { clusterFolder } from './up.ts';

interface ImageFlags {
  readonly stateDir: string;
}

/** The runtimes of the nodes of the cluster, which must run. */
async function* runtimesOf(stateDir: string) {
  const { clusterFiles, readRecord } = await import('../up/cluster-files.ts');
  const folder = resolve(stateDir);
  if (!readRecord(clusterFiles(folder))) {
    throw new PintleError(
      'NOT_FOUND',
      `no cluster runs from ${folder}; "pintle up" starts one, --state-dir names another folder`,
    );
  }
  const { nodeRuntimes } = await import('../up/node-runtimes.ts');
  yield* nodeRuntimes(folder);
}

const mebibytes = (bytes: number): string => `${Math.ceil(bytes / 2 ** 20)} MiB`;

export function imageCommand(cli: Cli): Command {
  const group = new Command('image').description('images of the runtimes, on every node of the cluster of "pintle up"');
  const stateDir = () =>
    new Option('--state-dir <folder>', 'the folder of the cluster').default(clusterFolder(cli.env));
  group
    .command('import')
    .argument('<source>', 'a folder, a tarball, or a docker or OCI archive')
    .argument('[name...]', 'what to call it; an archive may bring names of its own')
    .description('import a root file system as an image')
    .addOption(stateDir())
    .action(
      cli.action(async (source: string, names: readonly string[], flags: ImageFlags) => {
        for await (const { node, offline } of runtimesOf(flags.stateDir)) {
          const image = await offline.importImage(resolve(source), names);
          cli.terminal.line(`${node}: ${image.names.join(', ')} (${mebibytes(image.sizeBytes)})`);
        }
        return exitCodes.done;
      }),
    );
  group
    .command('ls')
    .description('list the images of each node')
    .addOption(stateDir())
    .addOption(outputOption())
    .action(
      cli.action(async (flags: ImageFlags & OutputOptions) => {
        const rows: (Image & { readonly node: string })[] = [];
        for await (const { node, offline } of runtimesOf(flags.stateDir))
          rows.push(...(await offline.listImages()).map((image) => ({ node, ...image })));
        if (flags.output === 'json') cli.terminal.json(rows);
        else {
          cli.terminal.table(
            ['NODE', 'IMAGE', 'SIZE', 'ID'],
            rows.map((row) => [row.node, row.names.join(', '), mebibytes(row.sizeBytes), row.id]),
          );
        }
        return exitCodes.done;
      }),
    );
  group
    .command('rm')
    .argument('<name...>', 'names of images')
    .description('remove images that no container is made of')
    .addOption(stateDir())
    .action(
      cli.action(async (names: readonly string[], flags: ImageFlags) => {
        const found = new Set<string>();
        for await (const { node, offline } of runtimesOf(flags.stateDir))
          for (const name of names) {
            if (!(await offline.removeImage(name))) continue;
            found.add(name);
            cli.terminal.line(`${node}: ${name} removed`);
          }
        const missing = names.filter((name) => !found.has(name));
        if (missing.length > 0)
          throw new PintleError('NOT_FOUND', `no node has an image named ${missing.join(', ')}; see pintle image ls`);
        return exitCodes.done;
      }),
    );
  return group;
}
