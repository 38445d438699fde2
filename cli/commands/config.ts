import { Command } from 'commander';

import { exitCodes } from '../exit-codes.ts';
import { type OutputOptions, outputOption } from '../options.ts';
import type { Cli } from '../terminal.ts';

export function configCommand(cli: Cli): Command {
  return new Command('config')
    .description('check, print or describe the config file')
    .addCommand(checkCommand(cli))
    .addCommand(
      new Command('default').description('print the default config as YAML').action(
        cli.action(async () => {
          const [{ stringify }, { defaultDocument }] = await Promise.all([
            import('yaml'),
            import('../default-document.ts'),
          ]);
          const text = stringify(defaultDocument, { flowCollectionPadding: true, lineWidth: 0 });
          cli.terminal.line(`# yaml-language-server: $schema=./pintle.schema.json\n${text}`.trimEnd());
        }),
      ),
    )
    .addCommand(
      new Command('schema').description('print the JSON Schema for editors: pintle.schema.json').action(
        cli.action(async () => {
          const [{ configurationJsonSchema }, { builtInPlugins }, { defaults }] = await Promise.all([
            import('../../kernel/config/json-schema.ts'),
            import('../built-in-plugins.ts'),
            import('../default-config.ts'),
          ]);
          cli.terminal.json(configurationJsonSchema(await builtInPlugins(), defaults.cluster));
        }),
      ),
    );
}

function checkCommand(cli: Cli): Command {
  return new Command('check')
    .description('check a config file: names, keys, values, for the server and the nodes')
    .argument('<file>', 'the config file')
    .addOption(outputOption())
    .action(
      cli.action(async (file: string, { output }: OutputOptions) => {
        const { isPintleError } = await import('../../kernel/contract/errors.ts');
        try {
          const [{ readConfig }, { checkConfig, processRoles }] = await Promise.all([
            import('../read-config.ts'),
            import('../check-roles.ts'),
          ]);
          const config = await readConfig(file);
          for (const role of processRoles) await checkConfig(config, role);
          if (output === 'json') cli.terminal.json({ ok: true, file });
          else cli.terminal.line(`${file}: ok`);
          return exitCodes.done;
        } catch (error) {
          if (!isPintleError(error)) throw error;
          const { code, message, details } = error;
          if (output === 'json') cli.terminal.json({ ok: false, file, code, message, issues: details['issues'] ?? [] });
          else cli.terminal.failure(error);
          return exitCodes.checkFailed;
        }
      }),
    );
}
