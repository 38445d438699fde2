import { hostname } from 'node:os';
import { join, resolve } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { Command, Option } from 'commander';
import {
  configOption,
  type LogFlags,
  logOptions,
  parseAddresses,
  parseNodeName,
  parseServer,
  stateDirOption,
} from '../options.ts';
import { defaultStateDir } from '../state-dir.ts';
import type { Cli } from '../terminal.ts';

interface AgentFlags extends LogFlags {
  readonly config?: string;
  readonly stateDir: string;
  readonly nodeName: string;
  readonly nodeIp?: readonly string[];
  readonly server?: string;
  readonly kubeconfig?: string;
  readonly sharedHost?: true;
}

export function agentCommand(cli: Cli): Command {
  const command = new Command('agent')
    .description('run one node: containers, pod network, overlay, proxy, DNS')
    .addOption(configOption())
    .addOption(stateDirOption(join(defaultStateDir(cli.env), 'agent')))
    .addOption(
      new Option('--node-name <name>', 'name of this node').argParser(parseNodeName).default(hostname().toLowerCase()),
    )
    .addOption(
      new Option('--node-ip <address>', 'address that other nodes reach; repeat it for a second family').argParser(
        parseAddresses,
      ),
    )
    .addOption(new Option('--server <url>', 'the API: https://host:port or unix:/path').argParser(parseServer))
    .addOption(new Option('--kubeconfig <file>', 'where the API is, and who this node is to it'))
    .option(
      '--shared-host',
      'other nodes run on this machine too: a disk that is nearly full is no trouble of this node',
    );
  for (const option of logOptions()) command.addOption(option);
  return command.action(
    cli.action(async (flags: AgentFlags) => {
      // an agent does little and lives long beside the pods: a nursery that does not grow saves 14 MB (of 97, idle)
      setFlagsFromString('--semi-space-growth-factor=1');
      // such a nursery is collected before other threads have woken to help: with 10,000 Services a sixth of the CPU
      setFlagsFromString('--no-parallel-scavenge');
      const [{ readConfig }, { runKernel }] = await Promise.all([
        import('../read-config.ts'),
        import('../run-kernel.ts'),
      ]);
      const { nodeName, nodeIp, server, kubeconfig, sharedHost } = flags;
      const endpoint = {
        ...(server === undefined ? {} : { server }),
        ...(kubeconfig === undefined ? {} : { kubeconfig: resolve(kubeconfig) }),
      };
      return runKernel(cli, {
        config: await readConfig(flags.config),
        role: 'node',
        stateDir: resolve(flags.stateDir),
        nodeName,
        logFlags: flags,
        settings: {
          ...(Object.keys(endpoint).length === 0 ? {} : { 'cluster/remote': endpoint }),
          'component/node-agent': {
            ...(nodeIp === undefined ? {} : { addresses: nodeIp }),
            ...(sharedHost === undefined ? {} : { sharedHost }),
          },
        },
        ready: `pintle agent ${nodeName} is ready`,
      });
    }),
  );
}
