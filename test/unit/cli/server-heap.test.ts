/** When a server's heap may double before it is collected. */
import test from 'ava';
import { growthFor } from '../../../cli/server-heap.ts';

const megabytes = 2 ** 20;

test('a heap is kept small at a steady load, and may double where collections would follow each other', (t) => {
  t.is(growthFor(4000, 90 * megabytes), 40);
  t.is(growthFor(500, 90 * megabytes), 100);
  t.is(growthFor(4000, 400 * megabytes), 100, 'a larger heap takes longer');
  t.is(growthFor(30_000, 400 * megabytes), 40);
});
