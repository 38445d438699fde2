import test from 'ava';
import { keepUnchanged } from '../../../bench/bed/keep-unchanged.ts';

const ports = (...names: string[]) => names.map((name) => ({ name, endpoints: [{ address: `of ${name}` }] }));

test('equal values are the objects of before; what differs is new, its unchanged parts are not', (t) => {
  const before = [{ ports: ports('a', 'b', 'c') }] as const;
  t.is(keepUnchanged(before, [{ ports: ports('a', 'b', 'c') }]), before as never);
  const [state] = before;
  const more = keepUnchanged(state, { ports: ports('a', 'b', 'c', 'd') });
  t.deepEqual(more, { ports: ports('a', 'b', 'c', 'd') });
  t.true([0, 1, 2].every((index) => more.ports[index] === state.ports[index]));
  const fewer = keepUnchanged(state, { ports: ports('b', 'c') });
  t.deepEqual(fewer, { ports: ports('b', 'c') });
  t.true(fewer.ports[0] === state.ports[1] && fewer.ports[1] === state.ports[2]);
  const inserted = keepUnchanged(state, { ports: ports('a', 'x', 'b', 'c') });
  t.deepEqual(inserted, { ports: ports('a', 'x', 'b', 'c') });
  t.true(inserted.ports[0] === state.ports[0] && inserted.ports[3] === state.ports[2]);
  const changed = keepUnchanged(state, {
    ports: [ports('a')[0]!, { ...ports('b')[0]!, endpoints: [] }, ports('c')[0]!],
  });
  t.deepEqual(changed.ports[1], { name: 'b', endpoints: [] });
  t.true(changed.ports[0] === state.ports[0] && changed.ports[2] === state.ports[2]);
});

test('keys that went or came, and other kinds of values', (t) => {
  t.deepEqual(keepUnchanged({ a: 1, b: undefined }, { a: 1 }), { a: 1 } as never);
  t.deepEqual(keepUnchanged({ a: 1 }, { a: 1, b: undefined }), { a: 1, b: undefined } as never);
  t.deepEqual(keepUnchanged([1], { 0: 1 } as never), { 0: 1 } as never);
  t.is(keepUnchanged(undefined, 'x'), 'x');
  t.is(keepUnchanged(null, 3 as never), 3 as never);
});
