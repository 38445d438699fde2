import test from 'ava';
import type { Cluster } from '../../../kernel/contract/index.ts';
import type { PodSpec, ServiceSpec } from '../../../kernel/contract/kubernetes.ts';
import { resources } from '../../../kernel/machinery/resources.ts';
import endpoints from '../../../plugins/controllers/endpoints/index.ts';
import { eventually, find, openControlPlane, podSpec, quiescence, setRunning } from './control-plane.ts';

const key = { namespace: 'default', name: 'web' };

const makeService = (cluster: Cluster, spec: Partial<ServiceSpec> = {}) =>
  cluster.create(resources.services, {
    metadata: key,
    spec: { selector: { app: 'web' }, ports: [{ name: 'http', port: 80, targetPort: 8080 }], ...spec },
  });

const makePod = (cluster: Cluster, name: string, more: Partial<PodSpec> = {}) =>
  cluster.create(resources.pods, {
    metadata: { namespace: 'default', name, labels: { app: 'web' } },
    spec: podSpec(more),
  });

test('ready and not ready pods apart, sorted, with ports and target', async (t) => {
  const { cluster, controller } = await openControlPlane(t);
  await controller(endpoints);
  await makeService(cluster);
  const ready = await setRunning(cluster, await makePod(cluster, 'ready'), true);
  const waiting = await setRunning(cluster, await makePod(cluster, 'waiting'), false);
  const found = await eventually('both are there', async () => {
    const object = await find(cluster, resources.endpoints, key);
    const [subset] = object?.subsets ?? [];
    return subset?.addresses?.length === 1 && subset.notReadyAddresses?.length === 1 && object;
  });
  t.is(found.subsets?.length, 1);
  t.like(found.subsets?.[0]?.addresses?.[0], { ip: ready.status?.podIP, targetRef: { kind: 'Pod', name: 'ready' } });
  t.like(found.subsets?.[0]?.notReadyAddresses?.[0], { ip: waiting.status?.podIP });
  t.deepEqual(found.subsets?.[0]?.ports, [{ name: 'http', port: 8080, protocol: 'TCP' }]);
  t.is(found.metadata.labels?.['endpoints.kubernetes.io/managed-by'], 'endpoint-controller');
});

test('a terminating pod leaves at once; nothing is written when nothing changes; gone with the Service', async (t) => {
  const { cluster, controller } = await openControlPlane(t);
  const stop = await controller(endpoints);
  await makeService(cluster);
  for (const name of ['a', 'b']) await setRunning(cluster, await makePod(cluster, name), true);
  const addresses = async () => (await find(cluster, resources.endpoints, key))?.subsets?.[0]?.addresses ?? [];
  await eventually('two addresses', async () => (await addresses()).length === 2);
  await cluster.delete(resources.pods, { namespace: 'default', name: 'a' }, { gracePeriodSeconds: 0 });
  await eventually('one address', async () => (await addresses()).length === 1);
  await quiescence(cluster);
  const before = (await cluster.get(resources.endpoints, key)).metadata.resourceVersion;
  await stop();
  await controller(endpoints);
  await quiescence(cluster);
  t.is((await cluster.get(resources.endpoints, key)).metadata.resourceVersion, before);
  await cluster.delete(resources.services, key);
  await eventually('no Endpoints', async () => (await find(cluster, resources.endpoints, key)) === undefined);
  t.pass();
});

test('Endpoints written by hand, for a Service without selector or for none, stay', async (t) => {
  const { cluster, controller } = await openControlPlane(t);
  const subsets = [{ addresses: [{ ip: '192.0.2.1' }], ports: [{ port: 80 }] }];
  for (const name of ['manual', 'lonely'])
    await cluster.create(resources.endpoints, { metadata: { namespace: 'default', name }, subsets });
  await cluster.create(resources.services, {
    metadata: { namespace: 'default', name: 'manual' },
    spec: { ports: [{ port: 80 }] },
  });
  await controller(endpoints);
  await quiescence(cluster);
  for (const name of ['manual', 'lonely'])
    t.is((await find(cluster, resources.endpoints, { namespace: 'default', name }))?.subsets?.length, 1);
});
