import { spawn } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, openSync, readFileSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Command, InvalidArgumentError, Option } from 'commander';
import { PintleError } from '../../kernel/contract/errors.ts';
import { exitCodes, type ExitCode } from '../exit-codes.ts';
import { configOption, parseHostPort } from '../options.ts';
import { defaultStateDir } from '../state-dir.ts';
import type { Cli } from '../terminal.ts';

interface UpFlags {
  readonly config?: string;
  readonly nodes?: number;
  readonly demo?: boolean;
  readonly detach?: boolean;
  readonly expose?: boolean;
  readonly keepState?: boolean;
  readonly mergeKubeconfig?: boolean;
  readonly listen?: string;
  readonly stateDir: string;
  readonly logLevel: string;
}

function parseNodes(value: string): number {
  const count = Number(value);
  if (Number.isInteger(count) && count >= 1 && count <= 200) return count;
  throw new InvalidArgumentError('expected a number of nodes from 1 to 200');
}

export const clusterFolder = (env: NodeJS.ProcessEnv): string => join(defaultStateDir(env), 'up');

export function upCommand(cli: Cli): Command {
  return new Command('up')
    .description('start a whole cluster on this machine, in private namespaces, without root')
    .addOption(configOption())
    .addOption(new Option('-n, --nodes <count>', 'how many nodes (default: of the config, 3)').argParser(parseNodes))
    .option('--demo', 'deploy a small web service and show it answering')
    .option('-d, --detach', 'return when the cluster is ready; "pintle down" ends it')
    .option('--expose', 'let this host reach pods, Services and nodes: adds one link and its routes (root)')
    .option('--keep-state', 'keep what the cluster stored when it ends')
    .option('--merge-kubeconfig', 'also add the cluster to your own kubeconfig, as context "pintle"')
    .addOption(new Option('--listen <address:port>', 'where the API listens (TLS)').argParser(parseHostPort))
    .addOption(new Option('--state-dir <folder>', 'the folder of this cluster').default(clusterFolder(cli.env)))
    .addOption(
      new Option('--log-level <level>', 'least level to log')
        .choices(['debug', 'info', 'warn', 'error'])
        .default('info'),
    )
    .action(cli.action((flags: UpFlags) => (flags.detach ? detach(cli, flags) : up(cli, flags))));
}

async function up(cli: Cli, flags: UpFlags): Promise<ExitCode> {
  const [{ readConfig }, { upCluster }, { Progress }, files, { isAlive }, report] = await Promise.all([
    import('../read-config.ts'),
    import('../up/up-cluster.ts'),
    import('../up/progress.ts'),
    import('../up/cluster-files.ts'),
    import('../../lab/index.ts'),
    import('../up/show-cluster.ts'),
  ]);
  const folder = resolve(flags.stateDir);
  const config = await readConfig(flags.config);
  const known = files.readRecord(files.clusterFiles(folder));
  if (known && isAlive(known.up)) {
    throw new PintleError(
      'ALREADY_EXISTS',
      `a cluster runs from ${folder} already (process ${known.up.pid}); "pintle down" ends it, --state-dir names another folder`,
    );
  }
  if (flags.expose && process.geteuid?.() !== 0) {
    throw new PintleError(
      'CONFIG_INVALID',
      '--expose adds a link to the host, which needs root; without it, kubectl port-forward reaches every pod',
    );
  }
  if (known) await (await import('../up/down-cluster.ts')).downCluster(folder, { keepState: true });

  const abort = new AbortController();
  let hasSignal = false;
  const onSignal = (): void => {
    if (hasSignal) process.exit(130);
    hasSignal = true;
    abort.abort(new Error('interrupted'));
  };
  process.on('SIGINT', onSignal).on('SIGTERM', onSignal).on('SIGHUP', onSignal);

  const progress = new Progress(cli.terminal);
  const options = {
    folder,
    nodes: flags.nodes ?? config.cluster.nodes,
    configFile: flags.config === undefined ? undefined : resolve(flags.config),
    listen: flags.listen,
    logLevel: flags.logLevel,
  };
  try {
    const cluster = await upCluster(options, progress, abort.signal);
    try {
      copyFileSync(join(cluster.files.server, 'component', 'api-server', 'admin.kubeconfig'), cluster.files.kubeconfig);
      if (flags.mergeKubeconfig)
        (await import('../up/merge-kubeconfig.ts')).mergeKubeconfig(cluster.files.kubeconfig, cli.env);
      if (flags.expose) await progress.step('link to this host', () => expose(cluster, config));
      if (flags.demo) await report.showDemo(cli.terminal, cluster, progress, abort.signal);
      else await report.showCluster(cli.terminal, cluster);
      report.showNextSteps(cli.terminal, cluster, flags.demo ?? false);
      files.writeRecord(cluster.files, { ...cluster.record, ready: true });
      const interrupted = new Promise<'interrupted'>((done) => {
        if (abort.signal.aborted) done('interrupted');
        abort.signal.addEventListener('abort', () => done('interrupted'), { once: true });
      });
      await Promise.race([interrupted, cluster.broken]);
    } finally {
      await progress.step('everything taken down', () => cluster.stop());
    }
    return exitCodes.done;
  } catch (error) {
    if (hasSignal && error === abort.signal.reason) return exitCodes.done;
    throw error;
  } finally {
    process.off('SIGINT', onSignal).off('SIGTERM', onSignal).off('SIGHUP', onSignal);
    if (!flags.keepState) {
      const { removeState } = await import('../up/down-cluster.ts');
      await removeState(folder, hasSignal);
    }
  }
}

async function expose(
  cluster: Awaited<ReturnType<typeof import('../up/up-cluster.ts').upCluster>>,
  config: Awaited<ReturnType<typeof import('../read-config.ts').readConfig>>,
): Promise<void> {
  const [{ exposeLab }, { labMainPid }] = await Promise.all([
    import('../up/expose.ts'),
    import('../up/lab-processes.ts'),
  ]);
  const gateway = cluster.plan.nodes[0]!.address;
  const destinations = [...config.cluster.serviceCidrs, ...config.cluster.podCidrs].filter(
    (cidr) => !cidr.includes(':'),
  );
  const pid = labMainPid(cluster.lab.pid!);
  exposeLab(
    cluster.plan,
    `/proc/${pid}/ns/net`,
    destinations.map((destination) => ({ destination, gateway })),
  );
}

/** Runs `up` again in the background and waits until it says that it is ready. */
async function detach(cli: Cli, flags: UpFlags): Promise<ExitCode> {
  const [files, { isAlive, identify }] = await Promise.all([
    import('../up/cluster-files.ts'),
    import('../../lab/index.ts'),
  ]);
  const folder = resolve(flags.stateDir);
  const paths = files.clusterFiles(folder);
  const known = files.readRecord(paths);
  if (known && isAlive(known.up)) {
    throw new PintleError(
      'ALREADY_EXISTS',
      `a cluster runs from ${folder} already (process ${known.up.pid}); "pintle down" ends it`,
    );
  }
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  rmSync(paths.log, { force: true });
  const log = openSync(paths.log, 'a', 0o600);
  const argv = process.argv.slice(2).filter((each) => each !== '--detach' && each !== '-d');
  const main = fileURLToPath(new URL('../main.js', import.meta.url));
  const child = spawn(process.execPath, [main, ...argv], { stdio: ['ignore', log, log], detached: true });
  child.unref();
  const self = child.pid === undefined ? undefined : identify(child.pid);
  for (;;) {
    const alive = self !== undefined && isAlive(self);
    const now = alive && existsSync(paths.record) ? files.readRecord(paths) : undefined;
    const text = existsSync(paths.log) ? readFileSync(paths.log, 'utf8') : '';
    if (now?.ready) {
      cli.terminal.line(text.trimEnd());
      return exitCodes.done;
    }
    if (!alive) {
      cli.terminal.errorLine(text.trimEnd());
      return exitCodes.failed;
    }
    await new Promise((done) => setTimeout(done, 50));
  }
}
