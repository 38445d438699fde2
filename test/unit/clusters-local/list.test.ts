import test from 'ava';
import { configMap, ns, open, pod, refusal, types } from './harness.ts';

const names = (list: { readonly items: readonly { metadata: { name: string } }[] }) =>
  list.items.map((item) => item.metadata.name);

test('all readers of a revision get the same frozen object', async (t) => {
  const { cluster } = await open(t);
  const created = await cluster.create(types.configMaps, configMap('a', { data: { k: 'v' } }));
  const got = await cluster.get(types.configMaps, { namespace: ns, name: 'a' });
  const listed = (await cluster.list(types.configMaps)).items[0];
  t.is(created, got);
  t.is(got, listed!);
  t.true(Object.isFrozen(got) && Object.isFrozen(got.metadata) && Object.isFrozen(got.data));
  t.deepEqual(Object.keys(got).slice(0, 3), ['apiVersion', 'kind', 'metadata']);
});

test('pages come from one revision, whatever happens in between', async (t) => {
  const { cluster } = await open(t);
  for (const name of ['a', 'b', 'c', 'd', 'e']) await cluster.create(types.configMaps, configMap(name));
  const first = await cluster.list(types.configMaps, { namespace: ns, limit: 2 });
  t.deepEqual(names(first), ['a', 'b']);
  t.is(first.remainingItemCount, 3);
  await cluster.delete(types.configMaps, { namespace: ns, name: 'd' });
  await cluster.create(types.configMaps, configMap('bb'));
  const second = await cluster.list(types.configMaps, { namespace: ns, limit: 2, continue: first.continue });
  t.deepEqual(names(second), ['c', 'd']);
  t.is(second.remainingItemCount, 1);
  t.is(second.resourceVersion, first.resourceVersion);
  const third = await cluster.list(types.configMaps, { namespace: ns, limit: 2, continue: second.continue });
  t.deepEqual(names(third), ['e']);
  t.is(third.continue, undefined);
  t.is(third.remainingItemCount, undefined);
  t.deepEqual(names(await cluster.list(types.configMaps)), ['a', 'b', 'bb', 'c', 'e']);
});

test('an expired token offers one to go on with what is now', async (t) => {
  const { cluster } = await open(t, { history: { changes: 10, megabytes: 8, seconds: 300 } });
  for (const name of ['a', 'b', 'c']) await cluster.create(types.configMaps, configMap(name));
  const first = await cluster.list(types.configMaps, { limit: 1 });
  for (let index = 0; index < 30; index++) await cluster.create(types.configMaps, configMap(`x${index}`));
  const error = await refusal(t, cluster.list(types.configMaps, { limit: 1, continue: first.continue }), 'EXPIRED');
  const exact = { resourceVersion: first.resourceVersion, resourceVersionMatch: 'Exact' } as const;
  await refusal(t, cluster.list(types.configMaps, exact), 'EXPIRED');
  const token = error.details.continue;
  t.is(typeof token, 'string');
  const rest = await cluster.list(types.configMaps, { limit: 2, continue: token });
  t.deepEqual(names(rest), ['b', 'c']);
  t.true(Number(rest.resourceVersion) > Number(first.resourceVersion));
});

test('resourceVersion: Exact, NotOlderThan, unset, "0", with a limit, future and nonsense', async (t) => {
  const { cluster } = await open(t);
  const a = await cluster.create(types.configMaps, configMap('a'));
  await cluster.create(types.configMaps, configMap('b'));
  const at = a.metadata.resourceVersion;
  const list = (options: object) => cluster.list(types.configMaps, options);
  t.deepEqual(names(await list({ resourceVersion: at, resourceVersionMatch: 'Exact' })), ['a']);
  t.is((await list({ resourceVersion: at, resourceVersionMatch: 'Exact' })).resourceVersion, at);
  t.deepEqual(names(await list({ resourceVersion: at, resourceVersionMatch: 'NotOlderThan' })), ['a', 'b']);
  t.deepEqual(names(await list({ resourceVersion: at })), ['a', 'b']);
  t.deepEqual(names(await list({ resourceVersion: '0' })), ['a', 'b']);
  t.deepEqual(names(await list({ resourceVersion: at, limit: 5 })), ['a']);
  await refusal(t, list({ resourceVersion: '0', resourceVersionMatch: 'Exact' }), 'BAD_REQUEST');
  await refusal(t, list({ resourceVersionMatch: 'Exact' }), 'BAD_REQUEST');
  await refusal(t, list({ resourceVersion: 'x' }), 'BAD_REQUEST');
  await refusal(t, list({ continue: 'x' }), 'BAD_REQUEST');
  const future = await refusal(t, list({ resourceVersion: '99999' }), 'TIMEOUT');
  t.is(future.details.causes?.[0]?.reason, 'ResourceVersionTooLarge');
});

test('label and field selectors, in one namespace and in all', async (t) => {
  const { cluster } = await open(t);
  await cluster.create(types.namespaces, { metadata: { name: 'other' }, spec: {} });
  await cluster.create(types.pods, pod('a', { nodeName: 'n1' }, { labels: { app: 'web' } }));
  await cluster.create(types.pods, pod('b', {}, { labels: { app: 'web', tier: 'x' } }));
  await cluster.create(types.pods, pod('c', { nodeName: 'n1' }, { namespace: 'other' }));
  const cases: [object, string[]][] = [
    [{}, ['a', 'b', 'c']],
    [{ namespace: 'other' }, ['c']],
    [{ labelSelector: 'app=web' }, ['a', 'b']],
    [{ labelSelector: 'app=web,tier!=x' }, ['a']],
    [{ labelSelector: 'app notin (web)' }, ['c']],
    [{ fieldSelector: 'spec.nodeName=n1' }, ['a', 'c']],
    [{ fieldSelector: 'spec.nodeName=n1,metadata.namespace=other' }, ['c']],
    [{ fieldSelector: 'metadata.name=b', namespace: ns }, ['b']],
    [{ fieldSelector: 'metadata.name=b', namespace: 'other' }, []],
    [{ fieldSelector: 'metadata.name!=b', namespace: ns }, ['a']],
    [{ fieldSelector: 'status.phase=Pending' }, ['a', 'b', 'c']],
    [{ fieldSelector: 'status.phase!=Pending' }, []],
    [{ namespace: 'othe' }, []],
  ];
  for (const [options, expected] of cases) {
    t.deepEqual(names(await cluster.list(types.pods, options)), expected, JSON.stringify(options));
  }
  const error = await refusal(t, cluster.list(types.pods, { fieldSelector: 'spec.foo=1' }), 'BAD_REQUEST');
  t.regex(error.message, /field label not supported: spec\.foo/);
  await refusal(t, cluster.list(types.pods, { labelSelector: '=' }), 'BAD_REQUEST');
  t.is((await cluster.list(types.pods, { labelSelector: 'app=web', limit: 1 })).remainingItemCount, undefined);
});

test('what is not served is not found', async (t) => {
  const { cluster } = await open(t);
  const unknown = { group: 'x.io', version: 'v1', resource: 'things', kind: 'Thing', namespaced: true };
  await refusal(t, cluster.list(unknown), 'NOT_FOUND');
  const error = await refusal(t, cluster.get(types.deployments, { namespace: ns, name: 'x' }), 'NOT_FOUND');
  t.is(error.message, 'deployments.apps "x" not found');
  t.is(error.details.name, 'x');
  await refusal(t, cluster.list(types.selfSubjectReviews), 'METHOD_NOT_ALLOWED');
});
