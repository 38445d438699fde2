import { Argument, Command, Option } from 'commander';
import type { Kind } from '../../kernel/contract/index.ts';
import type { ReportRow } from '../../kernel/registry/report.ts';
import { configOption, type OutputOptions, outputOption } from '../options.ts';
import type { Cli } from '../terminal.ts';

interface ListFlags extends OutputOptions {
  readonly config?: string;
  readonly stateDir?: string;
}

export function pluginsCommand(cli: Cli): Command {
  return new Command('plugins')
    .description('list and describe plugins')
    .addCommand(listCommand(cli))
    .addCommand(showCommand(cli));
}

function listCommand(cli: Cli): Command {
  return new Command('ls')
    .description('every plugin, and what a config makes of it on this host; or the state of a running process')
    .addOption(configOption())
    .addOption(
      new Option('--state-dir <folder>', 'show the running server or agent of this state folder').conflicts('config'),
    )
    .addOption(outputOption())
    .action(
      cli.action(async ({ config, stateDir, output }: ListFlags) => {
        const { pluginRows, runningRows } = await import('../plugin-rows.ts');
        const { rows, refusals } = stateDir === undefined ? await pluginRows(config) : runningRows(stateDir);
        if (output === 'json') cli.terminal.json({ plugins: rows });
        else {
          cli.terminal.table(
            ['KIND', 'NAME', 'RUNS IN', 'STATE', 'ORIGIN', 'SUMMARY'],
            rows.map((row) => [row.kind, row.name, row.role, stateText(row), row.origin, row.summary]),
          );
          for (const row of rows.filter(({ state }) => state === 'skipped' || state === 'failed'))
            cli.terminal.line(`${row.kind}/${row.name}: ${reasonText(row)}`);
        }
        for (const { code, message } of refusals) cli.terminal.refused(code, message);
      }),
    );
}

const stateText = (row: ReportRow): string =>
  row.state === 'running' ? `running (${Math.round(row.startedInMs)} ms)` : row.state;

function reasonText(row: ReportRow): string {
  if (row.state === 'failed') return `failed: ${row.error.message}`;
  if (row.state !== 'skipped') return row.state;
  return `skipped: ${row.reason}${row.fix === undefined ? '' : `; fix: ${row.fix}`}`;
}

function showCommand(cli: Cli): Command {
  return new Command('show')
    .description('what a plugin is, needs and can be configured to')
    .addArgument(new Argument('<plugin>', 'kind/name, such as overlay/vxlan'))
    .addOption(configOption())
    .addOption(new Option('--state-dir <folder>', 'also what the one in the server or agent of this state folder uses'))
    .addOption(outputOption())
    .action(
      cli.action(async (id: string, { config, stateDir, output }: ListFlags) => {
        const { describePlugin } = await import('../plugin-rows.ts');
        const shown = await describePlugin(id, config, stateDir);
        if (output === 'json') {
          cli.terminal.json(shown);
          return;
        }
        const { kind, name, summary, origin, role, needs, capabilities, startDeadlineMs, uses, config: schema } = shown;
        const facts: readonly (readonly [string, string])[] = [
          ['Plugin', `${kind as Kind}/${name}`],
          ['Summary', summary],
          ['Origin', origin],
          ['Runs in', role],
          ['Needs', needs.join(', ') || 'nothing'],
          ['Capabilities', capabilities.join(', ') || 'none'],
          ['Start deadline', `${startDeadlineMs} ms`],
          ...Object.entries(uses ?? {}).map(([what, choice]) => ['Uses', `${what} ${choice}`] as const),
        ];
        for (const [title, value] of facts) cli.terminal.line(`${`${title}:`.padEnd(16)}${value}`);
        cli.terminal.line('Config (JSON Schema):');
        cli.terminal.json(schema);
      }),
    );
}
