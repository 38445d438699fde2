import test from 'ava';
import type { KubernetesObject } from '../../../kernel/contract/index.ts';
import { createInformers, informersFor, type Change, type Informer } from '../../../kernel/machinery/informer.ts';
import { resources } from '../../../kernel/machinery/resources.ts';
import { FakeCluster } from './fake-cluster.ts';
import { ManualClock, settled } from './manual-clock.ts';

const configMaps = resources.configMaps;

function open(random = () => 0) {
  const fake = new FakeCluster();
  const clock = new ManualClock();
  const informers = createInformers(fake.cluster, undefined, {
    clock,
    backoff: { minMs: 100, maxMs: 1000, jitter: 0.5, random },
  });
  return { fake, clock, informers };
}

function record<T extends KubernetesObject>(informer: Informer<T>): string[] {
  const seen: string[] = [];
  informer.onChange((change: Change<T>) => {
    const name = change.key.split('/')[1];
    if (change.object === undefined) seen.push(`-${name}`);
    else if (change.previous === undefined) seen.push(`+${name}`);
    else seen.push(`~${name}`);
  });
  return seen;
}

test('lists, then follows the watch', async (t) => {
  const { fake, informers } = open();
  fake.put('a');
  const informer = informers.get(configMaps);
  const seen = record(informer);
  t.false(informer.isSynced);
  await informer.synced(AbortSignal.timeout(5000));
  t.deepEqual(seen, ['+a']);
  await settled();
  fake.put('b');
  fake.put('a');
  fake.remove('b');
  await settled();
  t.deepEqual(seen, ['+a', '+b', '~a', '-b']);
  t.is(informer.revision, fake.revision);
  t.deepEqual(
    informer.list().map((object) => object.metadata.name),
    ['a'],
  );
  informer.close();
});

test('a relist after EXPIRED reports what was missed, deletions and replacements included, and invents nothing', async (t) => {
  const { fake, informers } = open();
  for (const name of ['kept', 'changed', 'deleted', 'replaced']) fake.put(name);
  const informer = informers.get(configMaps);
  const seen = record(informer);
  await informer.synced(AbortSignal.timeout(5000));
  await settled();
  seen.length = 0;
  fake.breakWatches('EXPIRED');
  fake.put('changed');
  fake.remove('deleted');
  fake.remove('replaced');
  fake.put('replaced', { newUid: true });
  fake.put('new');
  fake.compacted = fake.revision;
  await settled();
  t.deepEqual(seen.toSorted(), ['+new', '+replaced', '-deleted', '-replaced', '~changed']);
  t.true(seen.indexOf('-replaced') < seen.indexOf('+replaced'));
  t.is(fake.calls.filter((call) => call === 'list').length, 2);
  informer.close();
});

test('UNAVAILABLE: watches again from where it was, with growing, jittered delays, and lists no second time', async (t) => {
  const { fake, clock, informers } = open(() => 0.5);
  fake.put('a');
  const informer = informers.get(configMaps);
  const seen = record(informer);
  await informer.synced(AbortSignal.timeout(5000));
  await settled();
  const revision = fake.revision;
  fake.failNext.push('UNAVAILABLE', 'UNAVAILABLE', 'UNAVAILABLE');
  fake.breakWatches('UNAVAILABLE');
  fake.put('b');
  fake.remove('a');
  await settled();
  for (let i = 0; i < 4; i++) await clock.advance(1000);
  t.deepEqual(seen, ['+a', '+b', '-a']);
  t.is(fake.calls.filter((call) => call === 'list').length, 1);
  t.deepEqual(new Set(fake.calls.filter((call) => call.startsWith('watch'))), new Set([`watch ${revision}`]));
  // Steps 100, 200, 400, 800, of which half is multiplied by the random 0.5. The first counts from a working watch.
  t.deepEqual(clock.sleeps.slice(0, 3), [75, 150, 300]);
  informer.close();
});

test('the first list is tried until the server answers', async (t) => {
  const { fake, clock, informers } = open();
  fake.put('a');
  fake.failNext.push('UNAVAILABLE', 'INTERNAL');
  const informer = informers.get(configMaps);
  await settled();
  t.false(informer.isSynced);
  await clock.advance(100);
  t.false(informer.isSynced);
  await clock.advance(200);
  t.true(informer.isSynced);
  t.truthy(informer.get('default/a'));
  informer.close();
});

test('a watch that the server ends is taken up again without a list', async (t) => {
  const { fake, clock, informers } = open();
  const informer = informers.get(configMaps);
  const seen = record(informer);
  await informer.synced(AbortSignal.timeout(5000));
  await settled();
  fake.put('a');
  await settled();
  fake.breakWatches('END');
  fake.put('b');
  await settled();
  await clock.advance(1000);
  t.deepEqual(seen, ['+a', '+b']);
  t.is(fake.calls.filter((call) => call === 'list').length, 1);
  informer.close();
});

test('indexes follow every change', async (t) => {
  const { fake, informers } = open();
  fake.put('a', { labels: { app: 'x' } });
  const informer = informers.get(configMaps);
  const names = (value: string) =>
    informer
      .byIndex('app', value)
      .map((object) => object.metadata.name)
      .toSorted();
  informer.addIndex('app', (object) => Object.values(object.metadata.labels ?? {}));
  t.throws(() => informer.byIndex('other', 'x'), { message: /no index "other"/ });
  await informer.synced(AbortSignal.timeout(5000));
  await settled();
  fake.put('b', { labels: { app: 'x' } });
  await settled();
  t.deepEqual(names('x'), ['a', 'b']);
  fake.put('a', { labels: { app: 'y' } });
  fake.remove('b');
  await settled();
  t.deepEqual(names('x'), []);
  t.deepEqual(names('y'), ['a']);
  // An index that comes later holds what is known already.
  informer.addIndex('name', (object) => [object.metadata.name]);
  t.is(informer.byIndex('name', 'a').length, 1);
  informer.close();
});

test('resync repeats every object, only to who asked', async (t) => {
  const { fake, clock, informers } = open();
  fake.put('a');
  const plain = record(informers.get(configMaps));
  const informer = informers.get(configMaps, { resyncMs: 5000 });
  const seen = record(informer);
  await informer.synced(AbortSignal.timeout(5000));
  await settled();
  await clock.advance(5000);
  await clock.advance(5000);
  t.deepEqual(seen, ['+a', '~a', '~a']);
  t.deepEqual(plain, ['+a']);
  informer.close();
});

test('one copy and one watch for all users; it ends with the last', async (t) => {
  const { fake, informers } = open();
  fake.put('a');
  const first = informers.get(configMaps);
  const second = informers.get(configMaps);
  await second.synced(AbortSignal.timeout(5000));
  await settled();
  t.is(fake.watchers, 1);
  const late = record(informers.get(configMaps));
  t.deepEqual(late, ['+a'], 'a late listener is told what is known');
  const other = informers.get(configMaps, { labelSelector: 'app=x' });
  await settled();
  t.is(fake.watchers, 2);
  other.close();
  first.close();
  first.close();
  await settled();
  t.is(fake.watchers, 1);
  t.is(informersFor(fake.cluster), informersFor(fake.cluster));
});

test('after close nothing is reported and the watch is gone', async (t) => {
  const { fake, informers } = open();
  const informer = informers.get(configMaps);
  const seen = record(informer);
  await informer.synced(AbortSignal.timeout(5000));
  await settled();
  informer.close();
  await settled();
  t.is(fake.watchers, 0);
  fake.put('a');
  await settled();
  t.deepEqual(seen, []);
});

test('a listener that throws harms no other', async (t) => {
  const { fake, informers } = open();
  const informer = informers.get(configMaps);
  informer.onChange(() => {
    throw new Error('mine');
  });
  const seen = record(informer);
  await informer.synced(AbortSignal.timeout(5000));
  await settled();
  fake.put('a');
  await settled();
  t.deepEqual(seen, ['+a']);
  informer.close();
});

test('synced rejects with the reason of its signal', async (t) => {
  const { fake, informers } = open();
  fake.failNext.push('UNAVAILABLE');
  const informer = informers.get(configMaps);
  const abort = new AbortController();
  const waiting = informer.synced(abort.signal);
  abort.abort(new Error('enough'));
  await t.throwsAsync(waiting, { message: 'enough' });
  informer.close();
});
