import {
  checkKernel,
  checkSelection,
  type KernelCheck,
  type KernelOptions,
} from '../kernel/composition/start-kernel.ts';
import type { ClusterConfiguration } from '../kernel/config/cluster-configuration.ts';
import type { Role } from '../kernel/contract/index.ts';
import { builtIns } from './built-ins.ts';
import { applicable } from './settings.ts';

/** The two processes that a config describes. */
export const processRoles = ['server', 'node'] as const satisfies readonly Role[];
export type ProcessRole = (typeof processRoles)[number];

/** Names, keys, values and needs, without asking the host. Rejects as a start would. */
export const checkConfig = (config: ClusterConfiguration, role: ProcessRole): Promise<void> =>
  checkSelection(optionsFor(config, role));

/** The same, and what every preflight says on this host. */
export const checkHost = (config: ClusterConfiguration, role: ProcessRole): Promise<KernelCheck> =>
  checkKernel(optionsFor(config, role));

/** Where the API is comes from the agent's command line; a check puts any value in its place. */
function optionsFor(config: ClusterConfiguration, role: ProcessRole): KernelOptions {
  const anyServer = applicable(config, { 'cluster/remote': { server: 'unix:/run/pintle/api.sock' } });
  return { config, role, catalogue: builtIns, stateDir: '/', settings: role === 'node' ? anyServer : {} };
}
