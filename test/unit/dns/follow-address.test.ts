import test from 'ava';
import { resources } from '../../../kernel/machinery/resources.ts';
import dns from '../../../plugins/components/dns/index.ts';
import { freePort } from '../../free-port.ts';
import { handClock } from '../clusters-local/harness.ts';
import { openControlPlane, startPlugin } from '../controllers/control-plane.ts';

test('a node with another address answers there at once', async (t) => {
  const { cluster } = await openControlPlane(t);
  const status = (address: string) => ({ status: { addresses: [{ type: 'InternalIP', address }] } });
  await cluster.create(resources.nodes, { metadata: { name: 'n1' }, spec: {}, ...status('127.0.0.2') });
  // Time stands still: nothing is looked at again because it has passed.
  await using component = await startPlugin(dns, {
    config: { port: await freePort() },
    ...{ uses: { cluster }, clock: handClock(), nodeName: 'n1' },
  });
  t.truthy(component);
  const publishedAt = async (address: string): Promise<void> => {
    for (;;) {
      const { items } = await cluster.list(resources.endpointSlices, { namespace: 'kube-system' });
      if (items[0]?.endpoints?.[0]?.addresses?.[0] === address) return;
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  };
  await publishedAt('127.0.0.2');
  const patch = { kind: 'merge', body: status('127.0.0.3') } as const;
  await cluster.patch(resources.nodes, { name: 'n1' }, patch, { subresource: 'status' });
  await publishedAt('127.0.0.3');
});
