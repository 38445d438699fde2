import { Argument, Command } from 'commander';
import type { Cli } from '../terminal.ts';

const shells = ['bash', 'zsh', 'fish'] as const;

export function completionCommand(cli: Cli): Command {
  return new Command('completion')
    .description('print a completion script: source <(pintle completion bash)')
    .addArgument(new Argument('<shell>').choices(shells))
    .action(
      cli.action(async (shell: (typeof shells)[number]) => {
        const [{ completionScript }, { buildProgram }] = await Promise.all([
          import('../completion-script.ts'),
          import('../program.ts'),
        ]);
        cli.terminal.line(completionScript(shell, buildProgram(cli)).trimEnd());
      }),
    );
}
