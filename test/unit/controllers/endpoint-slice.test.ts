import test from 'ava';
import type { Cluster } from '../../../kernel/contract/index.ts';
import type {
  Endpoint,
  EndpointSlice,
  Node,
  Pod,
  PodSpec,
  Service,
  ServiceSpec,
} from '../../../kernel/contract/kubernetes.ts';
import { resources } from '../../../kernel/machinery/resources.ts';
import endpointSlice from '../../../plugins/controllers/endpoint-slice/index.ts';
import { wantedGroups } from '../../../plugins/controllers/endpoint-slice/wanted-endpoints.ts';
import { planSlices } from '../../../plugins/controllers/endpoint-slice/plan-slices.ts';
import { bindTo, eventually, makeNode, openControlPlane, podSpec, quiescence, setRunning } from './control-plane.ts';

const makeService = (cluster: Cluster, spec: Partial<ServiceSpec> = {}, labels: Record<string, string> = {}) =>
  cluster.create(resources.services, {
    metadata: { namespace: 'default', name: 'web', labels },
    spec: { selector: { app: 'web' }, ports: [{ name: 'http', port: 80, targetPort: 8080 }], ...spec },
  });

const makePod = (cluster: Cluster, name: string, more: Partial<PodSpec> = {}) =>
  cluster.create(resources.pods, {
    metadata: { namespace: 'default', name, labels: { app: 'web' } },
    spec: podSpec(more),
  });

const slicesOf = async (cluster: Cluster): Promise<readonly EndpointSlice[]> =>
  (await cluster.list(resources.endpointSlices, { labelSelector: 'kubernetes.io/service-name=web' })).items;

const endpointsOf = async (cluster: Cluster): Promise<readonly Endpoint[]> =>
  (await slicesOf(cluster)).flatMap((slice) => slice.endpoints ?? []);

const count = (cluster: Cluster, wanted: number) =>
  eventually(`${wanted} endpoints`, async () => {
    const found = await endpointsOf(cluster);
    return found.length === wanted && found;
  });

test('one slice with labels, owner, ports, and an endpoint with node, zone and target', async (t) => {
  const { cluster, controller } = await openControlPlane(t);
  await makeNode(cluster, 'n1', { labels: { 'topology.kubernetes.io/zone': 'z1' } });
  await controller(endpointSlice);
  const service = await makeService(cluster, {}, { team: 'x' });
  const pod = await makePod(cluster, 'a');
  await bindTo(cluster, pod, 'n1');
  const running = await setRunning(cluster, pod);
  const [endpoint] = await count(cluster, 1);
  t.like(endpoint, {
    addresses: [running.status?.podIP],
    conditions: { ready: true, serving: true, terminating: false },
    nodeName: 'n1',
    zone: 'z1',
    targetRef: { kind: 'Pod', namespace: 'default', name: 'a', uid: pod.metadata.uid },
  });
  const slices = await slicesOf(cluster);
  t.is(slices.length, 1);
  t.like(slices[0], { addressType: 'IPv4', ports: [{ name: 'http', port: 8080, protocol: 'TCP' }] });
  t.deepEqual(slices[0]?.metadata.labels, {
    team: 'x',
    'kubernetes.io/service-name': 'web',
    'endpointslice.kubernetes.io/managed-by': 'endpointslice-controller.k8s.io',
  });
  t.like(slices[0]?.metadata.ownerReferences?.[0], { kind: 'Service', name: 'web', uid: service.metadata.uid });
});

test('conditions follow readiness and termination; publishNotReadyAddresses overrides ready', async (t) => {
  const { cluster, controller } = await openControlPlane(t);
  await controller(endpointSlice);
  await makeService(cluster);
  await makeNode(cluster, 'n1');
  const pod = await makePod(cluster, 'a');
  await bindTo(cluster, pod, 'n1');
  await setRunning(cluster, pod, false);
  const conditions = async () => (await endpointsOf(cluster))[0]?.conditions;
  const become = (wanted: object) =>
    eventually(JSON.stringify(wanted), async () => JSON.stringify(await conditions()) === JSON.stringify(wanted));
  await become({ ready: false, serving: false, terminating: false });
  const key = { namespace: 'default', name: 'web' };
  await cluster.patch(resources.services, key, { kind: 'merge', body: { spec: { publishNotReadyAddresses: true } } });
  await become({ ready: true, serving: false, terminating: false });
  await cluster.patch(resources.services, key, { kind: 'merge', body: { spec: { publishNotReadyAddresses: false } } });
  await setRunning(cluster, await cluster.get(resources.pods, { namespace: 'default', name: 'a' }), true);
  await become({ ready: true, serving: true, terminating: false });
  await cluster.delete(resources.pods, { namespace: 'default', name: 'a' }, { gracePeriodSeconds: 30 });
  await become({ ready: false, serving: true, terminating: true });
  await cluster.delete(resources.pods, { namespace: 'default', name: 'a' }, { gracePeriodSeconds: 0 });
  await count(cluster, 0);
  t.is((await slicesOf(cluster)).length, 1, 'an empty slice stays');
});

test('named target ports by pod: pods with other numbers are in another slice', async (t) => {
  const { cluster, controller } = await openControlPlane(t);
  await controller(endpointSlice);
  await makeService(cluster, { ports: [{ name: 'http', port: 80, targetPort: 'web' }] });
  const containers = (port: number): PodSpec['containers'] => [
    { name: 'main', image: 'host', ports: [{ name: 'web', containerPort: port }] },
  ];
  await setRunning(cluster, await makePod(cluster, 'a', { containers: containers(8080) }));
  await setRunning(cluster, await makePod(cluster, 'b', { containers: containers(9090) }));
  await setRunning(cluster, await makePod(cluster, 'c', { containers: containers(8080) }));
  await count(cluster, 3);
  await quiescence(cluster);
  const found = (await slicesOf(cluster)).map((slice) => [slice.ports?.[0]?.port, slice.endpoints?.length]);
  t.deepEqual(found.toSorted(), [
    [8080, 2],
    [9090, 1],
  ]);
});

test('a changed port: there is no moment without endpoints, and the slice is used again', async (t) => {
  const { cluster, controller } = await openControlPlane(t);
  await controller(endpointSlice);
  await makeService(cluster);
  await setRunning(cluster, await makePod(cluster, 'a'));
  await count(cluster, 1);
  await quiescence(cluster);
  const stop = new AbortController();
  const [before] = await slicesOf(cluster);
  const present = new Map<string, number>();
  let fewest = Infinity;
  const watching = (async () => {
    for await (const batch of cluster.watch(resources.endpointSlices, {}, stop.signal)) {
      for (const event of batch) {
        if (event.type === 'BOOKMARK') continue;
        const { object } = event;
        if (event.type === 'DELETED') present.delete(object.metadata.name);
        else present.set(object.metadata.name, object.endpoints?.length ?? 0);
        fewest = Math.min(
          fewest,
          [...present.values()].reduce((sum, size) => sum + size, 0),
        );
      }
    }
  })();
  const key = { namespace: 'default', name: 'web' };
  const body = { spec: { ports: [{ name: 'http', port: 80, targetPort: 9999 }] } };
  await cluster.patch(resources.services, key, { kind: 'merge', body });
  await eventually('only the new port', async () => {
    const ports = (await slicesOf(cluster)).map((slice) => slice.ports?.[0]?.port);
    return ports.length === 1 && ports[0] === 9999;
  });
  await quiescence(cluster);
  stop.abort();
  await watching.catch(() => undefined);
  t.is(fewest, 1);
  t.is((await slicesOf(cluster))[0]?.metadata.name, before?.metadata.name);
});

test('headless: label, and hostname by subdomain', async (t) => {
  const { cluster, controller } = await openControlPlane(t);
  await controller(endpointSlice);
  await cluster.create(resources.services, {
    metadata: { namespace: 'default', name: 'web' },
    spec: { clusterIP: 'None', selector: { app: 'web' }, ports: [{ port: 80 }] },
  });
  const pod = await makePod(cluster, 'a', { hostname: 'first', subdomain: 'web' });
  const running = await setRunning(cluster, pod);
  const [endpoint] = await count(cluster, 1);
  t.is(endpoint?.hostname, 'first');
  t.is((await slicesOf(cluster))[0]?.metadata.labels?.['service.kubernetes.io/headless'], '');
  t.is(endpoint?.addresses[0], running.status?.podIP);
});

test('dual-stack: a group an address family, each with that family of the pod', (t) => {
  const metadata = { name: 'web', namespace: 'default', uid: 'u', resourceVersion: '1', creationTimestamp: '' };
  const service: Service = {
    apiVersion: 'v1',
    kind: 'Service',
    metadata,
    spec: { selector: { app: 'web' }, ports: [{ port: 80 }], ipFamilies: ['IPv4', 'IPv6'] },
  };
  const pod = (...ips: string[]): Pod => ({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata,
    spec: podSpec(),
    status: { phase: 'Running', podIPs: ips.map((ip) => ({ ip })) },
  });
  const groups = [...wantedGroups(service, [pod('10.0.0.1', 'fd00::1'), pod('10.0.0.2')], () => undefined).values()];
  t.deepEqual(
    groups.map(({ addressType, endpoints }) => [addressType, endpoints.map(({ addresses }) => addresses[0])]),
    [
      ['IPv4', ['10.0.0.1', '10.0.0.2']],
      ['IPv6', ['fd00::1']],
    ],
  );
});

test('trafficDistribution: hints name the zone of each endpoint, PreferSameNode its node too', (t) => {
  const metadata = { name: 'n1', namespace: 'default', uid: 'u', resourceVersion: '1', creationTimestamp: '' };
  const pod: Pod = {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata,
    spec: { ...podSpec(), nodeName: 'n1' },
    status: { phase: 'Running', podIP: '10.0.0.1', podIPs: [{ ip: '10.0.0.1' }] },
  };
  const hints = (trafficDistribution: string | undefined, labels: Record<string, string> = {}) => {
    const spec = { ports: [{ port: 80 }], ipFamilies: ['IPv4'], ...(trafficDistribution && { trafficDistribution }) };
    const service: Service = { apiVersion: 'v1', kind: 'Service', metadata, spec };
    const node: Node = { apiVersion: 'v1', kind: 'Node', metadata: { ...metadata, labels }, spec: {} };
    return [...wantedGroups(service, [pod], () => node).values()][0]?.endpoints[0]?.hints;
  };
  const inZone = { 'topology.kubernetes.io/zone': 'x' };
  t.is(hints(undefined, inZone), undefined);
  t.deepEqual(hints('PreferClose', inZone), { forZones: [{ name: 'x' }] });
  t.deepEqual(hints('PreferSameZone', inZone), { forZones: [{ name: 'x' }] });
  t.is(hints('PreferSameZone'), undefined, 'no zone is known');
  t.deepEqual(hints('PreferSameNode', inZone), { forZones: [{ name: 'x' }], forNodes: [{ name: 'n1' }] });
  t.deepEqual(hints('PreferSameNode'), { forNodes: [{ name: 'n1' }] });
});

test('250 pods fit into three slices; a changed pod touches one slice only', async (t) => {
  const { cluster, controller } = await openControlPlane(t);
  await makeService(cluster);
  const pods: Pod[] = [];
  for (let i = 0; i < 250; i++) pods.push(await setRunning(cluster, await makePod(cluster, `pod-${i}`)));
  const stop = await controller(endpointSlice);
  await count(cluster, 250);
  const before = await slicesOf(cluster);
  t.deepEqual(before.map((slice) => slice.endpoints?.length).toSorted(), [100, 100, 50]);
  await setRunning(cluster, pods[7] as Pod, false);
  await eventually('it is not ready', async () =>
    (await endpointsOf(cluster)).some((endpoint) => endpoint.conditions?.ready === false),
  );
  await quiescence(cluster);
  const versions = new Map(before.map((slice) => [slice.metadata.name, slice.metadata.resourceVersion]));
  const changed = (await slicesOf(cluster)).filter(
    (slice) => versions.get(slice.metadata.name) !== slice.metadata.resourceVersion,
  );
  t.is(changed.length, 1);
  await stop();
  const still = (await slicesOf(cluster)).map((slice) => slice.metadata.resourceVersion);
  await controller(endpointSlice);
  await quiescence(cluster);
  t.deepEqual(
    (await slicesOf(cluster)).map((slice) => slice.metadata.resourceVersion),
    still,
    'a restart writes nothing',
  );
});

test('slices of other makers and of Services without a selector are left alone; ours go with the Service', async (t) => {
  const { cluster, controller } = await openControlPlane(t);
  await controller(endpointSlice);
  await makeService(cluster);
  const custom = await cluster.create(resources.endpointSlices, {
    metadata: { namespace: 'default', name: 'custom', labels: { 'kubernetes.io/service-name': 'web' } },
    addressType: 'IPv4',
    endpoints: [{ addresses: ['192.0.2.1'] }],
    ports: [],
  });
  await setRunning(cluster, await makePod(cluster, 'a'));
  await count(cluster, 2);
  await cluster.delete(resources.services, { namespace: 'default', name: 'web' });
  await eventually('only the custom slice is left', async () => (await slicesOf(cluster)).length === 1);
  const [left] = await slicesOf(cluster);
  t.is(left?.metadata.resourceVersion, custom.metadata.resourceVersion);
});

test('the plan touches as few slices as possible', (t) => {
  const endpoint = (id: number, ready = true): Endpoint => ({
    addresses: [`10.0.0.${id}`],
    conditions: { ready },
    targetRef: { kind: 'Pod', uid: `uid-${id}` },
  });
  const slice = (name: string, ...ids: number[]): EndpointSlice => ({
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: { name, namespace: 'default', uid: name, resourceVersion: '1', creationTimestamp: '' },
    addressType: 'IPv4',
    endpoints: ids.map((id) => endpoint(id)),
  });
  const plan = (wanted: readonly Endpoint[], ...existing: EndpointSlice[]) => {
    const made = planSlices({ addressType: 'IPv4', ports: [], endpoints: wanted }, existing, 3);
    return {
      create: made.create.map((endpoints) => endpoints.length),
      update: made.update.map(({ slice: { metadata }, endpoints }) => `${metadata.name}:${endpoints.length}`),
      remove: made.remove.map(({ metadata }) => metadata.name),
    };
  };
  const ids = (...list: number[]) => list.map((id) => endpoint(id));
  t.deepEqual(plan(ids(1, 2), slice('a', 1, 2)), { create: [], update: [], remove: [] });
  t.deepEqual(plan(ids(1, 2, 3, 4), slice('a', 1, 2, 3)), { create: [1], update: [], remove: [] });
  t.deepEqual(plan(ids(1, 2, 3, 4), slice('a', 1, 2, 3), slice('b')), { create: [], update: ['b:1'], remove: [] });
  t.deepEqual(plan(ids(1, 3, 4, 5), slice('a', 1, 2, 3), slice('b', 4)), { create: [], update: ['a:3'], remove: [] });
  t.deepEqual(plan(ids(1), slice('a', 1), slice('b', 2)), { create: [], update: [], remove: ['b'] });
  t.deepEqual(plan([], slice('a', 1), slice('b', 2)), { create: [], update: ['a:0'], remove: ['b'] });
  t.deepEqual(plan([]), { create: [0], update: [], remove: [] });
  t.deepEqual(plan(ids(1, 2, 3, 4, 5, 6, 7)), { create: [3, 3, 1], update: [], remove: [] });
  t.deepEqual(plan([endpoint(1, false), endpoint(2)], slice('a', 1), slice('b', 2)), {
    create: [],
    update: ['a:1'],
    remove: [],
  });
  t.deepEqual(plan(ids(1), slice('a', 1), slice('b', 1)), { create: [], update: [], remove: ['b'] }, 'a duplicate');
});
