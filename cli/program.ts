import { Command, CommanderError } from 'commander';
import { benchCommand } from './commands/bench.ts';
import { benchPluginsCommand, benchRunCommand } from './commands/bench-inside.ts';
import { completionCommand } from './commands/completion.ts';
import { configCommand } from './commands/config.ts';
import { deliverCommand } from './commands/deliver.ts';
import { downCommand } from './commands/down.ts';
import { imageCommand } from './commands/image.ts';
import { labCheckCommand } from './commands/lab-check.ts';
import { labRunCommand } from './commands/lab-run.ts';
import { kubeconfigCommand, statusCommand } from './commands/status.ts';
import { upCommand } from './commands/up.ts';
import { doctorCommand } from './commands/doctor.ts';
import { traceCommand } from './commands/trace.ts';
import { agentCommand } from './commands/agent.ts';
import { pluginsCommand } from './commands/plugins.ts';
import { serverCommand } from './commands/server.ts';
import { type ExitCode, exitCodes } from './exit-codes.ts';
import { Cli, Terminal } from './terminal.ts';
import { version } from './version.ts';

/** One file a command; each makes its own commander command. Heavy imports belong inside the actions. */
const commands: readonly ((cli: Cli) => Command)[] = [
  upCommand,
  downCommand,
  statusCommand,
  kubeconfigCommand,
  imageCommand,
  deliverCommand,
  serverCommand,
  agentCommand,
  pluginsCommand,
  configCommand,
  doctorCommand,
  benchCommand,
  traceCommand,
  completionCommand,
];

export function buildProgram(cli: Cli): Command {
  const program = new Command('pintle')
    .description('A container orchestrator that serves the Kubernetes API from a tiny plugin kernel.')
    .version(version())
    .showHelpAfterError('(pintle --help lists the commands)')
    .addHelpText('after', '\nExit codes: 0 done, 1 failed, 2 usage, 3 a check did not hold. NO_COLOR is honoured.');
  for (const command of commands) program.addCommand(command(cli));
  for (const command of [labRunCommand, labCheckCommand, benchRunCommand, benchPluginsCommand])
    program.addCommand(command(cli), { hidden: true });
  const output = {
    writeOut: (text: string) => cli.terminal.line(text.replace(/\n$/, '')),
    writeErr: (text: string) => cli.terminal.errorLine(text.replace(/\n$/, '')),
  };
  configureAll(program, (command) => command.exitOverride().configureOutput(output));
  return program;
}

/** Runs one command line; resolves to the exit code when the command has ended. */
export async function runCli(
  argv: readonly string[],
  out: NodeJS.WritableStream = process.stdout,
  err: NodeJS.WritableStream = process.stderr,
  env: NodeJS.ProcessEnv = process.env,
): Promise<ExitCode> {
  const cli = new Cli(new Terminal(out, err, env), env);
  try {
    await buildProgram(cli).parseAsync(argv, { from: 'user' });
    return cli.exitCode;
  } catch (error) {
    // commander "throws" help and version too, with exit code 0; a bare group of commands shows its help
    if (error instanceof CommanderError) return error.exitCode === 0 ? exitCodes.done : exitCodes.usage;
    cli.terminal.failure(error);
    return exitCodes.failed;
  }
}

function configureAll(command: Command, configure: (command: Command) => void): void {
  configure(command);
  for (const child of command.commands) configureAll(child, configure);
}
