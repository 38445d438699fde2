import test from 'ava';
import { resources } from '../../../kernel/machinery/resources.ts';
import { ensureDnsService, publishEndpoint } from '../../../plugins/components/dns/publish.ts';
import { openControlPlane } from '../controllers/control-plane.ts';

const key = { namespace: 'kube-system', name: 'kube-dns' };

test('the Service is made once, however many nodes ask for it at once', async (t) => {
  const { cluster } = await openControlPlane(t);
  await Promise.allSettled([1, 2, 3, 4].map(() => ensureDnsService(cluster, '10.96.0.10')));
  await ensureDnsService(cluster, '10.96.0.10');
  const { spec, metadata } = await cluster.get(resources.services, key);
  t.is(spec.clusterIP, '10.96.0.10');
  await ensureDnsService(cluster, '10.96.0.10');
  t.is((await cluster.get(resources.services, key)).metadata.resourceVersion, metadata.resourceVersion);
});

test('an address that another Service has is an error, not silence', async (t) => {
  const { cluster } = await openControlPlane(t);
  await cluster.create(resources.services, {
    metadata: { namespace: 'default', name: 'squatter' },
    spec: { clusterIP: '10.96.0.10', ports: [{ port: 80 }] },
  });
  await t.throwsAsync(ensureDnsService(cluster, '10.96.0.10'), { message: /10\.96\.0\.10/ });
});

test('a Service at another address than pods ask is an error that names both', async (t) => {
  const { cluster } = await openControlPlane(t);
  await ensureDnsService(cluster, '10.96.0.10');
  await t.throwsAsync(ensureDnsService(cluster, '10.96.0.11'), { message: /10\.96\.0\.10.*10\.96\.0\.11/ });
});

test('the slice of a node follows its address and port, and stays untouched otherwise', async (t) => {
  const { cluster } = await openControlPlane(t);
  const node = await cluster.create(resources.nodes, { metadata: { name: 'n1' }, spec: {} });
  const slice = { namespace: 'kube-system', name: 'kube-dns-n1' };
  await publishEndpoint(cluster, 'n1', '192.0.2.1', 53);
  const first = await cluster.get(resources.endpointSlices, slice);
  t.is(first.metadata.ownerReferences?.[0]?.uid, node.metadata.uid);
  await publishEndpoint(cluster, 'n1', '192.0.2.1', 53);
  t.is((await cluster.get(resources.endpointSlices, slice)).metadata.resourceVersion, first.metadata.resourceVersion);
  await publishEndpoint(cluster, 'n1', '192.0.2.2', 5353);
  const moved = await cluster.get(resources.endpointSlices, slice);
  t.deepEqual(moved.endpoints?.[0]?.addresses, ['192.0.2.2']);
  t.deepEqual(
    moved.ports?.map(({ port }) => port),
    [5353, 5353],
  );
});
