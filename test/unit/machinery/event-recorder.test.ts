import test from 'ava';
import { PintleError, type Cluster } from '../../../kernel/contract/index.ts';
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

const withEach = ({ cluster }: FakeCluster, createEach: Cluster['createEach']) =>
  ({ create: cluster.create.bind(cluster), patch: cluster.patch.bind(cluster), createEach }) as Cluster;

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

test('over a network, events that happen together go in one request, by namespace; a refused one is dropped alone', async (t) => {
  const { fake, clock, subject, events } = open();
  const requests: string[][] = [];
  const createEach: Cluster['createEach'] = async (type, objects) => {
    requests.push(objects.map(({ metadata: { namespace, name } }) => `${namespace}/${name?.split('.')[0]}`));
    return Promise.all(
      objects.map(async (object) => {
        if ((object as { reason?: unknown }).reason === 'Pulled') return new PintleError('FORBIDDEN', 'not this one');
        await fake.cluster.create(type, object);
        return undefined;
      }),
    );
  };
  const cluster = withEach(fake, createEach);
  const record = eventRecorder(cluster, { component: 'tester', clock });
  const elsewhere = { ...subject, metadata: { ...subject.metadata, namespace: 'else', uid: 'e', name: 'e' } };
  record(subject, 'Normal', 'Pulled', 'p');
  record(elsewhere, 'Normal', 'Alone', 'x');
  record(subject, 'Normal', 'Created', 'c');
  record(subject, 'Normal', 'Started', 's');
  record(subject, 'Normal', 'Started', 's');
  await record.idle();
  t.deepEqual(requests, [['default/subject', 'default/subject', 'default/subject']], 'a single one has its own');
  t.deepEqual(
    events()
      .map(({ reason, count }) => `${reason} ${count}`)
      .toSorted(),
    ['Alone 1', 'Created 1', 'Started 2'],
    'Pulled was refused',
  );
  record(subject, 'Normal', 'Started', 's');
  record(subject, 'Normal', 'Killing', 'k');
  await record.idle();
  t.is(events().find(({ reason }) => reason === 'Started')?.count, 3);
  t.is(requests.length, 1, 'a count is raised, and one more is made, each by itself');
});

test('over a network, events are written soon without being asked for', async (t) => {
  const { fake, clock, subject, events } = open();
  const createEach: Cluster['createEach'] = async (type, objects) => {
    for (const object of objects) await fake.cluster.create(type, object);
    return objects.map(() => undefined);
  };
  const cluster = withEach(fake, createEach);
  const record = eventRecorder(cluster, { component: 'tester', clock });
  record(subject, 'Normal', 'One', 'x');
  record(subject, 'Normal', 'Two', 'x');
  t.is(events().length, 0);
  const sleep = () => new Promise((resolve) => setTimeout(resolve, 10));
  for (const end = Date.now() + 30_000; events().length < 2 && Date.now() < end;) await sleep();
  t.is(events().length, 2);
});
