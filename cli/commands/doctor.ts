import { Command } from 'commander';
import { exitCodes } from '../exit-codes.ts';
import { configOption, type OutputOptions, outputOption } from '../options.ts';
import type { Cli } from '../terminal.ts';

interface DoctorFlags extends OutputOptions {
  readonly config?: string;
}

export function doctorCommand(cli: Cli): Command {
  return new Command('doctor')
    .description('ask every chosen plugin whether this host can run it, and say what to do where it cannot')
    .addOption(configOption())
    .addOption(outputOption())
    .action(
      cli.action(async ({ config: file, output }: DoctorFlags) => {
        const [{ readConfig }, { checkHost, processRoles }] = await Promise.all([
          import('../read-config.ts'),
          import('../check-roles.ts'),
        ]);
        const config = await readConfig(file);
        const checks = await Promise.all(
          processRoles.map(async (role) => ({ role, ...(await checkHost(config, role)) })),
        );
        const lines = checks.flatMap(({ role, verdicts }) =>
          verdicts.map(({ plugin: { kind, name }, preflight }) => ({ role, kind, name, ...preflight })),
        );
        const refusals = checks.flatMap(({ role, refusal }) => (refusal === undefined ? [] : [{ role, refusal }]));
        if (output === 'json')
          cli.terminal.json({
            ok: refusals.length === 0,
            checks: lines,
            refusals: refusals.map(({ role, refusal }) => ({ role, message: (refusal as Error).message })),
          });
        else {
          for (const line of lines) {
            const { terminal } = cli;
            const mark = line.ok ? terminal.style('green', 'ok') : terminal.style('red', 'no');
            const reason = line.ok ? '' : `: ${line.reason}${line.fix === undefined ? '' : `; fix: ${line.fix}`}`;
            terminal.line(`${mark}  ${line.role.padEnd(6)}  ${line.kind}/${line.name}${reason}`);
          }
          for (const { refusal } of refusals) cli.terminal.failure(refusal);
        }
        return refusals.length === 0 ? exitCodes.done : exitCodes.checkFailed;
      }),
    );
}
