import test from 'ava';
import { createWorkQueue } from '../../../kernel/machinery/work-queue.ts';
import { workQueueMetrics } from '../../../kernel/machinery/metrics/work-queue-metrics.ts';
import { ManualClock, settled } from './manual-clock.ts';

function gate() {
  let open: () => void = () => undefined;
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { opened, open };
}

test('a key added many times before it runs, runs once', async (t) => {
  const ran: string[] = [];
  const queue = createWorkQueue<string>({
    process: async (key) => {
      ran.push(key);
    },
  });
  queue.add('a');
  queue.add('b');
  queue.add('a');
  t.is(queue.length, 2);
  const stop = new AbortController();
  const done = queue.run(stop.signal);
  await settled();
  t.deepEqual(ran, ['a', 'b']);
  stop.abort();
  await done;
});

test('no two runs of one key at once; a key added during its run runs once more', async (t) => {
  const first = gate();
  let runs = 0;
  let atOnce = 0;
  const queue = createWorkQueue<string>({
    concurrency: 4,
    process: async () => {
      runs++;
      atOnce++;
      t.is(atOnce, 1);
      if (runs === 1) await first.opened;
      atOnce--;
    },
  });
  const stop = new AbortController();
  const done = queue.run(stop.signal);
  queue.add('a');
  await settled();
  queue.add('a');
  queue.add('a');
  await settled();
  t.is(runs, 1);
  first.open();
  await settled();
  t.is(runs, 2);
  stop.abort();
  await done;
});

test('other keys run beside, up to the concurrency', async (t) => {
  const hold = gate();
  const started: string[] = [];
  const queue = createWorkQueue<string>({
    concurrency: 2,
    process: async (key) => {
      started.push(key);
      await hold.opened;
    },
  });
  const stop = new AbortController();
  const done = queue.run(stop.signal);
  for (const key of ['a', 'b', 'c']) queue.add(key);
  await settled();
  t.deepEqual(started, ['a', 'b']);
  hold.open();
  await settled();
  t.deepEqual(started, ['a', 'b', 'c']);
  stop.abort();
  await done;
});

test('exponential backoff for each key by itself; success resets it', async (t) => {
  const clock = new ManualClock();
  let fail = true;
  const ran: string[] = [];
  const queue = createWorkQueue<string>({
    clock,
    backoff: { minMs: 100, maxMs: 250 },
    process: async (key) => {
      ran.push(key);
      if (fail && key === 'bad') throw new Error('no');
    },
  });
  const stop = new AbortController();
  const done = queue.run(stop.signal);
  queue.add('bad');
  queue.add('good');
  await settled();
  t.deepEqual(ran, ['bad', 'good']);
  const runsAfter = async (ms: number) => {
    await clock.advance(ms);
    return ran.filter((key) => key === 'bad').length;
  };
  t.is(await runsAfter(99), 1);
  t.is(await runsAfter(1), 2);
  t.is(await runsAfter(199), 2);
  t.is(await runsAfter(1), 3);
  t.is(await runsAfter(249), 3, 'the third delay would be 400 but for the maximum');
  fail = false;
  t.is(await runsAfter(1), 4);
  t.is(await runsAfter(10_000), 4);
  fail = true;
  queue.add('bad');
  await settled();
  t.is(await runsAfter(99), 5);
  t.is(await runsAfter(1), 6, 'after a success the delay starts anew');
  stop.abort();
  await done;
});

test('addAfter: the earliest of several delays counts; add makes it moot', async (t) => {
  const clock = new ManualClock();
  const ran: string[] = [];
  const queue = createWorkQueue<string>({
    clock,
    process: async (key) => {
      ran.push(key);
    },
  });
  const stop = new AbortController();
  const done = queue.run(stop.signal);
  queue.addAfter('late', 5000);
  queue.addAfter('a', 3000);
  queue.addAfter('a', 1000);
  queue.addAfter('a', 2000);
  await settled();
  await clock.advance(999);
  t.deepEqual(ran, []);
  await clock.advance(1);
  t.deepEqual(ran, ['a']);
  queue.add('late');
  await settled();
  t.deepEqual(ran, ['a', 'late']);
  await clock.advance(10_000);
  t.deepEqual(ran, ['a', 'late']);
  stop.abort();
  await done;
  t.is(clock.sleeping, 0, 'nothing sleeps on after the end');
});

test('abort: run resolves only when the work in flight has ended, and starts nothing new', async (t) => {
  const hold = gate();
  const ran: string[] = [];
  let ended = false;
  const queue = createWorkQueue<string>({
    process: async (key, signal) => {
      ran.push(key);
      await hold.opened;
      t.true(signal.aborted);
    },
  });
  const stop = new AbortController();
  const done = queue.run(stop.signal).then(() => {
    ended = true;
  });
  queue.add('a');
  queue.add('b');
  await settled();
  stop.abort();
  await settled();
  t.false(ended);
  hold.open();
  await done;
  t.deepEqual(ran, ['a']);
});

test('a queue that has a name counts what it does while it runs', async (t) => {
  const stop = new AbortController();
  let failures = 1;
  const queue = createWorkQueue<string>({
    name: 'counted',
    backoff: { minMs: 1, maxMs: 1 },
    process: async () => {
      if (failures-- > 0) throw new Error('once');
      stop.abort();
    },
  });
  const running = queue.run(stop.signal);
  queue.add('a');
  const line = (text: string) => workQueueMetrics().split('\n').includes(text);
  t.true(line('workqueue_adds_total{name="counted"} 1'));
  while (!line('workqueue_retries_total{name="counted"} 1')) await new Promise((resolve) => setTimeout(resolve, 1));
  t.true(line('workqueue_work_duration_seconds_count{name="counted"} 1'));
  await running;
  t.notRegex(workQueueMetrics(), /name="counted"/);
});
