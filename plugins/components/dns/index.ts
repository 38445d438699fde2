import { z } from 'zod';
import { definePlugin } from '../../../kernel/contract/index.ts';
import { pause } from '../../../kernel/machinery/clock.ts';
import { equalJson } from '../../../kernel/machinery/json-value.ts';
import { metricText } from '../../../kernel/machinery/metrics/metric-text.ts';
import { internalAddress } from '../../../kernel/machinery/node-address.ts';
import { informersFor } from '../../../kernel/machinery/informer.ts';
import { resources } from '../../../kernel/machinery/resources.ts';
import { DnsServer } from './dns-server.ts';
import { clusterIndex } from './index-of-cluster.ts';
import { ensureDnsService, publishEndpoint } from './publish.ts';
import { ClusterNames } from './records.ts';
import { createUpstream, nameserversOf } from './upstream.ts';

const failuresUntilWarning = 5;

export default definePlugin({
  kind: 'component',
  name: 'dns',
  api: 1,
  role: 'node',
  summary: 'Answers the names of Services and pods on every node, and asks upstream for the rest',
  config: z.strictObject({
    /** Port on the node's address to which the DNS Service leads. */
    port: z.int().min(1).max(65_535).default(53),
    /** Resolvers for all other names ("9.9.9.9", "[2620:fe::fe]:53"); empty: those of /etc/resolv.conf. */
    upstream: z.array(z.string()).default([]),
    upstreamTimeoutMs: z.int().min(10).default(2000),
  }),
  needs: ['cluster'],
  start: async (context, startSignal) => {
    const { config, log, clock, nodeName = '' } = context;
    const { cluster } = context.uses;
    const { dnsDomain, dnsServiceIp } = context.cluster;
    const informers = informersFor(cluster, log);
    const services = informers.get(resources.services);
    const slices = informers.get(resources.endpointSlices);
    const namespaces = informers.get(resources.namespaces);
    const nodes = informers.get(resources.nodes, { fieldSelector: `metadata.name=${nodeName}` });
    const server = new DnsServer({
      names: new ClusterNames(dnsDomain, clusterIndex(services, slices, namespaces)),
      upstream: createUpstream(
        () =>
          config.upstream.length > 0 ? config.upstream : nameserversOf('/etc/resolv.conf', new Set([dnsServiceIp])),
        config.upstreamTimeoutMs,
      ),
      domain: dnsDomain,
      log,
    });
    const stop = new AbortController();
    let problem: string | undefined = 'waiting for the API server';
    let bell: () => void = () => undefined;
    nodes.onChange(({ object, previous }) => {
      if (!equalJson(object?.status?.addresses, previous?.status?.addresses)) bell();
    });

    /** Of the family of the Service's address: the two must agree. */
    const addressOf = () => internalAddress(nodes.get(nodeName), dnsServiceIp);

    async function serve(signal: AbortSignal): Promise<void> {
      await Promise.all([services, slices, namespaces, nodes].map((informer) => informer.synced(signal)));
      let listening: string | undefined;
      let failures = 0;
      for (;;) {
        const address = addressOf();
        try {
          if (address === undefined) {
            problem = `node ${nodeName} has no InternalIP of the family of the DNS Service's address ${dnsServiceIp} yet`;
            await clock.sleep(200, signal);
            continue;
          }
          if (address !== listening) {
            listening = undefined;
            await server.close();
            await server.listen(address, config.port);
            listening = address;
          }
          await ensureDnsService(cluster, dnsServiceIp);
          await publishEndpoint(cluster, nodeName, address, config.port);
          problem = undefined;
          failures = 0;
          // Looked at again now and then: somebody may have deleted the Service or the slice.
          await rest(30_000, address, signal);
        } catch (error) {
          if (signal.aborted) return;
          problem = error instanceof Error ? error.message : String(error);
          failures += 1;
          // The first ones are nodes that make the Service at the same time; what lasts is worth a word, once.
          if (failures === failuresUntilWarning) log.warn('dns is not serving, tries on', { error: problem });
          await clock.sleep(200, signal);
        }
      }
    }

    /** Until the time is over, or the node has another address. */
    async function rest(ms: number, address: string, signal: AbortSignal): Promise<void> {
      const rung = new AbortController();
      bell = () => rung.abort();
      if (addressOf() === address) await pause(clock, ms, AbortSignal.any([signal, rung.signal]));
      bell = () => undefined;
      signal.throwIfAborted();
    }

    const work = serve(stop.signal).catch((error: unknown) => {
      if (!stop.signal.aborted) log.error('dns stopped', { error: String(error) });
    });
    startSignal.throwIfAborted();
    return {
      status: () => ({ ready: problem === undefined, reason: problem }),
      metrics: async () =>
        Object.entries(server.counters)
          .map(([name, value]) => metricText(`pintle_dns_${name}_total`, 'counter', `DNS messages: ${name}.`, value))
          .join(''),
      [Symbol.asyncDispose]: async () => {
        stop.abort(new Error('dns stops'));
        await work;
        await server.close();
        for (const informer of [services, slices, namespaces, nodes]) informer.close();
      },
    };
  },
});
