/**
 * The main process inside a lab: builds the network, starts one agent in each node's network namespace, and stops them
 * when its standard input closes. The agents share the lab's mount namespace, so that one that is killed and started
 * again finds what its containers are kept by.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { mkdirSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { runInNetns } from '../netplugins/linux/namespaces.ts';
import { buildNetwork } from './build-network.ts';
import { writeMessage } from './lab-messages.ts';
import type { LabNode, LabPlan } from './lab-plan.ts';

export interface LabProgram {
  readonly plan: LabPlan;
  /** Called when the network is there, before agents start: the way out of it that nodes have. Closed when they have ended. */
  openGateway(): Promise<{ close(): Promise<void> }>;
  /** Command line of a node's agent. */
  agentCommand(node: LabNode): readonly string[];
}

const stopGraceMs = 8000;

export async function runLab(program: LabProgram): Promise<void> {
  const { plan } = program;
  const began = performance.now();
  buildNetwork(plan);
  writeMessage({ type: 'network', ms: Math.round(performance.now() - began) });
  const gateway = await program.openGateway();
  const agents = plan.nodes.map((node) => startAgent(program, node));
  await lifeLineCut();
  await Promise.all(agents.map(stopAgent));
  // It would keep this process, and with it the lab, for ever.
  await gateway.close();
}

function startAgent(program: LabProgram, node: LabNode): ChildProcess {
  mkdirSync(node.stateDir, { recursive: true, mode: 0o700 });
  const log = openSync(join(node.stateDir, 'agent.log'), 'a', 0o600);
  const [command, ...argv] = program.agentCommand(node);
  const child = runInNetns(node.netns, () => spawn(command!, argv, { stdio: ['ignore', log, log], detached: true }));
  writeMessage({ type: 'agent-started', node: node.name, pid: child.pid ?? 0 });
  child.on('exit', (exitCode, signal) => writeMessage({ type: 'agent-ended', node: node.name, exitCode, signal }));
  child.on('error', (error) => writeMessage({ type: 'failed', message: `agent of ${node.name}: ${error.message}` }));
  return child;
}

function lifeLineCut(): Promise<void> {
  return new Promise((resolve) => {
    process.stdin.on('end', resolve).on('close', resolve).on('error', resolve);
    process.stdin.resume();
  });
}

async function stopAgent(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return;
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  child.kill('SIGTERM');
  const timer = setTimeout(() => child.kill('SIGKILL'), stopGraceMs);
  await ended;
  clearTimeout(timer);
}
