import { join, resolve } from 'node:path';
import { Command, Option } from 'commander';
import { PintleError } from '../../kernel/contract/errors.ts';
import { exitCodes } from '../exit-codes.ts';
import { outputOption, type OutputOptions } from '../options.ts';
import type { Cli } from '../terminal.ts';
import { clusterFolder } from './up.ts';

interface ImageFlags {
  readonly stateDir: string;
}

/** The process runtime's state folder of each node of the cluster. */
async function runtimeFolders(
  stateDir: string,
): Promise<readonly { readonly node: string; readonly folder: string }[]> {
  const { clusterFiles, readRecord } = await import('../up/cluster-files.ts');
  const folder = resolve(stateDir);
  const record = readRecord(clusterFiles(folder));
  if (!record) {
    throw new PintleError(
      'NOT_FOUND',
      `no cluster runs from ${folder}; "pintle up" starts one, --state-dir names another folder`,
    );
  }
  return record.nodes.map(({ name }) => ({
    node: name,
    folder: join(folder, 'nodes', name, 'agent', 'runtime', 'process'),
  }));
}

export function imageCommand(cli: Cli): Command {
  const group = new Command('image').description(
    'images for runtime process, on every node of the cluster of "pintle up"',
  );
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
        const { importImage } = await import('../../plugins/runtimes/process/images/import-image.ts');
        for (const { node, folder } of await runtimeFolders(flags.stateDir)) {
          const image = await importImage({ stateDir: folder, source: resolve(source), names });
          cli.terminal.line(`${node}: ${image.names.join(', ')} (${Math.ceil(image.sizeBytes / 2 ** 20)} MiB)`);
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
        const [{ ImageStore, describeImage }, { layoutOf }] = await Promise.all([
          import('../../plugins/runtimes/process/images/image-store.ts'),
          import('../../plugins/runtimes/process/layout.ts'),
        ]);
        const rows = (await runtimeFolders(flags.stateDir)).flatMap(({ node, folder }) =>
          new ImageStore(layoutOf(folder).images).list().map((image) => ({ node, ...describeImage(image) })),
        );
        if (flags.output === 'json') cli.terminal.json(rows);
        else {
          cli.terminal.table(
            ['NODE', 'IMAGE', 'SIZE', 'ID'],
            rows.map((row) => [row.node, row.names.join(', '), `${Math.ceil(row.sizeBytes / 2 ** 20)} MiB`, row.id]),
          );
        }
        return exitCodes.done;
      }),
    );
  return group;
}
