import test from 'ava';
import { Pace } from '../../../kernel/machinery/pace.ts';
import type { WorkQueue } from '../../../kernel/machinery/work-queue.ts';
import { ManualClock } from './manual-clock.ts';

test('a large key waits in proportion, a small one never', async (t) => {
  const clock = new ManualClock();
  const delayed: (readonly [string, number])[] = [];
  const queue = { addAfter: (key: string, ms: number) => void delayed.push([key, ms]) } as unknown as WorkQueue<string>;
  const pace = new Pace(clock, 0.05);
  pace.worked('small', 19);
  t.true(pace.mayWork('small', queue));
  pace.worked('large', 1000);
  t.false(pace.mayWork('large', queue));
  t.deepEqual(delayed, [['large', 50]]);
  t.true(pace.mayWork('other', queue));
  await clock.advance(49);
  t.false(pace.mayWork('large', queue));
  await clock.advance(1);
  t.true(pace.mayWork('large', queue));
  t.true(pace.mayWork('large', queue), 'until it has worked again');
});
