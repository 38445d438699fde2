/**
 * One large Deployment behind a Service: created, rolled to a new template, deleted. All control loops and the scheduler
 * in one process with the API (cluster `local` on store `memory`); instead of node agents one loop sets pods to Running
 * and confirms deletions at once, so that what is measured is the control plane.
 *
 *   node out/bench/programs/deployment-scale.js [--pods 5000] [--nodes 100]
 */
import { parseArgs } from 'node:util';
import type { Cluster, Component, Controller, SchedulerPolicy } from '../../kernel/contract/index.ts';
import type { Pod } from '../../kernel/contract/kubernetes.ts';
import { keyOf, splitKey } from '../../kernel/machinery/metadata.ts';
import { resources } from '../../kernel/machinery/resources.ts';
import local from '../../plugins/clusters/local/index.ts';
import scheduler from '../../plugins/components/scheduler/index.ts';
import deployment from '../../plugins/controllers/deployment/index.ts';
import endpointSlice from '../../plugins/controllers/endpoint-slice/index.ts';
import endpoints from '../../plugins/controllers/endpoints/index.ts';
import garbageCollector from '../../plugins/controllers/garbage-collector/index.ts';
import replicaset from '../../plugins/controllers/replicaset/index.ts';
import spread from '../../plugins/schedulers/spread/index.ts';
import memory from '../../plugins/stores/memory/index.ts';
import { startAlone } from './start-alone.ts';

const { values } = parseArgs({
  options: { pods: { type: 'string', default: '5000' }, nodes: { type: 'string', default: '100' } },
});
const podCount = Number(values.pods);
const key = { namespace: 'default', name: 'large' };
const labels = { app: 'large' };

const store = await startAlone<object>(memory, {});
const cluster = await startAlone<Cluster>(local, { store });
const policy = await startAlone<SchedulerPolicy>(spread, {});
const component = await startAlone<Component>(scheduler, { cluster, scheduler: new Map([['spread', policy]]) });
const stop = new AbortController();
const running: Promise<void>[] = [];
for (const plugin of [deployment, replicaset, endpointSlice, endpoints, garbageCollector]) {
  const controller = await startAlone<Controller>(plugin, { cluster });
  running.push(controller.run(AbortSignal.any([stop.signal])));
}
for (let i = 0; i < Number(values.nodes); i++) {
  const name = `node-${i}`;
  const capacity = { cpu: '64', memory: '256Gi', pods: '1000' };
  await cluster.create(resources.nodes, { metadata: { name }, spec: {} });
  const body = { status: { capacity, allocatable: capacity, conditions: [{ type: 'Ready', status: 'True' }] } };
  await cluster.patch(resources.nodes, { name }, { kind: 'merge', body }, { subresource: 'status' });
}

let lastAddress = 0;

async function tend(pod: Pod): Promise<void> {
  const podKey = splitKey(keyOf(pod));
  if (pod.metadata.deletionTimestamp !== undefined) {
    await cluster.delete(resources.pods, podKey, { gracePeriodSeconds: 0 });
    return;
  }
  if (pod.spec.nodeName === undefined || pod.status?.podIP !== undefined) return;
  lastAddress++;
  const ip = `10.${244 + (lastAddress >> 16)}.${(lastAddress >> 8) & 255}.${lastAddress & 255}`;
  const lastTransitionTime = `${new Date().toISOString().slice(0, 19)}Z`;
  const conditions = [{ type: 'Ready', status: 'True', lastTransitionTime }];
  const body = { status: { phase: 'Running', podIP: ip, podIPs: [{ ip }], conditions } };
  await cluster.patch(resources.pods, podKey, { kind: 'merge', body }, { subresource: 'status' });
}

const tending = (async () => {
  for await (const batch of cluster.watch(resources.pods, {}, stop.signal))
    for (const event of batch)
      if (event.type === 'ADDED' || event.type === 'MODIFIED') await tend(event.object).catch(() => undefined);
})();

async function measure(label: string, act: () => Promise<unknown>, isDone: () => Promise<boolean>): Promise<void> {
  const startedAt = performance.now();
  const cpuBefore = process.cpuUsage();
  const revisionBefore = cluster.server?.revision ?? 0;
  await act();
  while (!(await isDone())) await new Promise((resolve) => setTimeout(resolve, 10));
  const seconds = (performance.now() - startedAt) / 1000;
  const cpu = process.cpuUsage(cpuBefore);
  process.stdout.write(
    `${label}: ${seconds.toFixed(2)} s, ${((cpu.user + cpu.system) / 1e6).toFixed(2)} s of processor time, ` +
      `${(cluster.server?.revision ?? 0) - revisionBefore} writes, ${Math.round(process.memoryUsage().rss / 2 ** 20)} MiB resident\n`,
  );
}

async function isRolledOut(): Promise<boolean> {
  const { status, metadata } = await cluster.get(resources.deployments, key);
  const isAll = (['replicas', 'updatedReplicas', 'availableReplicas'] as const).every(
    (name) => status?.[name] === podCount,
  );
  if (!isAll || status?.observedGeneration !== metadata.generation) return false;
  const { items } = await cluster.list(resources.endpointSlices, { labelSelector: 'kubernetes.io/service-name=large' });
  const ready = items.flatMap((slice) => slice.endpoints ?? []).filter(({ conditions }) => conditions?.ready === true);
  return ready.length === podCount;
}

await cluster.create(resources.services, { metadata: key, spec: { selector: labels, ports: [{ port: 80 }] } });
const containers = [{ name: 'main', image: 'host' }];
await measure(
  `${podCount} pods available, all in EndpointSlices`,
  () =>
    cluster.create(resources.deployments, {
      metadata: key,
      spec: {
        replicas: podCount,
        selector: { matchLabels: labels },
        template: { metadata: { labels }, spec: { containers } },
      },
    }),
  isRolledOut,
);
const body = { spec: { template: { spec: { containers: [{ name: 'main', image: 'other' }] } } } };
await measure(
  'rolled to a new template',
  () => cluster.patch(resources.deployments, key, { kind: 'strategic', body }),
  isRolledOut,
);
await measure(
  'deleted, pods and all',
  () => cluster.delete(resources.deployments, key, { propagationPolicy: 'Background' }),
  async () => (await cluster.list(resources.pods)).items.length === 0,
);
stop.abort();
await Promise.all([...running, tending.catch(() => undefined)]);
await component[Symbol.asyncDispose]();
await cluster[Symbol.asyncDispose]();
await store[Symbol.asyncDispose]();
