import { join, resolve } from 'node:path';
import { Command, Option } from 'commander';
import type { ClusterConfiguration } from '../../kernel/config/cluster-configuration.ts';
import type { Settings } from '../../kernel/registry/configure.ts';
import { configOption, type LogFlags, logOptions, parseHostPort, splitHostPort, stateDirOption } from '../options.ts';
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
      const [{ readConfig }, { runKernel }, { keepHeapSmall }] = await Promise.all([
        import('../read-config.ts'),
        import('../run-kernel.ts'),
        import('../server-heap.ts'),
      ]);
      keepHeapSmall();
      const stateDir = resolve(flags.stateDir);
      const socket = resolve(flags.unixSocket ?? join(stateDir, 'api.sock'));
      const config = await readConfig(flags.config);
      const asked = {
        'component/api-server': { socket, ...(flags.listen === undefined ? {} : splitHostPort(flags.listen)) },
      };
      // a flag must not be ignored in silence; the default socket matters only where there is an api-server
      const isAsked = flags.listen !== undefined || flags.unixSocket !== undefined;
      const apiSettings = isAsked ? asked : applicable(config, asked);
      return runKernel(cli, {
        config,
        role: 'server',
        stateDir,
        logFlags: flags,
        settings: { ...apiSettings, ...signingSettings(config, stateDir) },
        ready: `pintle server is ready${Object.keys(apiSettings).length === 0 ? '' : ` on unix:${socket}`}`,
      });
    }),
  );
}

/** The CA that signs is the one of this server's API, as long as the config names no other. */
function signingSettings(config: ClusterConfiguration, stateDir: string): Settings {
  const id = 'controller/certificate-signing';
  const choice = config.plugins.use.controller.find(({ name }) => name === 'certificate-signing');
  const hasApi = config.plugins.use.component.some(({ name }) => name === 'api-server');
  if (!choice || !hasApi || choice.config['certFile'] !== undefined || choice.config['keyFile'] !== undefined)
    return {};
  const pki = join(stateDir, 'component', 'api-server', 'pki');
  return { [id]: { certFile: join(pki, 'ca.crt'), keyFile: join(pki, 'ca.key') } };
}
