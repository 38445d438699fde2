import test from 'ava';
import { configMap, memoryStore, ns, open, pod, refusal, types } from './harness.ts';

const key = (name: string) => ({ namespace: ns, name });
const parse = (text: string) => JSON.parse(text) as never;

test('__proto__ and its friends are data', async (t) => {
  const store = memoryStore(t);
  const one = await open(t, { store });
  const { cluster } = one;
  const data = '{"__proto__":"a","constructor":"b","toString":"c","hasOwnProperty":"d"}';
  await cluster.create(types.configMaps, { ...configMap('a'), data: parse(data) });
  await cluster.patch(types.configMaps, key('a'), {
    kind: 'merge',
    body: parse('{"data":{"__proto__":"z"},"__proto__":{"polluted":true}}'),
  });
  const got = await cluster.get(types.configMaps, key('a'));
  t.is(
    JSON.stringify(Object.entries(got.data!)),
    '[["__proto__","z"],["constructor","b"],["toString","c"],["hasOwnProperty","d"]]',
  );
  const path = [{ op: 'add', path: '/data/__proto__', value: 'y' }];
  const added = await cluster.patch(types.configMaps, key('a'), { kind: 'json', body: path });
  t.is(Object.getOwnPropertyDescriptor(added.data, '__proto__')?.value, 'y');
  await cluster
    .create(types.configMaps, configMap('b', { metadata: parse('{"annotations":{"__proto__":"x"}}') }))
    .catch(() => undefined);
  for (const name of ['constructor', 'toString', '__proto__']) {
    const metadata = { name: 's', namespace: ns };
    await cluster.create(types.secrets, { metadata, type: name });
    await cluster.delete(types.secrets, key('s'));
    const resources = { requests: parse(`{"${name}":"1"}`), limits: { cpu: '1' } };
    const body = pod('p', { containers: [{ name: 'main', image: 'host', resources }] });
    const { message } = await refusal(t, cluster.create(types.pods, body), 'INVALID');
    t.regex(message, /requests\[\w+\]: Invalid value: "\w+": must be a standard resource for containers$/);
  }
  t.is(({} as Record<string, unknown>)['polluted'], undefined);
  t.is(Object.prototype.toString.call({}), '[object Object]');
  await cluster[Symbol.asyncDispose]();
  const two = await open(t, { store });
  const again = await two.cluster.get(types.configMaps, key('a'));
  t.is(Object.getOwnPropertyDescriptor(again.data, '__proto__')?.value, 'y');
  await refusal(t, two.cluster.get(types.configMaps, key('__proto__')), 'NOT_FOUND');
});

test('too large', async (t) => {
  const { cluster } = await open(t);
  const huge = { metadata: { name: 'h', namespace: ns }, revision: 1, data: { text: 'x'.repeat(3 * 1024 * 1024) } };
  const error = await refusal(t, cluster.create(types.controllerRevisions, huge), 'TOO_LARGE');
  t.is(error.message, 'Request entity too large: limit is 3145728');
  await refusal(t, cluster.get(types.controllerRevisions, key('h')), 'NOT_FOUND');
  const fits = { ...huge, data: { text: 'x'.repeat(2_900_000) } };
  t.is((await cluster.create(types.controllerRevisions, fits)).metadata.name, 'h');
});

test('too deep', async (t) => {
  const { cluster } = await open(t);
  let deep: unknown = 'x';
  for (let level = 0; level < 100_000; level++) deep = [deep];
  const body = { metadata: { name: 'd', namespace: ns }, revision: 1, data: deep };
  await refusal(t, cluster.create(types.controllerRevisions, body), 'BAD_REQUEST');
  await cluster.create(types.configMaps, configMap('c'));
  const merge = { kind: 'merge', body: { data: deep } } as const;
  await t.throwsAsync(cluster.patch(types.configMaps, key('c'), merge), { name: 'PintleError' });
});

test('what JSON cannot say', async (t) => {
  const { cluster } = await open(t);
  for (const value of [() => 1, Symbol('x'), 10n, Number.NaN, Number.POSITIVE_INFINITY]) {
    const body = { metadata: { name: 'c', namespace: ns }, revision: 1, data: { value } };
    await refusal(t, cluster.create(types.controllerRevisions, body), 'BAD_REQUEST');
    const typed = { ...body, data: {}, revision: value as number };
    await refusal(t, cluster.create(types.controllerRevisions, typed), 'BAD_REQUEST');
  }
  const circle: Record<string, unknown> = {};
  circle['self'] = circle;
  await refusal(
    t,
    cluster.create(types.controllerRevisions, { metadata: { name: 'c', namespace: ns }, revision: 1, data: circle }),
    'BAD_REQUEST',
  );
  const sparse = await cluster.create(types.pods, pod('p', { nodeName: undefined as never }));
  t.false('nodeName' in sparse.spec);
});

test('names that try to leave their place', async (t) => {
  const { cluster } = await open(t);
  for (const name of ['..', '../x', 'a/b', 'x\0', '%2e', 'ns/../x', '', ' ']) {
    await refusal(t, cluster.create(types.configMaps, configMap(name)), 'INVALID');
    await t.throwsAsync(cluster.get(types.configMaps, { namespace: ns, name }), { name: 'PintleError' });
    await t.throwsAsync(cluster.get(types.configMaps, { namespace: `${ns}/${name}`, name: 'x' }), {
      name: 'PintleError',
    });
  }
  // A namespace whose name begins like another's sees nothing of it.
  await cluster.create(types.namespaces, { metadata: { name: 'default-2' }, spec: {} });
  await cluster.create(types.configMaps, configMap('x', { metadata: { namespace: 'default-2' } as never }));
  t.is((await cluster.list(types.configMaps, { namespace: ns })).items.length, 0);
  t.is((await cluster.list(types.configMaps, { namespace: 'default-2' })).items.length, 1);
});

test('what goes in is not what is kept: the caller cannot change the state', async (t) => {
  const { cluster } = await open(t);
  const mine = { ...configMap('a'), data: { k: 'v' } };
  await cluster.create(types.configMaps, mine);
  mine.data.k = 'changed';
  const got = await cluster.get(types.configMaps, key('a'));
  t.is(got.data!['k'], 'v');
  t.throws(() => {
    (got.data as Record<string, string>)['k'] = 'w';
  });
});

test('a stored value that is no object is left out, and said', async (t) => {
  const store = memoryStore(t);
  await store.commit([{ key: '/registry/core/configmaps/default/bad', value: Buffer.from('{"apiVersion') }]);
  const { cluster, errors } = await open(t, { store });
  t.is((await cluster.list(types.configMaps)).items.length, 0);
  t.is(errors.length, 1);
  await store.commit([{ key: '/registry/core/configmaps/default/worse', value: Buffer.from('null') }]);
  await cluster.create(types.configMaps, configMap('good'));
  t.is((await cluster.list(types.configMaps)).items.length, 1);
  t.is(errors.length, 2);
});

test('a store that fails: writes are UNAVAILABLE, reads go on', async (t) => {
  const store = memoryStore(t);
  const { cluster } = await open(t, { store });
  await cluster.create(types.configMaps, configMap('a'));
  await store[Symbol.asyncDispose]();
  await refusal(t, cluster.create(types.configMaps, configMap('b')), 'UNAVAILABLE');
  t.is((await cluster.get(types.configMaps, key('a'))).metadata.name, 'a');
  t.truthy(cluster.server!.checks().find(({ name }) => name === 'store')?.failure);
});
