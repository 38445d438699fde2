import test from 'ava';
import { resources } from '../../../kernel/machinery/resources.ts';
import clusterRoleAggregation from '../../../plugins/controllers/cluster-role-aggregation/index.ts';
import resourceQuota from '../../../plugins/controllers/resource-quota/index.ts';
import { eventually, find, openControlPlane, podSpec } from './control-plane.ts';

test('the status tells what is used, as it comes and goes', async (t) => {
  const { cluster, controller } = await openControlPlane(t);
  await controller(resourceQuota);
  const key = { namespace: 'default', name: 'q' };
  const hard = { pods: '5', 'requests.cpu': '2', 'count/deployments.apps': '1' };
  await cluster.create(resources.resourceQuotas, { metadata: key, spec: { hard } });
  const used = async () => (await find(cluster, resources.resourceQuotas, key))?.status?.used;
  const becomes = (what: Record<string, string>) =>
    eventually(JSON.stringify(what), async () => JSON.stringify(await used()) === JSON.stringify(what));
  await becomes({ pods: '0', 'requests.cpu': '0', 'count/deployments.apps': '0' });
  t.deepEqual((await find(cluster, resources.resourceQuotas, key))?.status?.hard, hard);
  const containers = [{ name: 'c', image: 'host', resources: { requests: { cpu: '750m' } } }];
  for (const name of ['a', 'b'])
    await cluster.create(resources.pods, { metadata: { namespace: 'default', name }, spec: podSpec({ containers }) });
  await becomes({ pods: '2', 'requests.cpu': '1500m', 'count/deployments.apps': '0' });
  await cluster.delete(resources.pods, { namespace: 'default', name: 'a' }, { gracePeriodSeconds: 0 });
  await becomes({ pods: '1', 'requests.cpu': '750m', 'count/deployments.apps': '0' });
});

test('roles that gather others have their rules, also of those that come later', async (t) => {
  const { cluster, controller } = await openControlPlane(t);
  await controller(clusterRoleAggregation);
  const has = (role: string, resource: string) =>
    eventually(`${role} has ${resource}`, async () =>
      (await find(cluster, resources.clusterRoles, { name: role }))?.rules?.some((rule) =>
        rule.resources?.includes(resource),
      ),
    );
  await has('admin', 'rolebindings');
  await cluster.create(resources.clusterRoles, {
    metadata: { name: 'widgets-viewer', labels: { 'rbac.authorization.k8s.io/aggregate-to-view': 'true' } },
    rules: [{ apiGroups: ['acme'], resources: ['widgets'], verbs: ['get'] }],
  });
  for (const role of ['view', 'edit', 'admin']) await has(role, 'widgets');
  await cluster.delete(resources.clusterRoles, { name: 'widgets-viewer' });
  await eventually('view has it no more', async () => {
    const { rules = [] } = await cluster.get(resources.clusterRoles, { name: 'view' });
    return rules.length > 0 && !rules.some((rule) => rule.resources?.includes('widgets'));
  });
  t.pass();
});
