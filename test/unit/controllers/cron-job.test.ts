import test, { type ExecutionContext } from 'ava';
import type { Cluster } from '../../../kernel/contract/index.ts';
import type { CronJobSpec, Job } from '../../../kernel/contract/kubernetes.ts';
import { controllerOf, keyOf, splitKey } from '../../../kernel/machinery/metadata.ts';
import { resources } from '../../../kernel/machinery/resources.ts';
import cronJob from '../../../plugins/controllers/cron-job/index.ts';
import { cronerPattern, dueTime, parseSchedule } from '../../../plugins/controllers/cron-job/schedule.ts';
import garbageCollector from '../../../plugins/controllers/garbage-collector/index.ts';
import { ManualClock } from '../machinery/manual-clock.ts';
import { eventually, openControlPlane, podSpec, quiescence } from './control-plane.ts';

const key = { namespace: 'default', name: 'tick' };
const minute = 60_000;

async function open(t: ExecutionContext, start: string, spec: Partial<CronJobSpec> = {}, config = true) {
  const clock = new ManualClock();
  await clock.advance(Date.parse(start) - clock.now());
  const plane = await openControlPlane(t, clock);
  const { cluster } = plane;
  if (config) await plane.controller(cronJob, {}, clock);
  await cluster.create(resources.cronJobs, {
    metadata: key,
    spec: {
      schedule: '* * * * *',
      jobTemplate: {
        metadata: { labels: { app: 'tick' }, annotations: { note: 'kept' } },
        spec: { template: { spec: podSpec({ restartPolicy: 'OnFailure' }) } },
      },
      ...spec,
    },
  });
  await quiescence(cluster);
  const advance = async (ms: number) => {
    await clock.advance(ms);
    await quiescence(cluster);
  };
  return { ...plane, clock, advance };
}

const read = (cluster: Cluster) => cluster.get(resources.cronJobs, key);

const jobsOf = async (cluster: Cluster): Promise<readonly Job[]> =>
  (await cluster.list(resources.jobs, { namespace: 'default' })).items;

const namesOf = async (cluster: Cluster) => (await jobsOf(cluster)).map(({ metadata }) => metadata.name).toSorted();

const nameAt = (time: string) => `tick-${Date.parse(time) / minute}`;

async function reasonsOf(cluster: Cluster): Promise<ReadonlySet<string | undefined>> {
  await quiescence(cluster);
  return new Set((await cluster.list(resources.events, { namespace: 'default' })).items.map(({ reason }) => reason));
}

const finish = (cluster: Cluster, job: Job, type: 'Complete' | 'Failed', time: string) =>
  cluster.patch(
    resources.jobs,
    splitKey(keyOf(job)),
    {
      kind: 'merge',
      body: {
        status: {
          conditions: [{ type, status: 'True', lastTransitionTime: time }],
          startTime: time,
          ...(type === 'Complete' ? { completionTime: time, succeeded: 1 } : { failed: 1 }),
        },
      },
    },
    { subresource: 'status' },
  );

test('starts a Job when its minute has come, not before, and only once', async (t) => {
  const { cluster, advance } = await open(t, '2030-01-01T00:00:30Z');
  t.deepEqual(await namesOf(cluster), []);
  await advance(29_000);
  t.deepEqual(await namesOf(cluster), []);
  await advance(1_200);
  t.deepEqual(await namesOf(cluster), [nameAt('2030-01-01T00:01:00Z')]);
  const [job] = await jobsOf(cluster);
  t.like(controllerOf(job as Job), { apiVersion: 'batch/v1', kind: 'CronJob', name: 'tick' });
  t.is(job?.metadata.labels?.['app'], 'tick');
  t.like(job?.metadata.annotations, {
    note: 'kept',
    'batch.kubernetes.io/cronjob-scheduled-timestamp': '2030-01-01T00:01:00Z',
  });
  const { status } = await read(cluster);
  t.is(status?.lastScheduleTime, '2030-01-01T00:01:00Z');
  t.like(status?.active?.[0], {
    kind: 'Job',
    apiVersion: 'batch/v1',
    name: job?.metadata.name,
    uid: job?.metadata.uid,
  });
  await advance(30_000);
  t.is((await jobsOf(cluster)).length, 1);
  await advance(30_000);
  t.is((await jobsOf(cluster)).length, 2);
  t.true((await reasonsOf(cluster)).has('SuccessfulCreate'));
});

test('a finished Job leaves the active ones; the last success is noted', async (t) => {
  const { cluster, advance } = await open(t, '2030-01-01T00:00:30Z');
  await advance(31_000);
  const [job] = await jobsOf(cluster);
  await finish(cluster, job as Job, 'Complete', '2030-01-01T00:01:20Z');
  const { status } = await eventually('nothing is active', async () => {
    const found = await read(cluster);
    return (found.status?.active ?? []).length === 0 && found;
  });
  t.is(status?.lastSuccessfulTime, '2030-01-01T00:01:20Z');
  t.true((await reasonsOf(cluster)).has('SawCompletedJob'));
});

test('Forbid waits for the running Job and then starts the latest one that was missed', async (t) => {
  const { cluster, advance } = await open(t, '2030-01-01T00:00:30Z', { concurrencyPolicy: 'Forbid' });
  await advance(31_000);
  await advance(minute);
  await advance(minute);
  const [job, ...more] = await jobsOf(cluster);
  t.is(more.length, 0);
  t.true((await reasonsOf(cluster)).has('JobAlreadyActive'));
  await finish(cluster, job as Job, 'Complete', '2030-01-01T00:03:00Z');
  await eventually('the next has started', async () => (await jobsOf(cluster)).length === 2);
  t.deepEqual(await namesOf(cluster), [nameAt('2030-01-01T00:01:00Z'), nameAt('2030-01-01T00:03:00Z')]);
});

test('Replace ends the running Job, Allow leaves it', async (t) => {
  const { cluster, advance, controller } = await open(t, '2030-01-01T00:00:30Z', { concurrencyPolicy: 'Replace' });
  await controller(garbageCollector);
  await advance(31_000);
  await advance(minute);
  t.deepEqual(await namesOf(cluster), [nameAt('2030-01-01T00:02:00Z')]);
  t.is((await read(cluster)).status?.active?.length, 1);
  await cluster.patch(resources.cronJobs, key, { kind: 'merge', body: { spec: { concurrencyPolicy: 'Allow' } } });
  await advance(minute);
  t.is((await jobsOf(cluster)).length, 2);
  t.is((await read(cluster)).status?.active?.length, 2);
});

test('suspend starts nothing; after it, one Job makes up for all that were missed', async (t) => {
  const { cluster, advance } = await open(t, '2030-01-01T00:00:30Z', { suspend: true });
  await advance(5 * minute);
  t.deepEqual(await namesOf(cluster), []);
  await cluster.patch(resources.cronJobs, key, { kind: 'merge', body: { spec: { suspend: false } } });
  await eventually('one has started', async () => (await jobsOf(cluster)).length === 1);
  await quiescence(cluster);
  t.deepEqual(await namesOf(cluster), [nameAt('2030-01-01T00:05:00Z')]);
});

test('startingDeadlineSeconds: what is later than that is left out', async (t) => {
  const { cluster, controller, clock, advance } = await open(
    t,
    '2030-01-01T00:30:00Z',
    { schedule: '@hourly', startingDeadlineSeconds: 100 },
    false,
  );
  await advance(35 * minute);
  await controller(cronJob, {}, clock);
  await quiescence(cluster);
  t.deepEqual(await namesOf(cluster), []);
  t.true((await reasonsOf(cluster)).has('MissSchedule'));
  await advance(55 * minute + 50);
  t.deepEqual(await namesOf(cluster), []);
  await advance(100);
  t.deepEqual(await namesOf(cluster), [nameAt('2030-01-01T02:00:00Z')]);
});

test('without a deadline, a long outage is one Job and a warning', async (t) => {
  const { cluster, controller, clock, advance } = await open(t, '2030-01-01T00:00:30Z', {}, false);
  await advance(200 * minute);
  await controller(cronJob, {}, clock);
  await eventually('one has started', async () => (await jobsOf(cluster)).length === 1);
  await quiescence(cluster);
  t.deepEqual(await namesOf(cluster), [nameAt('2030-01-01T03:20:00Z')]);
  t.true((await reasonsOf(cluster)).has('TooManyMissedTimes'));
});

test('a Job that was created just before a crash is not created again', async (t) => {
  const { cluster, controller, clock, advance } = await open(t, '2030-01-01T00:00:30Z');
  await advance(31_000);
  const [job] = await jobsOf(cluster);
  await cluster.patch(
    resources.cronJobs,
    key,
    { kind: 'merge', body: { status: { lastScheduleTime: null, active: null } } },
    { subresource: 'status' },
  );
  await controller(cronJob, {}, clock);
  await eventually('the status is back', async () => (await read(cluster)).status?.active?.length === 1);
  t.deepEqual(
    (await jobsOf(cluster)).map(({ metadata }) => metadata.uid),
    [job?.metadata.uid],
  );
});

test('history limits keep the latest finished Jobs of either kind', async (t) => {
  const limits = { successfulJobsHistoryLimit: 2, failedJobsHistoryLimit: 1 };
  const { cluster, advance } = await open(t, '2030-01-01T00:00:30Z', limits);
  await advance(31_000);
  for (let round = 1; round <= 6; round++) {
    const running = (await jobsOf(cluster)).find(({ status }) => (status?.conditions ?? []).length === 0);
    const type = round % 2 === 0 ? 'Failed' : 'Complete';
    await finish(cluster, running as Job, type, `2030-01-01T00:0${round}:10Z`);
    await quiescence(cluster);
    if (round < 6) await advance(minute);
  }
  const at = (n: number) => nameAt(`2030-01-01T00:0${n}:00Z`);
  await eventually('three are left', async () => (await jobsOf(cluster)).length === 3);
  t.deepEqual(await namesOf(cluster), [at(3), at(5), at(6)]);
});

test('timeZone: midnight in Tokyo, and a changed schedule counts at once', async (t) => {
  const { cluster, advance } = await open(t, '2030-01-01T14:59:00Z', { schedule: '0 0 * * *', timeZone: 'Asia/Tokyo' });
  await advance(61_000);
  t.deepEqual(await namesOf(cluster), [nameAt('2030-01-01T15:00:00Z')]);
  await cluster.patch(resources.cronJobs, key, {
    kind: 'merge',
    body: { spec: { schedule: '5 10 * * *', timeZone: 'America/New_York' } },
  });
  await quiescence(cluster);
  await advance(5 * minute);
  t.deepEqual(await namesOf(cluster), [nameAt('2030-01-01T15:00:00Z'), nameAt('2030-01-01T15:05:00Z')]);
});

const nextOf = async (text: string, after: string, timeZone = 'UTC') => {
  const at = (await parseSchedule(text, timeZone)).next(Date.parse(after));
  return at === undefined ? undefined : new Date(at).toISOString();
};

test('the forms of a schedule', async (t) => {
  const noon = '2030-05-15T12:00:00Z';
  for (const [text, next] of [
    ['@hourly', '2030-05-15T13:00:00.000Z'],
    ['@daily', '2030-05-16T00:00:00.000Z'],
    ['@midnight', '2030-05-16T00:00:00.000Z'],
    ['@weekly', '2030-05-19T00:00:00.000Z'],
    ['@monthly', '2030-06-01T00:00:00.000Z'],
    ['@yearly', '2031-01-01T00:00:00.000Z'],
    ['@annually', '2031-01-01T00:00:00.000Z'],
    ['@every 1h30m', '2030-05-15T13:30:00.000Z'],
    ['*/5 * * * *', '2030-05-15T12:05:00.000Z'],
    ['5/20 * * * *', '2030-05-15T12:05:00.000Z'],
    ['0 ? * ? mon', '2030-05-20T00:00:00.000Z'],
    ['0 0 13 * FRI', '2030-05-17T00:00:00.000Z'],
    ['15,45 8-10/2 * JAN-JUN *', '2030-05-16T08:15:00.000Z'],
  ] as const)
    t.is(await nextOf(text, noon), next, text);
  t.is(await nextOf('0 0 30 2 *', noon), undefined);
  await t.throwsAsync(parseSchedule('* * * *', 'UTC'));
  await t.throwsAsync(async () => (await parseSchedule('* * * * *', 'Nowhere/City')).next(0));
  t.is(cronerPattern('3/15 2/4 ? * 1/2'), '3-59/15 2-23/4 * * 1-6/2');
});

test('the latest due time of many, for a pattern and for a period', async (t) => {
  const start = Date.parse('2030-01-01T00:00:10Z');
  const every = await parseSchedule('@every 90s', undefined);
  t.deepEqual(dueTime(every, start, start + 89_000), { at: undefined, isTooMany: false });
  t.deepEqual(dueTime(every, start, start + 200_000), { at: start + 180_000, isTooMany: false });
  const hourly = await parseSchedule('30 * * * *', 'UTC');
  const exactly = Date.parse('2030-01-01T00:30:00Z');
  t.deepEqual(dueTime(hourly, start, exactly - 1), { at: undefined, isTooMany: false });
  t.deepEqual(dueTime(hourly, start, exactly), { at: exactly, isTooMany: false });
  t.deepEqual(dueTime(hourly, exactly, exactly + 1), { at: undefined, isTooMany: false });
  t.deepEqual(dueTime(hourly, start, Date.parse('2030-02-01T00:00:00Z')), {
    at: Date.parse('2030-01-31T23:30:00Z'),
    isTooMany: true,
  });
});
