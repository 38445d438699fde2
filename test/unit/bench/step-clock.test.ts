import test from 'ava';
import { StepClock } from '../../../bench/run/step-clock.ts';

test('time left: what a cell took itself, else what its weight says', (t) => {
  let now = 0;
  const clock = new StepClock([{ rounds: 2, cells: [{ id: 'small' }, { id: 'large', weight: 10 }] }], () => now);
  t.deepEqual(clock.begin(), { done: 0, left: 4, secondsLeft: undefined });
  now += 2_000;
  clock.end(0, 'small');
  t.deepEqual(clock.begin(), { done: 1, left: 3, secondsLeft: 42 }, 'one small and two large ones, ten times as long');
  now += 50_000;
  clock.end(0, 'large');
  t.deepEqual(clock.begin(), { done: 2, left: 2, secondsLeft: 52 });
});

test('suites not begun are expected to be as the others; a cell that is out leaves nothing to do', (t) => {
  let now = 0;
  const suite = { rounds: 3, cells: [{ id: 'a' }] };
  const clock = new StepClock([suite, suite], () => now);
  clock.begin();
  now += 1_000;
  clock.end(0, 'a');
  t.is(clock.begin().secondsLeft, 5);
  now += 1_000;
  clock.end(0, 'a', 2);
  t.deepEqual(clock.begin(), { done: 2, left: 3, secondsLeft: 3 });
});
