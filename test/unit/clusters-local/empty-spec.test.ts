import test from 'ava';
import { resources } from '../../../kernel/machinery/resources.ts';
import { openControlPlane } from '../controllers/control-plane.ts';

test('an object that was created without a spec is answered with an empty one', async (t) => {
  const { cluster } = await openControlPlane(t);
  const node = await cluster.create(resources.nodes, { metadata: { name: 'bare' } } as never);
  t.deepEqual(node.spec, {});
  t.deepEqual((await cluster.get(resources.nodes, { name: 'bare' })).spec, {});
  const lease = await cluster.create(resources.leases, { metadata: { namespace: 'default', name: 'bare' } } as never);
  t.deepEqual(lease.spec, {});
  const secret = await cluster.create(resources.secrets, { metadata: { namespace: 'default', name: 'bare' } });
  t.false('spec' in secret);
});
