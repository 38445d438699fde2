import test from 'ava';
import fc from 'fast-check';
import { backoffDelay } from '../../../kernel/machinery/backoff.ts';
import { Heap } from '../../../kernel/machinery/heap.ts';

test('a heap gives back what a sorted list would, pushes and pops mixed', (t) => {
  fc.assert(
    fc.property(fc.array(fc.option(fc.integer(), { nil: undefined })), (steps) => {
      const heap = new Heap<number>((a, b) => a < b);
      const list: number[] = [];
      for (const step of steps) {
        if (step !== undefined) {
          heap.push(step);
          list.push(step);
          list.sort((a, b) => a - b);
        } else if (heap.peek() !== list[0] || heap.pop() !== list.shift()) return false;
        if (heap.size !== list.length) return false;
      }
      while (list.length > 0) if (heap.pop() !== list.shift()) return false;
      return heap.pop() === undefined;
    }),
  );
  t.pass();
});

test('backoff doubles up to its maximum; jitter takes away a part', (t) => {
  const delays = [1, 2, 3, 4, 5, 1000].map((failures) => backoffDelay(failures, { minMs: 100, maxMs: 1000 }));
  t.deepEqual(delays, [100, 200, 400, 800, 1000, 1000]);
  t.is(backoffDelay(1, { minMs: 100, maxMs: 1000, jitter: 0.5, random: () => 0.5 }), 75);
  for (let i = 0; i < 100; i++) {
    const delay = backoffDelay(2, { minMs: 100, maxMs: 1000, jitter: 0.5 });
    t.true(delay > 100 && delay <= 200);
  }
});
