import test from 'ava';
import fc from 'fast-check';
import { copyJson, deepFreeze, sameJson, shareUnchanged } from '../../../plugins/clusters/local/state/frozen-json.ts';
import { configMap, ns, open, pod, types } from './harness.ts';

const endpoint = (name: string, ready = true) => ({ addresses: [name], conditions: { ready }, targetRef: { name } });

test('what is equal is the former object itself', (t) => {
  const former = deepFreeze({ metadata: { labels: { a: 'b' } }, list: [1, { x: [2] }], none: null });
  t.is(shareUnchanged(copyJson(former), former), former);
  t.is(shareUnchanged<object>({ ...copyJson(former), more: undefined }, former), former);
  const next = shareUnchanged<Record<string, unknown>>({ ...copyJson(former), none: 0 }, former);
  t.not(next, former);
  t.is(next['metadata'], former.metadata);
  t.is(next['list'], former.list);
  t.deepEqual(next, { ...former, none: 0 } as never);
});

test('a list that gained or lost one part, or changed some, shares the others', (t) => {
  const names = ['a', 'b', 'c', 'd', 'e'];
  const former = deepFreeze({ endpoints: names.map((name) => endpoint(name)) });
  const sharedOf = (endpoints: readonly object[]) => {
    const next = shareUnchanged({ endpoints: copyJson(endpoints) }, former as { endpoints: readonly object[] });
    t.deepEqual(next, { endpoints } as typeof next);
    return next.endpoints.filter((each) => (former.endpoints as readonly object[]).includes(each)).length;
  };
  const all = former.endpoints;
  t.is(sharedOf([...all.slice(0, 2), endpoint('new'), ...all.slice(2)]), 5);
  t.is(sharedOf([endpoint('new'), ...all]), 5);
  t.is(sharedOf(all.slice(1)), 4);
  t.is(sharedOf([...all.slice(0, 2), ...all.slice(3)]), 4);
  t.is(sharedOf([endpoint('a'), endpoint('b', false), endpoint('c'), endpoint('d', false), endpoint('e')]), 3);
  t.is(sharedOf([]), 0);
});

test('any two documents: the result is the next one, and the former is as it was', (t) => {
  const json = fc.jsonValue({ maxDepth: 4 }) as fc.Arbitrary<unknown>;
  const related = fc.tuple(json, json).map(
    ([a, b]) =>
      [
        { a, list: [a, b, a] },
        { a, b, list: [b, a] },
      ] as const,
  );
  const property = fc.property(fc.oneof(fc.tuple(json, json), related), ([next, former]) => {
    const before = JSON.stringify(former);
    deepFreeze(former);
    const shared = shareUnchanged(copyJson(next), former);
    return (
      sameJson(shared, next) &&
      JSON.stringify(former) === before &&
      // -0 is 0 in JSON.
      (shared === former) === sameJson(next, former)
    );
  });
  t.notThrows(() => fc.assert(property));
});

test('a change keeps what it has not changed, and the versions stay apart', async (t) => {
  const { cluster } = await open(t);
  const first = await cluster.create(types.pods, pod('p'));
  const status = { kind: 'merge', body: { status: { phase: 'Running' } } } as const;
  const key = { namespace: ns, name: 'p' };
  const second = await cluster.patch(types.pods, key, status, { subresource: 'status' });
  t.is(second.spec, first.spec);
  t.not(second.metadata.resourceVersion, first.metadata.resourceVersion);
  t.is(first.status?.phase, 'Pending');
  t.is(second.status?.phase, 'Running');
  const same = await cluster.patch(types.pods, key, status, { subresource: 'status' });
  t.is(same, second);
  await cluster.create(types.configMaps, configMap('c', { data: { a: '1' } }));
  const merge = { kind: 'merge', body: { data: { b: '2' } } } as const;
  const changed = await cluster.patch(types.configMaps, { namespace: ns, name: 'c' }, merge);
  t.deepEqual(changed.data, { a: '1', b: '2' });
  t.true(Object.isFrozen(changed.data) && Object.isFrozen(changed.metadata));
});
