import test from 'ava';
import { makePod } from '../../../kernel/conformance/scheduler-fixtures.ts';
import type { Pod } from '../../../kernel/contract/kubernetes.ts';
import { PendingPods, type PendingPod } from '../../../plugins/components/scheduler/pending-pods.ts';

const pod = (name: string, priority?: number): Pod => {
  const made = makePod({ name });
  return priority === undefined ? made : { ...made, spec: { ...made.spec, priority } };
};

const take = (pending: PendingPods, now = 0) => pending.take(now)?.key;

test('by priority, then by age', (t) => {
  const pending = new PendingPods();
  pending.put('low', pod('low'), 'c');
  pending.put('high', pod('high', 10), 'c');
  pending.put('low-2', pod('low-2'), 'c');
  t.deepEqual([take(pending), take(pending), take(pending), take(pending)], ['high', 'low', 'low-2', undefined]);
});

test('an update of a waiting pod neither doubles it nor moves it; another class makes it active', (t) => {
  const pending = new PendingPods();
  pending.put('a', pod('a'), 'c');
  pending.put('a', pod('a'), 'c');
  const taken = pending.take(0) as PendingPod;
  t.is(take(pending), undefined);
  pending.park(taken, 0);
  pending.put('a', pod('a'), 'c');
  t.is(take(pending), undefined);
  pending.put('a', pod('a'), 'other');
  t.is(take(pending), 'a');
});

test('retry waits 1 s, 2 s, 4 s, 8 s, then 10 s', (t) => {
  const pending = new PendingPods();
  pending.put('a', pod('a'), 'c');
  let now = 0;
  for (const wait of [1000, 2000, 4000, 8000, 10_000, 10_000]) {
    const taken = pending.take(now) as PendingPod;
    pending.retry(taken, now);
    t.is(pending.nextRetryAt(), now + wait);
    t.is(take(pending, now + wait - 1), undefined);
    now += wait;
  }
});

test('parked pods are woken one at a time, the most urgent first, not before their backoff', (t) => {
  const pending = new PendingPods();
  for (const [name, priority] of [
    ['a', 0],
    ['b', 5],
    ['c', 0],
  ] as const)
    pending.put(name, pod(name, priority), 'class');
  for (let i = 0; i < 3; i++) pending.park(pending.take(0) as PendingPod, 0);
  t.deepEqual([...pending.parkedClasses()], ['class']);
  t.deepEqual(pending.counts(), { active: 0, backoff: 0, unschedulable: 3 });
  pending.wake('class', 500);
  t.deepEqual([...pending.parkedClasses()], [], 'one is on its way already');
  t.is(take(pending, 500), undefined);
  t.is(take(pending, 1000), 'b');
  t.deepEqual([...pending.parkedClasses()], ['class']);
  pending.wake('class', 2000);
  t.is(take(pending, 2000), 'a');
});

test('when the woken pod is deleted, its class can be woken again', (t) => {
  const pending = new PendingPods();
  for (const name of ['a', 'b']) pending.put(name, pod(name), 'class');
  for (let i = 0; i < 2; i++) pending.park(pending.take(0) as PendingPod, 0);
  pending.wake('class', 5000);
  pending.remove('a');
  t.deepEqual([...pending.parkedClasses()], ['class']);
  pending.wake('class', 5000);
  t.is(take(pending, 5000), 'b');
  pending.remove('b');
  t.deepEqual([...pending.parkedClasses()], []);
  t.is(pending.get('b'), undefined);
});

test('a pod of the same name with another uid is another pod', (t) => {
  const pending = new PendingPods();
  pending.put('a', pod('a'), 'c');
  const taken = pending.take(0) as PendingPod;
  const again = pod('a');
  pending.put('a', { ...again, metadata: { ...again.metadata, uid: 'new' } }, 'c');
  pending.retry(taken, 0);
  t.is(pending.nextRetryAt(), undefined, 'what was taken is stale');
  t.is(pending.take(0)?.pod.metadata.uid, 'new');
});
