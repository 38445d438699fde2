import test from 'ava';
import { verdictsOf, type Verdict } from '../../../bench/method/verdicts.ts';
import { type Cells, suiteOf } from './results.ts';

const verdict = (cells: Cells, metric: string): Verdict =>
  verdictsOf(suiteOf(cells)).find((one) => one.metric.id === metric)!;

const outcome = (cells: Cells, metric: string) => verdict(cells, metric).contests[0]!;

const routed = { speed: [10, 11, 9, 10, 10], delay: [50, 51, 49, 50, 50] };

test('a cell is a share of its baseline, round by round: drift that hits both is not in it', (t) => {
  const drifting = { speed: [10, 20, 5, 40, 10] };
  const { figures } = verdict({ routed: drifting, a: { speed: [5, 10, 2.5, 20, 5] } }, 'speed');
  const { relative, isVague } = figures[1]!;
  t.deepEqual([relative?.median, relative?.low, relative?.high, isVague], [0.5, 0.5, 0.5, false]);
  t.true(figures[0]!.isVague, 'the baseline by itself varies eightfold');
});

test('a winner beats each other cell in every round', (t) => {
  const cells = { routed, a: { speed: [9, 10, 8, 9, 9] }, b: { speed: [6, 7, 5, 6, 6] } };
  t.is(outcome(cells, 'speed').winner, 'a');
});

test('less is better where the metric says so, and the baseline is no rival', (t) => {
  const cells = { routed, a: { delay: [90, 91, 89, 90, 90] }, b: { delay: [60, 61, 59, 60, 60] } };
  t.is(outcome(cells, 'delay').winner, 'b');
});

test('no winner: overlapping, too few rounds, too wide', (t) => {
  const close = outcome({ routed, a: { speed: [9, 10, 8, 9, 8.9] }, b: { speed: [8.9, 9.9, 8.1, 9, 9] } }, 'speed');
  t.deepEqual([close.winner, /no clear lead/.test(close.why)], [undefined, true]);
  const few = outcome({ routed, a: { speed: [9, 9] }, b: { speed: [1, 1] } }, 'speed');
  t.deepEqual([few.winner, few.why], [undefined, 'too few rounds to say']);
  const wide = outcome({ routed, a: { speed: [9, 3, 8, 20, 9] }, b: { speed: [1, 1, 1, 1, 1] } }, 'speed');
  t.deepEqual([wide.winner, /too wide/.test(wide.why)], [undefined, true]);
});

test('differences are differences: a loss of nothing has no share', (t) => {
  const cells = { routed: { loss: [0, 0, 0, 0, 0] }, a: { loss: [1, 1.1, 0.9, 1, 1] } };
  const { figures } = verdict(cells, 'loss');
  t.deepEqual([figures[1]?.relative?.median, figures[1]?.isVague], [1, false]);
});

test('cells of different work are no rivals', (t) => {
  const suite = suiteOf({ routed, a: { speed: [9, 9, 9, 9, 9] }, b: { speed: [6, 6, 6, 6, 6] } });
  const [, a, b] = suite.cells;
  Object.assign(a!, { contest: '1 Service' });
  Object.assign(b!, { contest: '1000 Services' });
  const { contests } = verdictsOf(suite).find(({ metric }) => metric.id === 'speed')!;
  t.deepEqual(
    contests.map(({ name, winner }) => [name, winner]),
    [
      ['1 Service', undefined],
      ['1000 Services', undefined],
    ],
  );
});
