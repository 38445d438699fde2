import { existsSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { Command, Option } from 'commander';
import type { Node } from '../../kernel/contract/kubernetes.ts';
import { PintleError } from '../../kernel/contract/errors.ts';
import { internalAddresses } from '../../kernel/machinery/node-address.ts';
import { exitCodes } from '../exit-codes.ts';
import { outputOption, type OutputOptions } from '../options.ts';
import type { Cli } from '../terminal.ts';
import { clusterFolder } from './up.ts';

interface StatusFlags extends OutputOptions {
  readonly stateDir: string;
}

/** Exit code 3 when something is not as it should be. */
export function statusCommand(cli: Cli): Command {
  return new Command('status')
    .description('show the cluster of "pintle up": processes, nodes, plugins')
    .addOption(new Option('--state-dir <folder>', 'the folder of the cluster').default(clusterFolder(cli.env)))
    .addOption(outputOption())
    .action(
      cli.action(async (flags: StatusFlags) => {
        const [{ clusterFiles, readRecord }, { isAlive }, { ApiClient }, { pluginRows }] = await Promise.all([
          import('../up/cluster-files.ts'),
          import('../../lab/index.ts'),
          import('../up/api-client.ts'),
          import('../up/show-cluster.ts'),
        ]);
        const folder = resolve(flags.stateDir);
        const files = clusterFiles(folder);
        const record = readRecord(files);
        if (!record) {
          if (flags.output === 'json') cli.terminal.json({ folder, running: false });
          else cli.terminal.line(`no cluster runs from ${folder}; "pintle up" starts one`);
          return exitCodes.checkFailed;
        }
        const processes = (['up', 'server', 'lab'] as const).map((name) => ({
          name,
          pid: record[name]?.pid,
          alive: record[name] !== undefined && isAlive(record[name]),
        }));
        // No answer is an answer: not serving.
        const answer = await new ApiClient(files.socket).raw('GET', '/api/v1/nodes').catch(() => undefined);
        const isServing = answer?.status === 200;
        const nodes = (isServing ? (JSON.parse(answer.body) as { items: Node[] }).items : []).map((node) => {
          const ready = node.status?.conditions?.find((each) => each.type === 'Ready');
          return {
            name: node.metadata.name,
            ready: ready?.status === 'True',
            reason: ready?.status === 'True' ? '' : (ready?.message ?? 'no status yet'),
            address: internalAddresses(node).join(','),
            podCidr: (node.spec.podCIDRs ?? []).join(','),
          };
        });
        const isWhole =
          isServing &&
          processes.every((each) => each.alive) &&
          nodes.length === record.nodes.length &&
          nodes.every((node) => node.ready);
        const plugins = pluginRows(
          folder,
          record.nodes.map((node) => node.name),
        );
        if (flags.output === 'json') {
          cli.terminal.json({
            folder,
            running: true,
            healthy: isWhole,
            apiAnswers: isServing,
            ...(record.listen === undefined ? {} : { listen: record.listen }),
            kubeconfig: files.kubeconfig,
            processes,
            nodes,
            plugins,
          });
        } else {
          cli.terminal.table(
            ['PROCESS', 'PID', 'STATE'],
            processes.map((each) => [each.name, String(each.pid ?? ''), each.alive ? 'running' : 'dead']),
          );
          cli.terminal.line();
          cli.terminal.table(
            ['NODE', 'READY', 'ADDRESS', 'PODS', 'REASON'],
            nodes.map((node) => [node.name, node.ready ? 'yes' : 'no', node.address, node.podCidr, node.reason]),
          );
          cli.terminal.line();
          cli.terminal.table(
            ['KIND', 'PLUGIN', 'WHY'],
            plugins.map((row) => [row.kind, row.name, row.why]),
          );
          const api = isServing ? `API https://${record.listen}` : `the API does not answer on ${files.socket}`;
          cli.terminal.line(`\n${api}   KUBECONFIG=${files.kubeconfig}`);
        }
        return isWhole ? exitCodes.done : exitCodes.checkFailed;
      }),
    );
}

export function kubeconfigCommand(cli: Cli): Command {
  return new Command('kubeconfig')
    .description('print the kubeconfig of the cluster of "pintle up", or its path')
    .option('--path', 'print the path only')
    .addOption(new Option('--state-dir <folder>', 'the folder of the cluster').default(clusterFolder(cli.env)))
    .action(
      cli.action(async (flags: { readonly stateDir: string; readonly path?: boolean }) => {
        const folder = resolve(flags.stateDir);
        const file = join(folder, 'kubeconfig');
        if (!existsSync(file)) {
          throw new PintleError(
            'NOT_FOUND',
            `no cluster runs from ${folder}; "pintle up" starts one, --state-dir names another folder`,
          );
        }
        const text = readFileSync(file, 'utf8');
        cli.terminal.line(flags.path ? file : text.trimEnd());
      }),
    );
}
