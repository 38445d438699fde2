import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { resources } from '../../../kernel/machinery/resources.ts';
import serviceAccount from '../../../plugins/controllers/service-account/index.ts';
import { eventually, find, openControlPlane, quiescence } from './control-plane.ts';

test('every namespace has its default account, again after it was deleted, and no CA bundle unless configured', async (t) => {
  const { cluster, controller } = await openControlPlane(t);
  await controller(serviceAccount);
  const account = (namespace: string) => find(cluster, resources.serviceAccounts, { namespace, name: 'default' });
  for (const namespace of ['default', 'kube-system'])
    await eventually(`the account of ${namespace}`, () => account(namespace));
  await cluster.create(resources.namespaces, { metadata: { name: 'team' }, spec: {} });
  const first = await eventually('the account of team', () => account('team'));
  await cluster.delete(resources.serviceAccounts, { namespace: 'team', name: 'default' });
  const second = await eventually('a new account', async () => {
    const found = await account('team');
    return found?.metadata.uid !== first.metadata.uid && found;
  });
  t.truthy(second);
  await quiescence(cluster);
  t.is((await cluster.list(resources.configMaps, { fieldSelector: 'metadata.name=kube-root-ca.crt' })).items.length, 0);
});

test('the CA bundle of the configured file, repaired when somebody changes it', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'pintle-service-account-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  const rootCaFile = join(folder, 'ca.crt');
  await writeFile(rootCaFile, 'the bundle');
  const { cluster, controller } = await openControlPlane(t);
  await controller(serviceAccount, { rootCaFile });
  const key = { namespace: 'default', name: 'kube-root-ca.crt' };
  const hasBundle = async () => {
    const data = (await find(cluster, resources.configMaps, key))?.data ?? {};
    return data['ca.crt'] === 'the bundle' && Object.keys(data).length === 1;
  };
  await eventually('the bundle', hasBundle);
  await cluster.patch(resources.configMaps, key, { kind: 'merge', body: { data: { 'ca.crt': 'x', more: 'y' } } });
  await eventually('the bundle again', hasBundle);
  t.pass();
});
