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
