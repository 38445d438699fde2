import test from 'ava';
import type { Event } from '../../../kernel/contract/kubernetes.ts';
import { eventRecorder } from '../../../kernel/machinery/event-recorder.ts';
import { FakeCluster } from './fake-cluster.ts';
import { ManualClock } from './manual-clock.ts';

function open() {
  const fake = new FakeCluster();
  const subject = fake.put('subject');
  fake.objects.clear();
  const clock = new ManualClock();
  const record = eventRecorder(fake.cluster, { component: 'tester', host: 'n1', clock });
  const events = () => [...fake.objects.values()] as unknown as Event[];
  return { fake, clock, record, subject, events };
}

test('the same event again raises the count of the first', async (t) => {
  const { clock, record, subject, events } = open();
  record(subject, 'Warning', 'Failed', 'It failed');
  await record.idle();
  await clock.advance(5000);
  record(subject, 'Warning', 'Failed', 'It failed');
  record(subject, 'Warning', 'Failed', 'It failed');
  record(subject, 'Normal', 'Other', 'Else');
  await record.idle();
  t.is(events().length, 2);
  const [event] = events();
  t.like(event, {
    count: 3,
    reason: 'Failed',
    type: 'Warning',
    message: 'It failed',
    source: { component: 'tester', host: 'n1' },
    involvedObject: { kind: 'ConfigMap', name: 'subject', namespace: 'default', uid: subject.metadata.uid },
  });
  t.is(Date.parse(event?.lastTimestamp ?? '') - Date.parse(event?.firstTimestamp ?? ''), 5000);
});

test('an event that expired is written anew', async (t) => {
  const { fake, record, subject, events } = open();
  record(subject, 'Normal', 'Again', 'x');
  await record.idle();
  fake.objects.clear();
  record(subject, 'Normal', 'Again', 'x');
  await record.idle();
  t.like(events()[0], { count: 2, reason: 'Again' });
});

test('a flood of one object is cut, other objects are not', async (t) => {
  const { fake, clock, record, subject, events } = open();
  const other = { ...subject, metadata: { ...subject.metadata, uid: 'other', name: 'other' } };
  for (let i = 0; i < 100; i++) record(subject, 'Normal', 'Flood', `number ${i}`);
  record(other, 'Normal', 'Fine', 'x');
  await record.idle();
  t.is(events().filter((event) => event.reason === 'Flood').length, 25);
  t.is(events().filter((event) => event.reason === 'Fine').length, 1);
  await clock.advance(300_000);
  fake.objects.clear();
  record(subject, 'Normal', 'Later', 'x');
  await record.idle();
  t.is(events().length, 1);
});

test('a server that refuses costs the event, not the caller', async (t) => {
  const { fake, record, subject, events } = open();
  fake.failNext.push('UNAVAILABLE');
  t.notThrows(() => record(subject, 'Normal', 'Lost', 'x'));
  await record.idle();
  t.is(events().length, 0);
});
