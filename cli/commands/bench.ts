import { accessSync, constants, statSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Command, InvalidArgumentError, Option } from 'commander';
import { isPintleError, PintleError } from '../../kernel/contract/errors.ts';
import type { BenchEvent, BenchPlan, Result, Size, SuitePlan } from '../../bench/index.ts';
import { type ExitCode, exitCodes } from '../exit-codes.ts';
import { configOption } from '../options.ts';
import type { Cli, Terminal } from '../terminal.ts';
import { version } from '../version.ts';

interface RunFlags {
  readonly config?: string;
  readonly load: readonly string[];
  readonly rounds?: number;
  readonly size: Size;
  readonly out: string;
  readonly html?: string;
  readonly markdown?: string;
  readonly csv?: string;
  readonly target: string;
  readonly [option: string]: unknown;
}

/** Options that only some suites know; names of the matrix, and its dimensions. */
const suiteOptions: Readonly<Record<string, readonly (readonly [flag: string, says: string])[]>> = {
  net: [
    ['cluster', 'on the nodes of a running cluster: its kubeconfig'],
    ['image', 'with --cluster: image with sh and iperf3 (default: host)'],
    ['overlay', 'overlays, or all'],
    ['attachment', 'attachments, or all'],
    ['family', 'ipv4, ipv6, or both with a comma (default: ipv4; with --size full both)'],
    ['offload', "the links' segmentation offloads: on, off, or both with a comma (default: on)"],
  ],
  proxy: [
    ['proxy', 'proxies, or all'],
    ['services', 'numbers of Services, such as 1,100,1000'],
    ['family', 'ipv4, ipv6, or both with a comma (default: ipv4)'],
  ],
  store: [
    ['store', 'stores, or all'],
    ['clients', 'numbers of clients, such as 1,64,256'],
  ],
  scheduler: [
    ['scheduler', 'policies, or all'],
    ['workload', 'workloads by their names in scheduler_perf, or all'],
    ['nodes', 'numbers of nodes, such as 500,5000'],
  ],
  api: [['store', 'stores under the API, or all']],
  runtime: [
    ['runtime', 'runtimes, or all'],
    ['image', 'image to start (default: host)'],
  ],
  attachment: [['attachment', 'attachments, or all']],
};

const standardRounds = 5;

/** What `pintle bench` measures in about 12 minutes. */
const standardRun: readonly Omit<SuitePlan, 'size'>[] = Object.keys(suiteOptions).map((name) => ({
  ...{ name, rounds: standardRounds, options: {} },
}));

const program = fileURLToPath(new URL('../main.js', import.meta.url));

function parseRounds(value: string): number {
  const rounds = Number(value);
  if (Number.isSafeInteger(rounds) && rounds > 0 && rounds <= 1_000) return rounds;
  throw new InvalidArgumentError('expected a number from 1 to 1000');
}

function withRunOptions(command: Command): Command {
  return command
    .addOption(configOption())
    .addOption(
      new Option('--load <module>', 'a module of plugins to measure too (several times: several)')
        .argParser((value: string, before: readonly string[]) => [...before, value])
        .default([]),
    )
    .addOption(new Option('--rounds <n>', `interleaved rounds (default: ${standardRounds})`).argParser(parseRounds))
    .addOption(
      new Option('--size <size>', 'smoke: shows that it works; standard; full: every measurement, and longer')
        .choices(['smoke', 'standard', 'full'])
        .default('standard'),
    )
    .addOption(new Option('--out <file>', 'the result, with every sample').default('pintle-bench.json'))
    .addOption(new Option('--html <file>', 'write the report too'))
    .addOption(new Option('--markdown <file>', 'write the tables as Markdown too'))
    .addOption(new Option('--csv <file>', 'write every sample as CSV too'))
    .addOption(
      new Option('--target <target>', 'on this kernel (lab), or all of it on a second one: User-mode Linux or QEMU')
        .choices(['lab', 'uml', 'vm'])
        .default('lab'),
    );
}

export function benchCommand(cli: Cli): Command {
  const bench = new Command('bench').description('measure plugins side by side: all suites, about 12 minutes, or one');
  const all = withRunOptions(new Command('all').description('every suite, or several, in one run')).argument(
    '[suite...]',
    `of ${Object.keys(suiteOptions).join(', ')}`,
  );
  all.action(
    cli.action(async (names: readonly string[], flags: RunFlags) => {
      const unknown = names.find((name) => !Object.hasOwn(suiteOptions, name));
      if (unknown !== undefined)
        throw new PintleError(
          'BENCH_INVALID',
          `no suite is named ${unknown}: expected ${Object.keys(suiteOptions).join(', ')}; or compare, report, schema`,
        );
      const chosen = standardRun.filter(({ name }) => names.length === 0 || names.includes(name));
      const suites = chosen.map((suite) => ({ ...suite, rounds: flags.rounds ?? suite.rounds, size: flags.size }));
      return run(cli, suites, flags);
    }),
  );
  bench.addCommand(all, { isDefault: true });
  for (const [name, options] of Object.entries(suiteOptions)) {
    const command = new Command(name).description(`only the ${name} suite`);
    for (const [flag, says] of options) command.addOption(new Option(`--${flag} <list>`, says));
    withRunOptions(command).action(
      cli.action(async (flags: RunFlags) => {
        const given = options.flatMap(([flag]) => (typeof flags[flag] === 'string' ? [[flag, flags[flag]]] : []));
        const suite = { name, rounds: flags.rounds ?? standardRounds, options: Object.fromEntries(given) };
        return run(cli, [{ ...suite, size: flags.size }], flags);
      }),
    );
    bench.addCommand(command);
  }
  bench.addCommand(compareCommand(cli)).addCommand(reportCommand(cli)).addCommand(schemaCommand(cli));
  return bench;
}

async function run(cli: Cli, suites: readonly SuitePlan[], flags: RunFlags): Promise<ExitCode> {
  checkOutputs(flags);
  const [{ benchTargets, hostTarget, runBench }, { readConfig }] = await Promise.all([
    import('../../bench/index.ts'),
    import('../read-config.ts'),
  ]);
  const config = await readConfig(flags.config);
  const choices = Object.entries(config.plugins.use).flatMap(([kind, uses]) =>
    uses.map(({ name, config: own }) => [`${kind}/${name}`, own] as const),
  );
  const target = flags['cluster'] === undefined ? benchTargets[flags.target]! : hostTarget;
  const plan: BenchPlan = {
    suites,
    modules: [...config.plugins.load, ...flags.load],
    directory: config.directory,
    configs: Object.fromEntries(choices),
    program,
    target: target.name,
    pintleVersion: version(),
  };
  const stop = new AbortController();
  let stopped: ExitCode | undefined;
  const onSignal = (signal: NodeJS.Signals): void => {
    stopped = signal === 'SIGINT' ? exitCodes.interrupted : exitCodes.terminated;
    cli.terminal.errorLine('stopping: the running cell is taken down, what was measured is kept');
    stop.abort(new Error('interrupted'));
  };
  process.once('SIGINT', onSignal).once('SIGTERM', onSignal);
  try {
    const result = await runBench(plan, {
      ...{
        target,
        command: ['pintle', ...process.argv.slice(2)],
      },
      ...{ onEvent: (event: BenchEvent) => show(cli.terminal, event), signal: stop.signal },
    });
    await write(cli, result, flags);
    if (stopped !== undefined) {
      cli.terminal.errorLine(`stopped: all that the run had made is gone, and what it measured is in ${flags.out}`);
      return stopped;
    }
    const isBroken = result.suites.some(({ cells }) => cells.some(({ state }) => state === 'broken'));
    return result.complete ? (isBroken ? exitCodes.checkFailed : exitCodes.done) : exitCodes.failed;
  } catch (error) {
    // Before the first suite has told anything there is nothing to write.
    if (stopped === undefined || !isPintleError(error, 'BENCH_FAILED')) throw error;
    cli.terminal.errorLine('stopped: all that the run had made is gone; nothing was measured yet');
    return stopped;
  } finally {
    process.off('SIGINT', onSignal).off('SIGTERM', onSignal);
  }
}

function show(terminal: Terminal, event: BenchEvent): void {
  if (event.type === 'begin') {
    const { suite, cell, round, rounds, done, left, secondsLeft } = event;
    const time = secondsLeft === undefined ? '' : `, about ${duration(secondsLeft)} left`;
    terminal.line(`${suite}: ${cell}, round ${round} of ${rounds} (${done} done, ${left} to go${time})`);
  } else if (event.type === 'still')
    terminal.line(
      `${event.suite}: ${event.cell} has run for ${duration(event.seconds)} (given up after ${duration(event.limitSeconds)})`,
    );
  else if (event.type === 'dropped') terminal.errorLine(`${event.suite}: ${event.cell} has no figure: ${event.reason}`);
  else if (event.type === 'again')
    terminal.errorLine(`${event.suite}: ${event.cell}, round ${event.round}, is tried once more: ${event.reason}`);
  else if (event.type === 'skipped') terminal.line(`${event.suite}: ${event.cell} is left out: ${event.reason}`);
  else if (event.type === 'suite-failed') terminal.errorLine(`${event.suite}: not measured: ${event.reason}`);
}

const duration = (seconds: number): string => (seconds < 90 ? `${seconds} s` : `${Math.round(seconds / 60)} min`);

type Outputs = Pick<RunFlags, 'html' | 'markdown' | 'csv'> & { readonly out?: string };

/** Before the run: a result that cannot be written after an hour is lost. */
function checkOutputs({ out, html, markdown, csv }: Outputs): void {
  for (const file of [out, html, markdown, csv]) {
    if (file === undefined) continue;
    const stats = statSync(file, { throwIfNoEntry: false });
    try {
      accessSync(stats === undefined ? dirname(file) : file, constants.W_OK);
    } catch (cause) {
      throw unwritable(file, (cause as Error).message, cause);
    }
    if (stats?.isDirectory() === true) throw unwritable(file, 'it is a folder');
  }
}

const unwritable = (file: string, why: string, cause?: unknown): PintleError =>
  new PintleError('BENCH_INVALID', `${file} cannot be written: ${why}; expected a file in a folder that is there`, {
    ...(cause === undefined ? {} : { cause: cause as Error }),
  });

async function write(cli: Cli, result: Result, { out, html, markdown, csv }: Outputs): Promise<void> {
  const { markdownOf, csvOf, htmlOf } = await import('../../bench/index.ts');
  const files: readonly (readonly [string | undefined, () => string])[] = [
    [out, () => `${JSON.stringify(result, undefined, 1)}\n`],
    [html, () => htmlOf(result)],
    [markdown, () => markdownOf(result)],
    [csv, () => csvOf(result)],
  ];
  for (const [file, text] of files) {
    if (file === undefined) continue;
    writeFileSync(file, text());
    cli.terminal.line(`written: ${file}`);
  }
}

function compareCommand(cli: Cli): Command {
  return new Command('compare')
    .description('two results: what is better and worse beyond the noise; exit code 3 when something is worse')
    .argument('<before>', 'result file')
    .argument('<after>', 'result file')
    .addOption(
      new Option(
        '--tolerance <percent>',
        'smallest change of a ratio that counts, where it is more than the metric’s own',
      )
        .argParser((value: string) => {
          const percent = Number(value);
          if (Number.isFinite(percent) && percent >= 0) return percent;
          throw new InvalidArgumentError('expected a number');
        })
        .default(0),
    )
    .action(
      cli.action(async (before: string, after: string, { tolerance }: { readonly tolerance: number }) => {
        const { compareResults, comparisonText, readResult } = await import('../../bench/index.ts');
        const comparisons = compareResults(readResult(before), readResult(after), { tolerance: tolerance / 100 });
        for (const line of comparisonText(comparisons)) cli.terminal.line(line);
        const count = (change: string): number => comparisons.filter((one) => one.change === change).length;
        cli.terminal.line(
          `${count('worse')} worse, ${count('better')} better, ${count('same')} the same within the noise`,
        );
        if (comparisons.length === 0) {
          cli.terminal.errorLine('nothing in both results can be compared');
          return exitCodes.failed;
        }
        return count('worse') > 0 ? exitCodes.checkFailed : exitCodes.done;
      }),
    );
}

function reportCommand(cli: Cli): Command {
  return new Command('report')
    .description('a result as a self-contained HTML page, Markdown or CSV')
    .argument('<result>', 'result file')
    .addOption(new Option('--html <file>', 'self-contained page'))
    .addOption(new Option('--markdown <file>', 'tables'))
    .addOption(new Option('--csv <file>', 'every sample'))
    .action(
      cli.action(async (file: string, outputs: Outputs) => {
        const { markdownOf, readResult } = await import('../../bench/index.ts');
        const result = readResult(file);
        checkOutputs(outputs);
        const isNamed = [outputs.html, outputs.markdown, outputs.csv].some((one) => one !== undefined);
        if (isNamed) await write(cli, result, outputs);
        else cli.terminal.write(markdownOf(result));
      }),
    );
}

function schemaCommand(cli: Cli): Command {
  return new Command('schema').description('JSON Schema of result files').action(
    cli.action(async () => {
      const [{ resultSchema }, { z }] = await Promise.all([import('../../bench/index.ts'), import('zod')]);
      cli.terminal.json(z.toJSONSchema(resultSchema));
    }),
  );
}
