import test from 'ava';
import { leastGap, median, medianInterval, quantile } from '../../../bench/method/statistics.ts';

test('quantiles lie between order statistics', (t) => {
  t.is(quantile([1, 2, 3, 4], 0.5), 2.5);
  t.is(quantile([1, 2, 3], 1), 3);
  t.is(median([9, 1, 5]), 5);
  t.is(quantile([], 0.5), Number.NaN);
});

const upTo = (count: number): number[] => Array.from({ length: count }, (_, index) => count - index);

test('few values: the whole range, with the coverage that it has', (t) => {
  const { low, high, coverage, median: middle } = medianInterval(upTo(5));
  t.deepEqual([low, high, middle], [1, 5, 3]);
  t.is(coverage, 1 - 2 * 0.5 ** 5);
  t.is(medianInterval([7]).coverage, 0);
});

test('many values: the narrowest order statistics that cover the median with 95 %', (t) => {
  // Tables of the sign test: n = 10 takes the 2nd and the 9th (97.9 %), n = 20 the 6th and the 15th (95.9 %).
  const ten = medianInterval(upTo(10));
  t.deepEqual([ten.low, ten.high], [2, 9]);
  t.true(Math.abs(ten.coverage - 0.9785) < 0.001);
  const twenty = medianInterval(upTo(20));
  t.deepEqual([twenty.low, twenty.high], [6, 15]);
  t.true(Math.abs(twenty.coverage - 0.9586) < 0.001);
});

test('one outlier of ten moves neither the median nor the interval', (t) => {
  const steady = [10, 11, 12, 13, 14, 15, 16, 17, 18, 19];
  const { low, high, median: middle } = medianInterval([...steady.slice(0, 9), 1e9]);
  t.deepEqual([low, high, middle], [11, 18, 14.5]);
});

test('how far apart is far enough: farther for fewer values and for a smaller chance, and never for one value', (t) => {
  t.is(leastGap(1, 0.05), Number.POSITIVE_INFINITY);
  for (const chance of [1e-2, 1e-3, 1e-4])
    for (const count of [2, 3, 4, 5, 6, 7]) t.true(leastGap(count, chance) >= leastGap(count + 1, chance));
  for (const count of [2, 3, 5, 9, 20]) t.true(leastGap(count, 1e-5) > leastGap(count, 1e-4));
  t.is(leastGap(5, 1 / 126), 0, 'two ranges of five lie apart by chance once in 126 times');
  t.true(leastGap(5, 1 / 127) > 0);
});
