import { Command, Option } from 'commander';
import type { TraceEnd, TraceStep } from '../../kernel/contract/network-view.ts';
import { apiOptions, withConnection, type ApiFlags } from '../api-connection.ts';
import type { Family, Hop } from '../diagnose/trace-packet.ts';
import { exitCodes } from '../exit-codes.ts';
import { outputOption, type OutputOptions } from '../options.ts';
import type { Cli, Terminal } from '../terminal.ts';

interface TraceFlags extends ApiFlags, OutputOptions {
  readonly namespace: string;
  readonly toNamespace?: string;
  readonly protocol: 'tcp' | 'udp' | 'sctp';
  readonly family?: Family;
}

const verdicts = {
  arrives: ['green', 'it arrives'],
  leaves: ['yellow', 'it leaves the cluster; what becomes of it there is not known here'],
  strays: ['red', 'it does not arrive: nodes send it round to each other'],
  dies: ['red', 'it does not arrive'],
} as const;

export function traceCommand(cli: Cli): Command {
  const command = new Command('trace')
    .description('follow a packet through the live kernels: every object that it meets, and where it would die and why')
    .argument('<from>', 'pod/NAME or node/NAME')
    .argument('<to>', 'svc/NAME:PORT, pod/NAME:PORT, node/NAME:PORT or ADDRESS:PORT')
    .addOption(new Option('-n, --namespace <name>', 'namespace of both').default('default'))
    .option('--to-namespace <name>', 'namespace of the destination, when it is another')
    .addOption(new Option('--protocol <name>', 'of the packet').choices(['tcp', 'udp', 'sctp']).default('tcp'))
    .addOption(
      new Option('--family <name>', 'of the packet (default: each that both ends have)').choices(['ipv4', 'ipv6']),
    );
  for (const option of apiOptions()) command.addOption(option);
  return command.addOption(outputOption()).action(
    cli.action(async (from: string, to: string, flags: TraceFlags) => {
      const { tracePacket, verdictOf } = await import('../diagnose/trace-packet.ts');
      const packets = await withConnection(cli, flags, (connection) =>
        tracePacket(connection, from, to, {
          namespace: flags.namespace,
          toNamespace: flags.toNamespace ?? flags.namespace,
          protocol: flags.protocol.toUpperCase() as 'TCP' | 'UDP' | 'SCTP',
          family: flags.family,
        }),
      );
      const traces = packets.map((trace) => {
        const verdict = verdictOf(trace.hop);
        return { arrives: verdict === 'arrives', verdict, ...trace };
      });
      const [main, otherFamily] = traces;
      if (flags.output === 'json')
        cli.terminal.json({ ...main, ...(otherFamily === undefined ? {} : { otherFamily }) });
      else
        for (const [index, trace] of traces.entries()) {
          if (index > 0) cli.terminal.line();
          cli.terminal.line(`${trace.from} -> ${trace.to}`);
          showHop(cli.terminal, trace.hop, '');
          cli.terminal.line();
          const [color, text] = verdicts[trace.verdict];
          cli.terminal.line(cli.terminal.style(color, text));
        }
      const isWell = traces.every(({ verdict }) => verdict === 'arrives' || verdict === 'leaves');
      return isWell ? exitCodes.done : exitCodes.checkFailed;
    }),
  );
}

function showHop(terminal: Terminal, hop: Hop, indent: string): void {
  const section = (title: string, steps: readonly TraceStep[]): void => {
    if (steps.length === 0) return;
    terminal.line(`${indent}${terminal.style('bold', title)}`);
    for (const step of steps) showStep(terminal, step, `${indent}  `);
  };
  section('in the pod', hop.inPod);
  section(`on node ${hop.node}`, hop.onNode);
  for (const [index, path] of hop.paths.entries()) {
    const which = hop.paths.length > 1 ? ` (${index + 1} of ${hop.paths.length})` : '';
    section(`on node ${hop.node}, to ${path.flow.destination}:${path.flow.port}${which}`, path.steps);
    terminal.line(`${indent}  ${endText(path.end)}`);
    if (path.next) showHop(terminal, path.next, `${indent}  `);
  }
}

function showStep(terminal: Terminal, { what, shown, problem }: TraceStep, indent: string): void {
  const mark =
    problem === undefined
      ? terminal.style('green', 'ok')
      : terminal.style(problem.isFatal ? 'red' : 'yellow', problem.isFatal ? 'no' : '??');
  terminal.line(`${indent}${mark}  ${what.padEnd(9)}  ${shown}`);
  if (problem === undefined) return;
  terminal.line(`${indent}    ${problem.text}`);
  if (problem.cure !== undefined) terminal.line(`${indent}    cure: ${problem.cure}`);
}

function endText(end: TraceEnd): string {
  switch (end.kind) {
    case 'pod':
      return `-> pod ${end.address}`;
    case 'node':
      return '-> a process of the node';
    case 'dies':
      return '-> nowhere';
    case 'leaves':
      return end.node === undefined ? `-> out of the cluster, by ${end.to}` : `-> node ${end.node} (${end.to})`;
  }
}
