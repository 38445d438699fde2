import test from 'ava';
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

/** Noise of one and the same thing: factors around one, by a generator that always draws the same. */
function* drawn(seed: number, shape: (uniform: () => number) => number): Generator<number, never> {
  let state = seed;
  const uniform = (): number => {
    // xorshift32
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
  for (;;) yield shape(uniform);
}

const bell = (uniform: () => number): number =>
  Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
const noises: Readonly<Record<string, (uniform: () => number) => number>> = {
  even: (uniform) => 0.8 + 0.4 * uniform(),
  normal: (uniform) => 1 + 0.1 * bell(uniform),
  lognormal: (uniform) => Math.exp(0.3 * bell(uniform)),
  'with spikes': (uniform) => 1 + 0.05 * bell(uniform) + (uniform() < 0.2 ? uniform() : 0),
  'two modes': (uniform) => (uniform() < 0.5 ? 1 : 3) * (1 + 0.05 * bell(uniform)),
};

/** Cells of one comparison: as many pairs as a standard matrix has, or a single one. */
const cellsOf = (count: number, take: (base: number) => number[]): Cells => ({
  routed: { speed: take(10) },
  ...Object.fromEntries(Array.from({ length: count }, (_, index) => [`cell ${index}`, { speed: take(9) }])),
});

for (const [name, shape] of Object.entries(noises))
  // Whether a figure has two modes cannot be known of two or three rounds: they are all in one now and then.
  for (const rounds of name === 'two modes' ? [10] : [2, 3, 5, 10])
    test(`two runs of the same, ${rounds} rounds, noise ${name}: whole comparisons find nothing`, (t) => {
      const noise = drawn(7, shape);
      const take = (base: number): number[] => Array.from({ length: rounds }, () => noise.next().value * base);
      let alarms = 0;
      for (let count = 0; count < 20; count += 1) {
        const [before, after] = [cellsOf(400, take), cellsOf(400, take)].map((cells) => resultOf(suiteOf(cells)));
        if (compareResults(before!, after!).some(({ change }) => change !== 'same')) alarms += 1;
      }
      // One in twenty is promised: of twenty, one. Five would be one in four hundred.
      t.true(alarms <= 4, `${alarms} of 20 comparisons of 400 figures`);
    });

test('the more is compared, the more a change must stand out of the noise', (t) => {
  const flat = { routed: { speed: [10, 10, 10, 10, 10] } };
  const [before, after] = [{ speed: [9, 9.3, 8.7, 9, 9] }, { speed: [8.3, 8, 7.8, 8, 8] }];
  t.is(changes({ ...flat, a: before }, { ...flat, a: after })['speed'], 'worse');
  const others = cellsOf(900, () => [9, 9.3, 8.7, 9, 9]);
  const all = compareResults(
    resultOf(suiteOf({ ...flat, ...others, ...flat, a: before })),
    resultOf(suiteOf({ ...flat, ...others, ...flat, a: after })),
  );
  t.is(all.find(({ cell }) => cell === 'a')?.change, 'same');
});

test('one round says nothing, two only what is far beyond their spread', (t) => {
  const of = (speed: readonly number[]): Cells => ({ routed: { speed: speed.map(() => 10) }, a: { speed } });
  t.is(changes(of([9]), of([1]))['speed'], 'same');
  t.is(changes(of([9, 8]), of([6, 5]))['speed'], 'same');
  t.is(changes(of([9, 8.9]), of([6, 5.9]))['speed'], 'worse');
});

test('what got a third slower is told, noise of a few percent or not', (t) => {
  const noise = drawn(11, (uniform) => 1 + 0.03 * bell(uniform));
  const take = (base: number): number[] => Array.from({ length: 5 }, () => noise.next().value * base);
  for (let count = 0; count < 50; count += 1) {
    const before = { routed: { speed: take(10) }, a: { speed: take(9) } };
    const after = { routed: { speed: take(10) }, a: { speed: take(6) } };
    t.is(changes(before, after)['speed'], 'worse');
  }
});
