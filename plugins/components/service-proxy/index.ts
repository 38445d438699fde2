import { networkInterfaces } from 'node:os';
import { z } from 'zod';
import type { EndpointSlice, Service } from '../../../kernel/contract/kubernetes.ts';
import { definePlugin } from '../../../kernel/contract/index.ts';
import { informersFor } from '../../../kernel/machinery/informer.ts';
import { resources } from '../../../kernel/machinery/resources.ts';
import { HealthCheckPorts } from './health-check-ports.ts';
import { ProxyMetrics } from './proxy-metrics.ts';
import { ServicePorts } from './proxy-state.ts';
import { startSyncLoop } from './sync-loop.ts';

const serviceName = 'kubernetes.io/service-name';
const zoneLabel = 'topology.kubernetes.io/zone';

export default definePlugin({
  kind: 'component',
  name: 'service-proxy',
  api: 1,
  role: 'node',
  summary: 'Keeps the proxy in step with Services and EndpointSlices',
  config: z.strictObject({
    /** Addresses at which NodePorts answer; empty: the node's InternalIP addresses. */
    nodePortAddresses: z.array(z.string()).default([]),
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
      if (config.nodePortAddresses.length > 0) return config.nodePortAddresses;
      const published = nodes.get(nodeName)?.status?.addresses ?? [];
      const internal = published.filter((each) => each.type === 'InternalIP').map((each) => each.address);
      if (internal.length > 0) return internal;
      const own = Object.values(networkInterfaces()).flatMap((each) => each ?? []);
      return own.filter((each) => !each.internal && !each.address.startsWith('fe80')).map((each) => each.address);
    };

    const healthChecks = new HealthCheckPorts(log);
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
    nodes.onChange(({ key }) => {
      const now = `${zone()} ${String(nodeAddresses())}`;
      if (key !== nodeName || now === whereabouts) return;
      whereabouts = now;
      ports.touchAll();
      loop.request();
    });
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
        stop.abort(new Error('the service proxy stops'));
        await loop.ended;
        await healthChecks[Symbol.asyncDispose]();
        for (const informer of [services, slices, nodes]) informer.close();
      },
    };
  },
});
