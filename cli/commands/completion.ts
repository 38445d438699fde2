import { Argument, Command } from 'commander';
import type { Cli } from '../terminal.ts';

const shells = ['bash', 'zsh', 'fish'] as const;

export function completionCommand(cli: Cli): Command {
  const command = new Command('completion')
    .description('print a completion script: source <(pintle completion bash)')
    .addArgument(new Argument('<shell>').choices(shells))
    .action(
      cli.action(async (shell: (typeof shells)[number]) => {
        const { completionScript } = await import('../completion-script.ts');
        // The program that it is a command of.
        cli.terminal.line(completionScript(shell, command.parent!).trimEnd());
      }),
    );
  return command;
}
