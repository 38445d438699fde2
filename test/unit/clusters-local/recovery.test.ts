import test from 'ava';
import { PintleError, isPintleError } from '../../../kernel/contract/index.ts';
import type { Store } from '../../../kernel/contract/index.ts';
import { collect, configMap, eventually, memoryStore, ns, open, refusal, types } from './harness.ts';

/** The store, whose next watches can be made to fail. */
function faulty(store: Store & AsyncDisposable): {
  store: Store & AsyncDisposable;
  failWatch(error: PintleError): void;
} {
  let fail: ((error: PintleError) => void) | undefined;
  const watch: Store['watch'] = async function* (query, signal) {
    const failed = new Promise<never>((_resolve, reject) => {
      fail = reject;
    });
    failed.catch(() => undefined);
    const inner = new AbortController();
    const stop = () => inner.abort();
    signal.addEventListener('abort', stop);
    const iterator = store.watch(query, inner.signal)[Symbol.asyncIterator]();
    try {
      for (;;) {
        const next = await Promise.race([iterator.next(), failed]);
        if (next.done) return;
        yield next.value;
      }
    } finally {
      signal.removeEventListener('abort', stop);
      inner.abort();
    }
  };
  return {
    store: Object.assign(Object.create(store), { watch }) as Store & AsyncDisposable,
    failWatch: (error) => fail?.(error),
  };
}

test('a watch on the store that breaks is taken up again without a gap', async (t) => {
  const { store, failWatch } = faulty(memoryStore(t));
  const { cluster, errors } = await open(t, { store });
  const watch = collect(t, cluster, types.configMaps);
  await cluster.create(types.configMaps, configMap('a'));
  failWatch(new PintleError('STORE_FAILED', 'a hiccup'));
  await cluster.create(types.configMaps, configMap('b'));
  await cluster.create(types.configMaps, configMap('c'));
  await watch.until(() => watch.events.length >= 3);
  t.deepEqual(watch.lines(), ['ADDED a', 'ADDED b', 'ADDED c']);
  t.true(errors.length >= 1);
  t.is(cluster.server!.checks().find(({ name }) => name === 'state')?.failure, undefined);
});

test('history that the store has forgotten: the state is read anew and watchers are told', async (t) => {
  const { store, failWatch } = faulty(memoryStore(t));
  const { cluster } = await open(t, { store });
  const clusterIP = '10.96.5.5';
  const service = { metadata: { name: 's', namespace: ns }, spec: { ports: [{ port: 1 }], clusterIP } };
  await cluster.create(types.services, service);
  const first = await cluster.create(types.configMaps, configMap('a'));
  const watch = collect(t, cluster, types.configMaps);
  const named = collect(t, cluster, types.configMaps, { namespace: ns, fieldSelector: 'metadata.name=a' });
  await watch.until(() => watch.events.length === 1);
  await named.until(() => named.events.length === 1);
  failWatch(new PintleError('COMPACTED', 'gone'));
  t.true(isPintleError(await watch.ended, 'EXPIRED'));
  t.true(isPintleError(await named.ended, 'EXPIRED'));
  await cluster.create(types.configMaps, configMap('b'));
  t.deepEqual(
    (await cluster.list(types.configMaps)).items.map(({ metadata }) => metadata.name),
    ['a', 'b'],
  );
  const old = collect(t, cluster, types.configMaps, {
    resourceVersion: String(Number(first.metadata.resourceVersion) - 1),
  });
  t.true(isPintleError(await old.ended, 'EXPIRED'));
  await refusal(
    t,
    cluster.create(types.services, { ...service, metadata: { name: 'other', namespace: ns } }),
    'INVALID',
  );
  await eventually(() => cluster.server!.checks().every(({ failure }) => failure === undefined));
  t.pass();
});
