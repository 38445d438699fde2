import test from 'ava';
import fc from 'fast-check';
import { compareResults } from '../../../bench/method/compare-results.ts';
import { type Cells, resultOf, suiteOf } from './results.ts';

const routed = { speed: [10, 11, 9, 10, 10], delay: [50, 51, 49, 50, 50], loss: [0, 0, 0, 0, 0] };
const good = { speed: [9, 10, 8, 9, 9], delay: [60, 61, 59, 60, 60], loss: [0, 0, 0, 0, 0] };

const changes = (before: Cells, after: Cells): Record<string, string> =>
  Object.fromEntries(
    compareResults(resultOf(suiteOf(before)), resultOf(suiteOf(after))).map(({ metric, change }) => [
      metric?.id ?? 'cell',
      change,
    ]),
  );

test('a run beside itself: the same', (t) => {
  t.deepEqual(changes({ routed, a: good }, { routed, a: good }), { speed: 'same', delay: 'same', loss: 'same' });
});

test('slower, later, lossier: worse; the other way: better', (t) => {
  const bad = { speed: [4, 4, 4, 4, 4], delay: [90, 91, 89, 90, 90], loss: [1, 1.2, 0.8, 1, 1] };
  t.deepEqual(changes({ routed, a: good }, { routed, a: bad }), { speed: 'worse', delay: 'worse', loss: 'worse' });
  t.deepEqual(changes({ routed, a: bad }, { routed, a: good }), { speed: 'better', delay: 'better', loss: 'better' });
});

test('a machine half as fast is no change of the cell: its baseline is slower too', (t) => {
  const half = (cells: readonly number[]): number[] => cells.map((value) => value / 2);
  const slow = { routed: { speed: half(routed.speed) }, a: { speed: half(good.speed) } };
  t.is(changes({ routed, a: good }, slow)['speed'], 'same');
});

test('what overlaps, or moved less than counts, is the same', (t) => {
  t.is(changes({ routed, a: good }, { routed, a: { speed: [5, 6, 9, 5, 5] } })['speed'], 'same');
  t.is(
    changes({ routed, a: { speed: [9, 9.9, 8.1, 9, 9] } }, { routed, a: { speed: [8.8, 9.6, 7.9, 8.8, 8.8] } })[
      'speed'
    ],
    'same',
  );
});

test('a cell that behaves wrongly now is worse', (t) => {
  const after = suiteOf({ routed, a: {} });
  Object.assign(after.cells[1]!, { state: 'broken', reason: 'behaves wrongly: nothing comes through' });
  const [one] = compareResults(resultOf(suiteOf({ routed, a: good })), resultOf(after));
  t.deepEqual([one?.change, one?.detail], ['worse', 'behaves wrongly: nothing comes through']);
});

test('two runs that draw from the same noise differ in at most one of a hundred comparisons', (t) => {
  let different = 0;
  let all = 0;
  const noise = fc.array(fc.double({ min: 0.8, max: 1.2, noNaN: true }), { minLength: 20, maxLength: 20 });
  fc.assert(
    fc.property(noise, (factors) => {
      const take = (at: number, base: number): number[] => factors.slice(at, at + 5).map((factor) => factor * base);
      const run = (at: number): Cells => ({ routed: { speed: take(at, 10) }, a: { speed: take(at + 5, 9) } });
      all += 1;
      if (changes(run(0), run(10))['speed'] !== 'same') different += 1;
    }),
    { numRuns: 1_000, seed: 7 },
  );
  t.true(different <= all / 100, `${different} of ${all}`);
});
