import { readFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Command } from 'commander';
import type { LabNode, LabPlan } from '../../lab/index.ts';
import type { Cli } from '../terminal.ts';

interface LabFile {
  readonly plan: LabPlan;
  /** Of the server, on the host. */
  readonly socket: string;
  /** Flags for every agent. */
  readonly flags: readonly string[];
}

const program = fileURLToPath(new URL('../main.js', import.meta.url));

/** Part of `up`, not for people: the main process inside the lab's namespaces. */
export function labRunCommand(cli: Cli): Command {
  return new Command('lab-run').argument('<plan>').action(
    cli.action(async (file: string) => {
      const [{ runLab, writeMessage }, { readConfig }, { hostCheck }] = await Promise.all([
        import('../../lab/index.ts'),
        import('../read-config.ts'),
        import('../host-check.ts'),
      ]);
      const { plan, socket, flags } = JSON.parse(readFileSync(file, 'utf8')) as LabFile;
      const configFlag = flags.indexOf('--config');
      const config = await readConfig(configFlag < 0 ? undefined : flags[configFlag + 1]);
      const { refusal } = await hostCheck(config, 'node');
      const problems = refusal === undefined ? [] : [refusal.message];
      writeMessage({ type: 'checked', problems });
      if (problems.length > 0 || !(await told())) return;
      await runLab({
        plan,
        openGateway: () => openGateway(plan, socket),
        agentCommand: (node) => agentCommand(plan, node, flags),
      });
    }),
  );
}

/** Waits for the word to go on. False: whoever started the lab is gone. */
function told(): Promise<boolean> {
  return new Promise((resolve) => {
    const finish = (answer: boolean) => {
      process.stdin.off('data', onData).off('end', onEnd).off('close', onEnd);
      resolve(answer);
    };
    const onData = () => finish(true);
    const onEnd = () => finish(false);
    process.stdin.on('data', onData).on('end', onEnd).on('close', onEnd);
  });
}

/** The API at the gateway of the underlay, so that a node without a network is a node without the API. */
async function openGateway(plan: LabPlan, path: string): Promise<{ close(): Promise<void> }> {
  const { Forwarder } = await import('../../plugins/components/api-forwarder/forwarder.ts');
  const log = { warn: (message: string) => void process.stderr.write(`${message}\n`) };
  const toServer = () =>
    new Promise<Socket>((resolve, reject) => {
      const socket = connect({ path, allowHalfOpen: true }, () => resolve(socket)).once('error', reject);
    });
  const forwarder = new Forwarder({ connect: toServer, maxConnections: 100_000, log });
  await forwarder.listen(plan.gateway, plan.apiPort);
  return forwarder;
}

/** As on a machine of its own, an agent follows the node's addresses. */
function agentCommand(plan: LabPlan, node: LabNode, flags: readonly string[]): readonly string[] {
  return [
    ...[process.execPath, program, 'agent', '--shared-host', '--node-name', node.name],
    ...(plan.hasOtherFamily ? node.addresses.flatMap((address) => ['--node-ip', address]) : []),
    ...['--kubeconfig', node.kubeconfig, '--state-dir', join(node.stateDir, 'agent'), ...flags],
  ];
}
