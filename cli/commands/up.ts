import { copyFileSync, existsSync, readFileSync } from 'node:fs';
import { basename, join, relative, resolve } from 'node:path';
import { Command, InvalidArgumentError, Option } from 'commander';
import { PintleError } from '../../kernel/contract/errors.ts';
import { maxLabNodes } from '../../lab/lab-plan.ts';
import { identify } from '../../lab/process-identity.ts';
import { exitCodes, type ExitCode } from '../exit-codes.ts';
import { configOption, type HostPort, parseHostPort, splitHostPort } from '../options.ts';
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
  if (Number.isInteger(count) && count >= 1 && count <= maxLabNodes) return count;
  throw new InvalidArgumentError(`expected a number of nodes from 1 to ${maxLabNodes}`);
}

/**
 * One Ctrl-C comes more than once: from the terminal, from npm that hands it on, and as SIGTERM when a parent dies of it.
 * Only one that comes later is a person's who does not want to wait.
 */
const repeatMs = 500;

export const clusterFolder = (env: NodeJS.ProcessEnv): string => join(defaultStateDir(env), 'up');

export function upCommand(cli: Cli): Command {
  return new Command('up')
    .description('start a whole cluster on this machine, in private namespaces, without root')
    .addOption(configOption())
    .addOption(new Option('-n, --nodes <count>', 'how many nodes (default: of the config, 3)').argParser(parseNodes))
    .option('--demo', 'deploy a small web service and show it answering')
    .option('-d, --detach', 'return when the cluster is ready; "pintle down" ends it')
    .addOption(new Option('--no-detach', 'the background process of --detach').hideHelp())
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
    .action(
      cli.action(async (flags: UpFlags) => {
        if (flags.detach !== true) return up(cli, flags);
        const { detach } = await import('../up/detach.ts');
        return detach(cli, resolve(flags.stateDir), [...process.argv.slice(2), '--no-detach']);
      }),
    );
}

async function up(cli: Cli, flags: UpFlags): Promise<ExitCode> {
  const [{ readConfig }, { upCluster }, { Progress }, files, report] = await Promise.all([
    import('../read-config.ts'),
    import('../up/up-cluster.ts'),
    import('../up/progress.ts'),
    import('../up/cluster-files.ts'),
    import('../up/show-cluster.ts'),
  ]);
  const folder = resolve(flags.stateDir);
  const config = await readConfig(flags.config);
  const nodes = flags.nodes ?? config.cluster.nodes;
  if (nodes < 1 || nodes > maxLabNodes) {
    throw new PintleError(
      'CONFIG_INVALID',
      `cluster.nodes is ${nodes}; "pintle up" starts 1 to ${maxLabNodes} nodes on one machine (--nodes)`,
    );
  }
  if (flags.expose && process.geteuid?.() !== 0) {
    throw new PintleError(
      'CONFIG_INVALID',
      '--expose adds a link to the host, which needs root; without it, kubectl port-forward reaches every pod',
    );
  }
  const paths = files.clusterFiles(folder);
  files.openFolder(paths);
  const lock = await (await import('../up/lock-folder.ts')).lockFolder(folder);
  // once more: what another one did between the first look and the lock
  const known = files.openFolder(paths);
  const hadState = existsSync(paths.server);
  if (known) await (await import('../up/down-cluster.ts')).downCluster(folder, { keepState: true });
  // `down` finds this process from here on
  files.writeRecord(paths, { version: 1, up: identify(process.pid)!, nodes: [], ready: false });

  const abort = new AbortController();
  let signalledAt: number | undefined;
  let isReady = false;
  const onSignal = (signal: NodeJS.Signals): void => {
    if (signalledAt === undefined) {
      signalledAt = performance.now();
      abort.abort(new Error('interrupted'));
    } else if (signal === 'SIGINT' && performance.now() - signalledAt > repeatMs) process.exit(130);
  };
  process.on('SIGINT', onSignal).on('SIGTERM', onSignal).on('SIGHUP', onSignal);

  const progress = new Progress(cli.terminal, abort.signal);
  const options = {
    folder,
    nodes,
    configFile: flags.config === undefined ? undefined : resolve(flags.config),
    listen: flags.listen,
    endpoint: endpointOf(flags, config),
    logLevel: flags.logLevel,
    cluster: config.cluster,
  };
  try {
    const cluster = await upCluster(options, progress, abort.signal);
    let exposedLink: string | undefined;
    try {
      copyFileSync(join(cluster.files.server, 'component', 'api-server', 'admin.kubeconfig'), cluster.files.kubeconfig);
      if (flags.mergeKubeconfig)
        (await import('../up/merge-kubeconfig.ts')).mergeKubeconfig(cluster.files.kubeconfig, cli.env);
      if (flags.expose) {
        exposedLink = await progress.step('link to this host', () => expose(cluster, config));
        files.writeRecord(cluster.files, { ...cluster.record, exposedLink });
      }
      if (flags.demo) await report.showDemo(cli.terminal, cluster, progress, abort.signal);
      else await report.showCluster(cli.terminal, cluster);
      const end =
        flags.detach === undefined ? 'Ctrl-C takes everything down.' : `To end it: ${downCommandLine(flags, cli.env)}`;
      report.showNextSteps(cli.terminal, cluster, flags.demo ?? false, end);
      files.writeRecord(cluster.files, {
        ...cluster.record,
        exposedLink,
        listen: await apiAddress(cluster),
        ready: true,
      });
      isReady = true;
      const interrupted = new Promise<'interrupted'>((done) => {
        if (abort.signal.aborted) done('interrupted');
        abort.signal.addEventListener('abort', () => done('interrupted'), { once: true });
      });
      await Promise.race([interrupted, cluster.broken]);
    } finally {
      await progress.step('everything taken down', async () => {
        await cluster.stop();
        await (await import('../up/node-runtimes.ts')).purgeRuntimes(folder);
        if (exposedLink !== undefined) (await import('../up/expose.ts')).hideLab(exposedLink);
      });
    }
    return exitCodes.done;
  } catch (error) {
    // taken down as asked; before it was ready, whoever waits for the cluster has to know that there is none
    if (signalledAt !== undefined && error === abort.signal.reason) return isReady ? exitCodes.done : exitCodes.failed;
    throw error;
  } finally {
    process.off('SIGINT', onSignal).off('SIGTERM', onSignal).off('SIGHUP', onSignal);
    // a start that failed must not cost what an earlier cluster left to be kept
    const isKept = flags.keepState || existsSync(paths.keepState) || (hadState && !isReady);
    if (!isKept) {
      const { removeState } = await import('../up/down-cluster.ts');
      await removeState(folder, signalledAt !== undefined);
    }
    lock.close();
  }
}

type Config = Awaited<ReturnType<typeof import('../read-config.ts').readConfig>>;
type UpCluster = Awaited<ReturnType<typeof import('../up/up-cluster.ts').upCluster>>;

/** Where the API is going to listen, as far as can be said before its plugin has read the config. */
function endpointOf(flags: UpFlags, config: Config): HostPort {
  if (flags.listen !== undefined) return splitHostPort(flags.listen);
  const choice = config.plugins.use.component.find(({ name }) => name === 'api-server');
  const { address, port } = (choice?.config ?? {}) as { readonly address?: unknown; readonly port?: unknown };
  return {
    address: typeof address === 'string' ? address : '127.0.0.1',
    port: typeof port === 'number' ? port : 6443,
  };
}

async function apiAddress(cluster: UpCluster): Promise<string> {
  const { parse } = await import('yaml');
  const { clusters } = parse(readFileSync(cluster.files.kubeconfig, 'utf8')) as {
    readonly clusters: readonly { readonly cluster: { readonly server: string } }[];
  };
  return new URL(clusters[0]!.cluster.server).host;
}

/** As the user would type it: `pintle` may not be in the PATH. */
function downCommandLine(flags: UpFlags, env: NodeJS.ProcessEnv): string {
  const script = process.argv[1] ?? 'pintle';
  const program = basename(script) === 'pintle' ? 'pintle' : `node ${relative(process.cwd(), script)}`;
  const folder = resolve(flags.stateDir) === clusterFolder(env) ? '' : ` --state-dir ${flags.stateDir}`;
  return `${program} down${folder}`;
}

async function expose(cluster: UpCluster, config: Config): Promise<string> {
  const [{ exposeLab }, { labMainPid }] = await Promise.all([
    import('../up/expose.ts'),
    import('../up/lab-processes.ts'),
  ]);
  const { addresses } = cluster.plan.nodes[0]!;
  const isIpv6 = (text: string): boolean => text.includes(':');
  const routes = [...config.cluster.serviceCidrs, ...config.cluster.podCidrs].map((destination) => ({
    destination,
    gateway: addresses.find((address) => isIpv6(address) === isIpv6(destination))!,
  }));
  const pid = labMainPid(cluster.lab.pid!);
  return exposeLab(cluster.plan, `/proc/${pid}/ns/net`, routes);
}
