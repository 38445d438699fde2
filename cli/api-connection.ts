/** Whose cluster a command talks to, and the connection to it. */
import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { Option } from 'commander';
import type { Connection } from '../plugins/clusters/remote/connect.ts';
import { defaultStateDir } from './state-dir.ts';
import type { Cli } from './terminal.ts';

export interface ApiFlags {
  readonly kubeconfig?: string;
  readonly context?: string;
}

export const apiOptions = (): readonly Option[] => [
  new Option('--kubeconfig <file>', 'whose cluster (default: $KUBECONFIG, the cluster of "pintle up", ~/.kube/config)'),
  new Option('--context <name>', 'context of the kubeconfig (default: its current one)'),
];

async function kubeconfigOf(cli: Cli, flags: ApiFlags): Promise<string> {
  if (flags.kubeconfig !== undefined) return resolve(flags.kubeconfig);
  const { userKubeconfig } = await import('./up/merge-kubeconfig.ts');
  const ofUp = join(defaultStateDir(cli.env), 'up', 'kubeconfig');
  return (cli.env['KUBECONFIG'] ?? '') === '' && existsSync(ofUp) ? ofUp : userKubeconfig(cli.env);
}

export async function withConnection<T>(
  cli: Cli,
  flags: ApiFlags,
  work: (connection: Connection) => Promise<T>,
): Promise<T> {
  const { connect } = await import('../plugins/clusters/remote/connect.ts');
  const connection = await connect(await kubeconfigOf(cli, flags), flags.context);
  try {
    return await work(connection);
  } finally {
    connection.close();
  }
}
