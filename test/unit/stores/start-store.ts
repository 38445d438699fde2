import { setTimeout as sleep } from 'node:timers/promises';
import type { Clock, ClusterFacts, Logger, PluginDefinition } from '../../../kernel/contract/plugin.ts';
import type { Store } from '../../../kernel/contract/store.ts';

export const realClock: Clock = {
  now: () => Date.now(),
  sleep: (ms, signal) => sleep(ms, undefined, signal === undefined ? {} : { signal }),
};

const cluster: ClusterFacts = {
  podCidrs: ['10.244.0.0/16'],
  serviceCidrs: ['10.96.0.0/12'],
  dnsDomain: 'cluster.local',
  dnsServiceIp: '10.96.0.10',
};

const silent: Logger = { debug() {}, info() {}, warn() {}, error() {} };

/** Starts a store as the kernel would: config through the plugin's own schema, strictly. */
export async function startStore<Config>(
  plugin: PluginDefinition<'store', Config, never>,
  stateDir: string,
  config: unknown = {},
  clock: Clock = realClock,
): Promise<Store & AsyncDisposable> {
  const checked = await plugin.config['~standard'].validate(config);
  if (checked.issues !== undefined)
    throw new Error(`bad config: ${checked.issues.map(({ message }) => message).join()}`);
  return plugin.start(
    {
      config: checked.value,
      cluster,
      uses: {},
      log: silent,
      clock,
      stateDir,
      nodeName: undefined,
      processMetrics: async () => '',
    },
    new AbortController().signal,
  );
}
