import test from 'ava';
import { levelOf } from '../../../bench/method/level.ts';

const series = (valueAt: (at: number) => number): number[] => Array.from({ length: 20 }, (_, at) => valueAt(at));

test('growth up to a bound in the first half is level, growth in the second is not', (t) => {
  t.like(levelOf(series((at) => Math.min(at, 9) * 30)), { earlier: 270, later: 270, isLevel: true });
  t.true(levelOf(series((at) => 200 + (at % 3) * 10)).isLevel, 'saw teeth');
  t.false(levelOf(series((at) => 100 + at * 10)).isLevel);
  t.false(levelOf(series((at) => (at < 15 ? 100 : 200))).isLevel);
  t.true(levelOf(series((at) => 300 - at * 10)).isLevel);
  t.false(levelOf(series(() => Number.NaN)).isLevel, 'a process that could not be measured');
  t.throws(() => levelOf([1, 2, 3]), { message: /at least 7 values/ });
});
