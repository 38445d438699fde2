import test from 'ava';
import { Expectations } from '../../../kernel/machinery/expectations.ts';
import { createInformers } from '../../../kernel/machinery/informer.ts';
import { resources } from '../../../kernel/machinery/resources.ts';
import { FakeCluster } from './fake-cluster.ts';
import { ManualClock, settled } from './manual-clock.ts';

async function open() {
  const fake = new FakeCluster();
  const clock = new ManualClock();
  const informer = createInformers(fake.cluster, undefined, { clock }).get(resources.configMaps);
  await informer.synced(AbortSignal.timeout(5000));
  await settled();
  return { fake, clock, informer, expectations: new Expectations(clock) };
}

test('a write is awaited until the cache has seen it, or anything later', async (t) => {
  const { fake, informer, expectations } = await open();
  t.true(expectations.areMet('k'));
  const written = fake.put('a');
  expectations.written('k', informer, written as never);
  t.false(expectations.areMet('k'));
  t.true(expectations.areMet('other'));
  fake.remove('a');
  await settled();
  t.true(expectations.areMet('k'), 'also when the object is gone again');
  expectations.written('k', informer, written as never);
  t.true(expectations.areMet('k'), 'what was seen already is not awaited');
  informer.close();
});

test('a deletion is awaited until the object is gone, going, or another', async (t) => {
  const { fake, informer, expectations } = await open();
  const object = fake.put('a');
  await settled();
  expectations.deleted('k', informer, object as never);
  t.false(expectations.areMet('k'));
  fake.put('a');
  await settled();
  t.false(expectations.areMet('k'), 'an update is no deletion');
  fake.remove('a');
  await settled();
  t.true(expectations.areMet('k'));
  informer.close();
});

test('what never shows is given up after five minutes; forget gives up at once', async (t) => {
  const { fake, clock, informer, expectations } = await open();
  const never = { ...fake.put('a') };
  expectations.written('k', informer, {
    ...never,
    metadata: { ...never.metadata, resourceVersion: '999999' },
  } as never);
  await settled();
  await clock.advance(299_000);
  t.false(expectations.areMet('k'));
  await clock.advance(2000);
  t.true(expectations.areMet('k'));
  expectations.written('k', informer, {
    ...never,
    metadata: { ...never.metadata, resourceVersion: '999999' },
  } as never);
  t.false(expectations.areMet('k'));
  expectations.forget('k');
  t.true(expectations.areMet('k'));
  informer.close();
});
