import { z } from 'zod';
import { definePlugin, PintleError } from '../../../kernel/contract/index.ts';
import { pause } from '../../../kernel/machinery/clock.ts';
import { internalAddress } from '../../../kernel/machinery/node-address.ts';
import { informersFor } from '../../../kernel/machinery/informer.ts';
import { equalJson } from '../../../kernel/machinery/json-value.ts';
import { resources } from '../../../kernel/machinery/resources.ts';
import { Forwarder } from './forwarder.ts';
import { isWanted, publish, withdraw } from './publish.ts';

const failuresUntilWarning = 5;

export default definePlugin({
  kind: 'component',
  name: 'api-forwarder',
  api: 1,
  role: 'node',
  summary: 'Brings pods to the API where the server has no address of its own that they reach',
  config: z.strictObject({
    port: z.int().min(1).max(65_535).default(6443).describe("Port on the node's address"),
    maxConnections: z.int().min(1).default(4096).describe('Connections of pods at once'),
  }),
  needs: ['cluster'],
  start: async (context, startSignal) => {
    const { config, log, clock, nodeName = '' } = context;
    const { cluster } = context.uses;
    const connect = cluster.connect?.bind(cluster);
    if (connect === undefined)
      throw new PintleError(
        'PLUGIN_UNSUPPORTED',
        'component api-forwarder needs a cluster that offers raw connections to the API: use cluster remote',
      );
    const informers = informersFor(cluster, log);
    const nodes = informers.get(resources.nodes, { fieldSelector: `metadata.name=${nodeName}` });
    const services = informers.get(resources.services, { fieldSelector: 'metadata.name=kubernetes' });
    const forwarder = new Forwarder({ connect, maxConnections: config.maxConnections, log });
    const stop = new AbortController();
    let problem: string | undefined = 'waiting for the API server';
    let bell: () => void = () => undefined;
    const ring = () => bell();
    nodes.onChange(({ object, previous }) => {
      if (!equalJson(object?.status?.addresses, previous?.status?.addresses)) ring();
    });
    services.onChange(({ key }) => {
      if (key === 'default/kubernetes') ring();
    });

    /** Of the family of the Service's address, which is in the first range. */
    const addressOf = () => internalAddress(nodes.get(nodeName), context.cluster.serviceCidrs[0]!);

    async function serve(signal: AbortSignal): Promise<void> {
      await Promise.all([nodes, services].map((informer) => informer.synced(signal)));
      let published = '';
      for (let failures = 0; !signal.aborted;) {
        try {
          const address = addressOf();
          if (!(await isWanted(cluster))) {
            await forwarder.close();
            if (published !== 'no') await withdraw(cluster, nodeName);
            published = 'no';
            problem = undefined;
          } else if (address === undefined)
            problem = `node ${nodeName} has no InternalIP of the family of ${context.cluster.serviceCidrs[0]} yet`;
          else {
            await forwarder.listen(address, config.port);
            await publish(cluster, nodeName, address, config.port);
            published = 'yes';
            problem = undefined;
          }
          failures = 0;
          await rest(30_000, signal);
        } catch (error) {
          if (signal.aborted) return;
          problem = error instanceof Error ? error.message : String(error);
          failures += 1;
          if (failures === failuresUntilWarning)
            log.warn('pods of this node have no way to the API, tries on', { error: problem });
          await rest(500, signal);
        }
      }
    }

    /** Until the time is over, or the node or the Service has changed. */
    async function rest(ms: number, signal: AbortSignal): Promise<void> {
      const rung = new AbortController();
      bell = () => rung.abort();
      await pause(clock, ms, AbortSignal.any([signal, rung.signal]));
      bell = () => undefined;
    }

    const work = serve(stop.signal).catch((error: unknown) => {
      if (!stop.signal.aborted) log.error('api-forwarder stopped', { error: String(error) });
    });
    startSignal.throwIfAborted();
    return {
      status: () => ({ ready: problem === undefined, reason: problem }),
      metrics: async () =>
        [
          '# TYPE pintle_api_forwarder_connections_total counter',
          `pintle_api_forwarder_connections_total ${forwarder.connections}`,
          '# TYPE pintle_api_forwarder_failures_total counter',
          `pintle_api_forwarder_failures_total ${forwarder.failures}`,
          '',
        ].join('\n'),
      [Symbol.asyncDispose]: async () => {
        stop.abort(new Error('api-forwarder stops'));
        ring();
        await work;
        await forwarder.close();
        for (const informer of [nodes, services]) informer.close();
      },
    };
  },
});
