import { join, resolve } from 'node:path';
import { Command, Option } from 'commander';
import { configOption, type LogFlags, logOptions, parseHostPort, stateDirOption } from '../options.ts';
import { applicable } from '../settings.ts';
import { defaultStateDir } from '../state-dir.ts';
import type { Cli } from '../terminal.ts';

interface ServerFlags extends LogFlags {
  readonly config?: string;
  readonly stateDir: string;
  readonly listen?: string;
  readonly unixSocket?: string;
}

export function serverCommand(cli: Cli): Command {
  const command = new Command('server')
    .description('run the control plane: store, API, scheduler, controllers')
    .addOption(configOption())
    .addOption(stateDirOption(join(defaultStateDir(cli.env), 'server')))
    .addOption(new Option('--listen <address:port>', 'where the API listens (TLS)').argParser(parseHostPort))
    .addOption(new Option('--unix-socket <path>', 'where the API listens for this user (default: STATE-DIR/api.sock)'));
  for (const option of logOptions()) command.addOption(option);
  return command.action(
    cli.action(async (flags: ServerFlags) => {
      const [{ readConfig }, { runKernel }] = await Promise.all([
        import('../read-config.ts'),
        import('../run-kernel.ts'),
      ]);
      const stateDir = resolve(flags.stateDir);
      const unixSocket = resolve(flags.unixSocket ?? join(stateDir, 'api.sock'));
      const config = await readConfig(flags.config);
      const { listen } = flags;
      const isAsked = listen !== undefined || flags.unixSocket !== undefined;
      const settings = { 'component/api-server': { unixSocket, ...(listen === undefined ? {} : { listen }) } };
      return runKernel(cli, {
        ...{ config, role: 'server', stateDir, logFlags: flags },
        settings: isAsked ? settings : applicable(config, settings),
        ready: `pintle server is ready on unix:${unixSocket}`,
      });
    }),
  );
}
