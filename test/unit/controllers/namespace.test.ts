import test from 'ava';
import { resources } from '../../../kernel/machinery/resources.ts';
import namespace from '../../../plugins/controllers/namespace/index.ts';
import { eventually, find, openControlPlane, podSpec, quiescence } from './control-plane.ts';

const inTeam = (name: string) => ({ namespace: 'team', name });

test('everything in the namespace goes, then the namespace; other namespaces are untouched', async (t) => {
  const { cluster, controller } = await openControlPlane(t);
  await cluster.create(resources.namespaces, { metadata: { name: 'team' }, spec: {} });
  for (const ns of ['team', 'default']) {
    await cluster.create(resources.configMaps, { metadata: { namespace: ns, name: 'settings' }, data: {} });
    await cluster.create(resources.pods, { metadata: { namespace: ns, name: 'pod' }, spec: podSpec() });
    await cluster.create(resources.leases, { metadata: { namespace: ns, name: 'lease' }, spec: {} });
    await cluster.create(resources.events, {
      metadata: { namespace: ns, name: 'event' },
      involvedObject: { kind: 'Pod', namespace: ns, name: 'pod' },
    });
  }
  await cluster.delete(resources.namespaces, { name: 'team' });
  t.is((await cluster.get(resources.namespaces, { name: 'team' })).status?.phase, 'Terminating');
  await controller(namespace);
  await eventually(
    'the namespace is gone',
    async () => (await find(cluster, resources.namespaces, { name: 'team' })) === undefined,
  );
  for (const type of [resources.configMaps, resources.pods, resources.leases, resources.events]) {
    t.is((await cluster.list(type as typeof resources.pods, { namespace: 'team' })).items.length, 0, type.resource);
    t.true(
      (await cluster.list(type as typeof resources.pods, { namespace: 'default' })).items.length > 0,
      type.resource,
    );
  }
});

test('a finalizer holds it, the conditions say so; nothing else goes before the pods have gone', async (t) => {
  const { cluster, controller } = await openControlPlane(t);
  await controller(namespace);
  await cluster.create(resources.namespaces, { metadata: { name: 'team' }, spec: {} });
  await cluster.create(resources.secrets, { metadata: inTeam('secret') });
  await cluster.create(resources.pods, {
    metadata: { ...inTeam('held'), finalizers: ['example.com/hold'] },
    spec: podSpec(),
  });
  await cluster.delete(resources.namespaces, { name: 'team' });
  const found = await eventually('the condition', async () => {
    const object = await cluster.get(resources.namespaces, { name: 'team' });
    return (
      object.status?.conditions?.some(
        ({ type, status }) => type === 'NamespaceFinalizersRemaining' && status === 'True',
      ) === true && object
    );
  });
  const message = (type: string) => found.status?.conditions?.find((condition) => condition.type === type)?.message;
  t.regex(message('NamespaceContentRemaining') ?? '', /pods has 1 resource instances/);
  t.regex(message('NamespaceFinalizersRemaining') ?? '', /example\.com\/hold in 1 resource instances/);
  t.not(await find(cluster, resources.secrets, inTeam('secret')), undefined);
  await cluster.patch(resources.pods, inTeam('held'), { kind: 'merge', body: { metadata: { finalizers: null } } });
  await eventually(
    'the namespace is gone',
    async () => (await find(cluster, resources.namespaces, { name: 'team' })) === undefined,
  );
  t.is(await find(cluster, resources.secrets, inTeam('secret')), undefined);
});

test('another finalizer of the namespace itself is not ours to remove', async (t) => {
  const { cluster, controller } = await openControlPlane(t);
  await controller(namespace);
  await cluster.create(resources.namespaces, {
    metadata: { name: 'team', finalizers: ['example.com/mine'] },
    spec: {},
  });
  await cluster.delete(resources.namespaces, { name: 'team' });
  await eventually('kubernetes is off the list', async () => {
    const object = await cluster.get(resources.namespaces, { name: 'team' });
    return (object.spec.finalizers ?? []).length === 0;
  });
  await quiescence(cluster);
  t.deepEqual((await cluster.get(resources.namespaces, { name: 'team' })).metadata.finalizers, ['example.com/mine']);
});
