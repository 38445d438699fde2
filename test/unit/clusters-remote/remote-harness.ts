/** Cluster `remote` started as the kernel starts it. */
import type { Cluster, Logger } from '../../../kernel/contract/index.ts';
import { systemClock } from '../../../kernel/machinery/clock.ts';
import remote from '../../../plugins/clusters/remote/index.ts';
import { clusterFacts, quiet, validated } from '../api-server/api-harness.ts';

export async function startRemote(
  config: Record<string, unknown>,
  log: Logger = quiet,
): Promise<Cluster & AsyncDisposable> {
  const context = {
    config: await validated(remote, config),
    cluster: clusterFacts,
    uses: {},
    log,
    clock: systemClock,
    stateDir: '/nonexistent',
    nodeName: 'n1',
  };
  return remote.start(context as never, new AbortController().signal);
}
