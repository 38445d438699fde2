/**
 * Syncs a proxy as an agent does: the ports are kept beside it, and it is handed the very objects of the last time where
 * nothing changed. Only what changed comes from the other process: to send 30,000 Services for each step of a roll-out would
 * take longer than the step.
 */
import type { Proxy, ProxyPort } from '../../../kernel/contract/index.ts';
import { cpuSecondsOf } from '../../bed/processes.ts';
import type { Job } from '../../bed/plugin-process.ts';
import type { Family } from '../../bed/wire.ts';
import { stateOf } from './services.ts';

export interface SyncArgs {
  readonly family: Family;
  /** New ones, and those that take the place of one of the same name. */
  readonly put: readonly ProxyPort[];
}

export interface Synced {
  /** That the proxy took. */
  readonly ms: number;
  /** With the commands that it ran. */
  readonly cpuSeconds: number;
}

const ports = new Map<string, ProxyPort>();

export const proxySyncJob: Job<SyncArgs, Synced> = async ({ family, put }, _start, running) => {
  for (const port of put) ports.set(`${port.service} ${port.name}`, port);
  const state = stateOf([...ports.values()], family);
  const [began, cpu] = [performance.now(), cpuSecondsOf(process.pid)];
  await running<Proxy>('proxy').sync(state);
  return { ms: performance.now() - began, cpuSeconds: cpuSecondsOf(process.pid) - cpu };
};
