import test from 'ava';
import { isPintleError } from '../../../kernel/contract/index.ts';
import { collect, configMap, memoryStore, ns, open, pod, types } from './harness.ts';

const version = async (promise: Promise<{ metadata: { resourceVersion: string } }>) =>
  (await promise).metadata.resourceVersion;

test('from a revision: every later change, in order, and nothing else', async (t) => {
  const { cluster } = await open(t);
  const from = await version(cluster.create(types.configMaps, configMap('a')));
  const b = await cluster.create(types.configMaps, configMap('b'));
  await cluster.update(types.configMaps, { ...b, data: { k: '1' } });
  const watch = collect(t, cluster, types.configMaps, { resourceVersion: from });
  await cluster.delete(types.configMaps, { namespace: ns, name: 'a' });
  await watch.until(() => watch.events.length >= 3);
  t.deepEqual(watch.lines(), ['ADDED b', 'MODIFIED b', 'DELETED a']);
  const versions = watch.events.map(({ object }) => Number(object.metadata.resourceVersion));
  t.deepEqual(
    versions,
    [...versions].sort((x, y) => x - y),
  );
  t.is(new Set(versions).size, 3, 'a deletion has a revision of its own');
  t.is(watch.events[0]!.object, b, 'the object of the event is the object that the writer got');
});

test('unset and "0": the state as ADDED, then live', async (t) => {
  const { cluster } = await open(t);
  await cluster.create(types.configMaps, configMap('a'));
  for (const resourceVersion of [undefined, '0']) {
    const watch = collect(t, cluster, types.configMaps, { resourceVersion });
    await watch.until(() => watch.events.length >= 1);
    t.deepEqual(watch.lines(), ['ADDED a']);
  }
});

test('WatchList: state, bookmark that ends it, changes', async (t) => {
  const { cluster } = await open(t);
  for (let index = 0; index < 1_200; index++) await cluster.create(types.configMaps, configMap(`c${index}`));
  const watch = collect(t, cluster, types.configMaps, { sendInitialEvents: true, allowWatchBookmarks: true });
  await watch.until(() => watch.events.some(({ type }) => type === 'BOOKMARK'));
  const end = watch.events.findIndex(({ type }) => type === 'BOOKMARK');
  t.is(end, 1_200);
  const { metadata } = watch.events[end]!.object;
  t.deepEqual(metadata.annotations, { 'k8s.io/initial-events-end': 'true' });
  t.is(metadata.resourceVersion, String(cluster.server!.revision));
  await cluster.create(types.configMaps, configMap('later'));
  await watch.until(() => watch.lines().includes('ADDED later'));
  t.is(watch.lines().at(-1), 'ADDED later');
  const silent = collect(t, cluster, types.configMaps, { sendInitialEvents: false });
  await cluster.get(types.configMaps, { namespace: ns, name: 'later' });
  await cluster.create(types.configMaps, configMap('last'));
  await silent.until(() => silent.events.length > 0);
  t.deepEqual(silent.lines(), ['ADDED last']);
});

test('selectors: an object that starts to match is ADDED, one that stops is DELETED as it was', async (t) => {
  const { cluster } = await open(t);
  const from = String(cluster.server!.revision);
  const watch = collect(t, cluster, types.configMaps, { resourceVersion: from, labelSelector: 'app=web' });
  const other = collect(t, cluster, types.configMaps, { resourceVersion: from, labelSelector: 'app=web' });
  const a = await cluster.create(types.configMaps, configMap('a', { data: { k: '0' } }));
  const b = await cluster.update(types.configMaps, { ...a, metadata: { ...a.metadata, labels: { app: 'web' } } });
  const c = await cluster.update(types.configMaps, { ...b, data: { k: '1' } });
  const d = await cluster.update(types.configMaps, { ...c, metadata: { ...c.metadata, labels: { app: 'db' } } });
  await cluster.delete(types.configMaps, { namespace: ns, name: 'a' });
  await cluster.create(types.configMaps, configMap('z', { labels: { app: 'web' } }));
  await watch.until(() => watch.events.length >= 4);
  await other.until(() => other.events.length >= 4);
  t.deepEqual(watch.lines(), ['ADDED a', 'MODIFIED a', 'DELETED a', 'ADDED z']);
  const left = watch.events[2]!.object;
  t.deepEqual(left.metadata.labels, { app: 'web' });
  t.is(left.metadata.resourceVersion, d.metadata.resourceVersion);
  t.is(watch.events[2], other.events[2], 'watchers share the event');
});

test('field selectors: a kubelet sees its pod arrive and go', async (t) => {
  const { cluster } = await open(t);
  const watch = collect(t, cluster, types.pods, { fieldSelector: 'spec.nodeName=n1' });
  await cluster.create(types.pods, pod('p'));
  const target = { apiVersion: 'v1', kind: 'Node', name: 'n1' };
  await cluster.create(types.pods, { metadata: { name: 'p' }, target } as never, {
    subresource: 'binding',
    parent: { namespace: ns, name: 'p' },
  });
  await cluster.delete(types.pods, { namespace: ns, name: 'p' }, { gracePeriodSeconds: 0 });
  await watch.until(() => watch.events.length >= 2);
  t.deepEqual(watch.lines(), ['ADDED p', 'DELETED p']);
});

test('one namespace only', async (t) => {
  const { cluster } = await open(t);
  await cluster.create(types.namespaces, { metadata: { name: 'default2' }, spec: {} });
  const watch = collect(t, cluster, types.configMaps, { namespace: ns });
  await cluster.create(types.configMaps, configMap('x', { metadata: { namespace: 'default2' } as never }));
  await cluster.create(types.configMaps, configMap('y'));
  await watch.until(() => watch.events.length >= 1);
  t.deepEqual(watch.lines(), ['ADDED y']);
});

test('too old, and fallen behind: EXPIRED', async (t) => {
  const { cluster } = await open(t, { history: { changes: 10, megabytes: 8, seconds: 300 } });
  const from = await version(cluster.create(types.configMaps, configMap('a')));
  const stop = new AbortController();
  const slow = cluster.watch(types.configMaps, { resourceVersion: from }, stop.signal)[Symbol.asyncIterator]();
  await cluster.create(types.configMaps, configMap('b'));
  t.is((await slow.next()).value?.length, 1);
  for (let index = 0; index < 40; index++) await cluster.create(types.configMaps, configMap(`x${index}`));
  await t.throwsAsync(async () => slow.next(), { message: /too old resource version/ });
  const late = collect(t, cluster, types.configMaps, { resourceVersion: from });
  t.true(isPintleError(await late.ended, 'EXPIRED'));
  t.is(late.events.length, 0);
  // Other resources have not changed since, so that their old revisions are still good.
  const calm = collect(t, cluster, types.secrets, { resourceVersion: from });
  await cluster.create(types.secrets, { metadata: { name: 's', namespace: ns } });
  await calm.until(() => calm.events.length === 1);
  t.deepEqual(calm.lines(), ['ADDED s']);
});

test('two watches see one order, without gaps, while many write', async (t) => {
  const { cluster } = await open(t);
  const from = String(cluster.server!.revision);
  const first = collect(t, cluster, types.configMaps, { resourceVersion: from });
  const second = collect(t, cluster, types.configMaps, {});
  const writer = async (id: number) => {
    for (let round = 0; round < 40; round++) {
      const name = `w${id}-${round % 7}`;
      const key = { namespace: ns, name };
      try {
        await cluster.create(types.configMaps, configMap(name));
      } catch {
        if (round % 3 === 0) await cluster.delete(types.configMaps, key);
        else await cluster.patch(types.configMaps, key, { kind: 'merge', body: { data: { round: String(round) } } });
      }
    }
  };
  await Promise.all(Array.from({ length: 8 }, (_, id) => writer(id)));
  await cluster.create(types.configMaps, configMap('end'));
  const isDone = (lines: string[]) => lines.at(-1) === 'ADDED end';
  await first.until(() => isDone(first.lines()));
  await second.until(() => isDone(second.lines()));
  t.deepEqual(
    first.events.map(({ type, object }) => [type, object.metadata.name, object.metadata.resourceVersion]),
    second.events.map(({ type, object }) => [type, object.metadata.name, object.metadata.resourceVersion]),
  );
  // Replaying the events gives the state: nothing is missing.
  const state = new Map<string, string>();
  for (const { type, object } of first.events) {
    if (type === 'DELETED') state.delete(object.metadata.name);
    else state.set(object.metadata.name, object.metadata.resourceVersion);
  }
  const listed = (await cluster.list(types.configMaps, { namespace: ns })).items;
  t.deepEqual(
    [...state].sort(),
    listed.map(({ metadata }) => [metadata.name, metadata.resourceVersion]).sort() as never,
  );
});

test('ends when aborted, at its time, and when the server stops', async (t) => {
  const { cluster } = await open(t);
  const aborted = collect(t, cluster, types.configMaps, {});
  aborted.stop();
  t.is(await aborted.ended, undefined);
  const timed = collect(t, cluster, types.configMaps, { timeoutSeconds: 1, allowWatchBookmarks: true });
  t.is(await timed.ended, undefined);
  t.deepEqual(
    timed.events.map(({ type }) => type),
    ['BOOKMARK'],
    'a bookmark before the end',
  );
  t.is(timed.events[0]!.object.metadata.resourceVersion, String(cluster.server!.revision));
  const open1 = collect(t, cluster, types.configMaps, {});
  await cluster[Symbol.asyncDispose]();
  t.is(await open1.ended, undefined);
});

test('bookmarks, for those who ask, with a revision to go on from', async (t) => {
  const { cluster } = await open(t, { bookmarkSeconds: 0.02 });
  const asks = collect(t, cluster, types.configMaps, { allowWatchBookmarks: true });
  const silent = collect(t, cluster, types.configMaps);
  await cluster.create(types.secrets, { metadata: { name: 's', namespace: ns } });
  const revision = cluster.server!.revision;
  const reached = () => asks.events.find(({ object }) => Number(object.metadata.resourceVersion) >= revision);
  await asks.until(() => reached() !== undefined);
  const bookmark = reached()!;
  t.like(bookmark, { type: 'BOOKMARK', object: { apiVersion: 'v1', kind: 'ConfigMap' } });
  t.deepEqual(Object.keys(bookmark.object.metadata), ['resourceVersion']);
  const { resourceVersion } = bookmark.object.metadata;
  await cluster.create(types.configMaps, configMap('a'));
  const next = collect(t, cluster, types.configMaps, { resourceVersion });
  await next.until(() => next.events.length > 0);
  t.deepEqual(next.lines(), ['ADDED a']);
  await silent.until(() => silent.events.length > 0);
  t.deepEqual(silent.lines(), ['ADDED a']);
  t.is(silent.events.length, 1);
});

test('watches and page tokens go on over a restart', async (t) => {
  const store = memoryStore(t);
  const one = await open(t, { store });
  const from = await version(one.cluster.create(types.configMaps, configMap('a')));
  for (const name of ['b', 'c']) await one.cluster.create(types.configMaps, configMap(name));
  const page = await one.cluster.list(types.configMaps, { limit: 1 });
  await one.cluster.delete(types.configMaps, { namespace: ns, name: 'b' });
  const before = collect(t, one.cluster, types.configMaps, { resourceVersion: from });
  await before.until(() => before.events.length >= 3);
  await one.cluster[Symbol.asyncDispose]();
  const { cluster } = await open(t, { store });
  const after = collect(t, cluster, types.configMaps, { resourceVersion: from });
  await after.until(() => after.events.length >= 3);
  t.deepEqual(after.lines(), ['ADDED b', 'ADDED c', 'DELETED b']);
  t.deepEqual(after.events, before.events);
  const rest = await cluster.list(types.configMaps, { limit: 5, continue: page.continue });
  t.deepEqual(
    rest.items.map(({ metadata }) => metadata.name),
    ['b', 'c'],
  );
});

test('a thousand watchers: each gets what concerns it, and only that', async (t) => {
  const { cluster } = await open(t);
  const watches = Array.from({ length: 1_000 }, (_, index) =>
    collect(t, cluster, types.pods, { fieldSelector: `spec.nodeName=n${index}` }),
  );
  for (let index = 0; index < 1_000; index++)
    await cluster.create(types.pods, pod(`p${index}`, { nodeName: `n${index}` }));
  await Promise.all(watches.map((watch) => watch.until(() => watch.events.length >= 1)));
  t.true(watches.every((watch, index) => watch.lines().join() === `ADDED p${index}`));
});
