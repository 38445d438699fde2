import { z } from 'zod';
import type { EndpointSlice, Service } from '../../../kernel/contract/kubernetes.ts';
import { definePlugin } from '../../../kernel/contract/index.ts';
import { informersFor } from '../../../kernel/machinery/informer.ts';
import { resources } from '../../../kernel/machinery/resources.ts';
import { HealthCheckPorts } from './health-check-ports.ts';
import { hasRange, isAddressOrRange, nodePortAddresses, ownAddresses } from './node-port-addresses.ts';
import { ProxyMetrics } from './proxy-metrics.ts';
import { ServicePorts } from './proxy-state.ts';
import { startSyncLoop } from './sync-loop.ts';

const serviceName = 'kubernetes.io/service-name';
const zoneLabel = 'topology.kubernetes.io/zone';
const lookMs = 2_000;

export default definePlugin({
  kind: 'component',
  name: 'service-proxy',
  api: 1,
  role: 'node',
  summary: 'Keeps the proxy in step with Services and EndpointSlices',
  config: z.strictObject({
    /** Addresses, and ranges of addresses of the node, at which NodePorts answer; empty: its InternalIP addresses. */
    nodePortAddresses: z
      .array(z.string().refine(isAddressOrRange, 'expected an IP address, or a range such as 192.0.2.0/24'))
      .default([]),
    /** Changes within this time after a sync are made together. */
    minSyncIntervalMs: z.int().min(0).default(50),
  }),
  needs: ['cluster', 'proxy'],
  start: async (context, startSignal) => {
    const { config, log, clock } = context;
    const { cluster, proxy } = context.uses;
    const nodeName = context.nodeName ?? '';
    const informers = informersFor(cluster, log);
    const services = informers.get<Service>(resources.services);
    const slices = informers.get<EndpointSlice>(resources.endpointSlices);
    const nodes = informers.get(resources.nodes, { fieldSelector: `metadata.name=${nodeName}` });
    const serviceKey = ({ metadata }: EndpointSlice): string =>
      `${metadata.namespace}/${metadata.labels?.[serviceName] ?? ''}`;
    slices.addIndex('service', (slice) => [serviceKey(slice)]);
    const zone = (): string | undefined => nodes.get(nodeName)?.metadata.labels?.[zoneLabel];
    const ports = new ServicePorts({
      serviceOf: (key) => services.get(key),
      slicesOf: (key) => slices.byIndex('service', key),
      whereabouts: () => ({ nodeName, zone: zone() }),
    });
    const stop = new AbortController();

    const nodeAddresses = () => {
      if (config.nodePortAddresses.length > 0) return nodePortAddresses(config.nodePortAddresses, ownAddresses());
      const published = nodes.get(nodeName)?.status?.addresses ?? [];
      const internal = published.filter((each) => each.type === 'InternalIP').map((each) => each.address);
      return internal.length > 0 ? internal : ownAddresses();
    };

    const healthChecks = new HealthCheckPorts(log, () => loop.failure() === undefined && proxy.status().ready);
    const metrics = new ProxyMetrics(proxy, clock);
    const loop = startSyncLoop(
      async (signal) => {
        await Promise.all([services.synced(signal), slices.synced(signal), nodes.synced(signal)]);
        const changed = metrics.takeTriggers();
        const sync = metrics.begin();
        await proxy.sync({
          nodeAddresses: nodeAddresses(),
          clusterCidrs: context.cluster.podCidrs,
          serviceCidrs: context.cluster.serviceCidrs,
          ports: ports.current(),
        });
        healthChecks.update(ports.checked());
        sync.done(changed);
      },
      { minIntervalMs: config.minSyncIntervalMs, log, clock },
      stop.signal,
    );
    let whereabouts = '';
    services.onChange(({ key }) => {
      metrics.serviceChanges++;
      ports.touch(key);
      loop.request();
    });
    slices.onChange(({ object, previous }) => {
      metrics.endpointsChanged(object, previous);
      for (const slice of [object, previous]) if (slice !== undefined) ports.touch(serviceKey(slice));
      loop.request();
    });
    const lookAround = (): void => {
      const now = `${zone()} ${String(nodeAddresses())}`;
      if (now === whereabouts) return;
      whereabouts = now;
      ports.touchAll();
      loop.request();
    };
    nodes.onChange(({ key }) => {
      if (key === nodeName) lookAround();
    });
    // What addresses are in a range nobody says.
    const look = hasRange(config.nodePortAddresses) ? setInterval(lookAround, lookMs) : undefined;
    look?.unref();
    startSignal.throwIfAborted();
    return {
      status: () => {
        if (loop.failure() !== undefined) return { ready: false, reason: loop.failure() };
        if (!loop.hasSynced()) return { ready: false, reason: 'waiting for Services from the API server' };
        const { ready, reason } = proxy.status();
        return { ready, reason };
      },
      metrics: async () => metrics.text(),
      [Symbol.asyncDispose]: async () => {
        clearInterval(look);
        stop.abort(new Error('the service proxy stops'));
        await loop.ended;
        await healthChecks[Symbol.asyncDispose]();
        for (const informer of [services, slices, nodes]) informer.close();
      },
    };
  },
});
