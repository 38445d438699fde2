import { Command } from 'commander';
import { type ExitCode, exitCodes } from '../exit-codes.ts';
import { apiOptions, withConnection, type ApiFlags } from '../api-connection.ts';
import { configOption, type OutputOptions, outputOption } from '../options.ts';
import type { Cli } from '../terminal.ts';

interface DoctorFlags extends OutputOptions, ApiFlags {
  readonly config?: string;
  readonly cluster?: boolean;
}

export function doctorCommand(cli: Cli): Command {
  const command = new Command('doctor')
    .description('look for what is wrong on this host, and with --cluster on and between the nodes of a cluster')
    .addOption(configOption())
    .option('--cluster', 'look at every node of the cluster and probe every pair, instead of this host');
  for (const option of apiOptions()) command.addOption(option);
  return command.addOption(outputOption()).action(
    cli.action(async (flags: DoctorFlags) => {
      if (flags.cluster === true) return checkNodes(cli, flags);
      const { config: file, output } = flags;
      const [{ readConfig }, { processRoles }, { hostCheckInPlace }] = await Promise.all([
        import('../read-config.ts'),
        import('../check-roles.ts'),
        import('../host-check.ts'),
      ]);
      const config = await readConfig(file);
      const checks = await Promise.all(
        processRoles.map(async (role) => ({ role, ...(await hostCheckInPlace(config, file, role)) })),
      );
      const lines = checks.flatMap(({ role, verdicts }) => verdicts.map((verdict) => ({ role, ...verdict })));
      const refusals = checks.flatMap(({ role, refusal }) => (refusal === undefined ? [] : [{ role, ...refusal }]));
      if (output === 'json')
        cli.terminal.json({
          ok: refusals.length === 0,
          checks: lines,
          refusals,
        });
      else {
        for (const line of lines) {
          const { terminal } = cli;
          const mark = line.ok ? terminal.style('green', 'ok') : terminal.style('red', 'no');
          const reason = line.ok ? '' : `: ${line.reason}${line.fix === undefined ? '' : `; fix: ${line.fix}`}`;
          terminal.line(`${mark}  ${line.role.padEnd(6)}  ${line.kind}/${line.name}${reason}`);
        }
        for (const { code, message } of refusals) cli.terminal.refused(code, message);
      }
      return refusals.length === 0 ? exitCodes.done : exitCodes.checkFailed;
    }),
  );
}

async function checkNodes(cli: Cli, flags: DoctorFlags): Promise<ExitCode> {
  const { checkCluster } = await import('../diagnose/check-cluster.ts');
  const { terminal } = cli;
  const check = await withConnection(cli, flags, (connection) =>
    checkCluster(connection, (line) => flags.output === 'text' && terminal.passing(line.padEnd(40))),
  );
  if (flags.output === 'json') terminal.json({ ok: check.findings.length === 0, ...check });
  else {
    terminal.line(`${check.nodes} nodes, ${check.probes} probes between them`);
    for (const { where, check: name, text, cure, isFatal } of check.findings) {
      terminal.line(`${terminal.style(isFatal ? 'red' : 'yellow', isFatal ? 'no' : '??')}  ${where}  ${name}: ${text}`);
      if (cure !== undefined) terminal.line(`    cure: ${cure}`);
    }
    if (check.findings.length === 0) terminal.line(terminal.style('green', 'nothing found'));
  }
  return check.findings.length === 0 ? exitCodes.done : exitCodes.checkFailed;
}
