import test from 'ava';
import { isPintleError, type Cluster } from '../../../kernel/contract/index.ts';
import type { Job, JobSpec, Pod, PodSpec } from '../../../kernel/contract/kubernetes.ts';
import { controllerOf, findCondition, keyOf, splitKey } from '../../../kernel/machinery/metadata.ts';
import { resources } from '../../../kernel/machinery/resources.ts';
import garbageCollector from '../../../plugins/controllers/garbage-collector/index.ts';
import job from '../../../plugins/controllers/job/index.ts';
import { formatIndexes, parseIndexes } from '../../../plugins/controllers/job/index-set.ts';
import { indexKey, trackingFinalizer } from '../../../plugins/controllers/job/job-names.ts';
import { indexOf } from '../../../plugins/controllers/job/job-pod.ts';
import { judgeFailure } from '../../../plugins/controllers/job/pod-failure-policy.ts';
import { ManualClock } from '../machinery/manual-clock.ts';
import {
  bindTo,
  eventually,
  find,
  openControlPlane,
  patchStatus,
  podSpec,
  quiescence,
  someEvent,
} from './control-plane.ts';

const key = { namespace: 'default', name: 'work' };
const quick = { podFailureDelayMs: 0, podFailureMaxDelayMs: 0 };

function newJob(spec: Partial<JobSpec> = {}, pod: Partial<PodSpec> = {}) {
  return { metadata: key, spec: { template: { spec: podSpec({ restartPolicy: 'Never', ...pod }) }, ...spec } };
}

const read = (cluster: Cluster) => cluster.get(resources.jobs, key);

const podsOf = async (cluster: Cluster): Promise<readonly Pod[]> =>
  (await cluster.list(resources.pods, { namespace: 'default' })).items;

const condition = (object: Job, type: string) => findCondition(object.status?.conditions, type);

const withCondition = (cluster: Cluster, type: string, status = 'True') =>
  eventually(`the Job is ${type}=${status}`, async () => {
    const found = await read(cluster);
    return condition(found, type)?.status === status && found;
  });

const somePods = (cluster: Cluster, count: number, is: (pod: Pod) => boolean = () => true) =>
  eventually(`${count} pods`, async () => {
    const found = (await podsOf(cluster)).filter(is);
    return found.length === count && found;
  });

const isLive = ({ status, metadata }: Pod) => status?.phase === 'Pending' && metadata.deletionTimestamp === undefined;

const succeed = (cluster: Cluster, pod: Pod) => patchStatus(cluster, pod, { phase: 'Succeeded' });

const fail = (cluster: Cluster, pod: Pod, exitCode = 1) =>
  patchStatus(cluster, pod, {
    phase: 'Failed',
    containerStatuses: [
      {
        name: 'main',
        image: 'host',
        imageID: '',
        ready: false,
        restartCount: 0,
        state: { terminated: { exitCode, finishedAt: new Date().toISOString() } },
      },
    ],
  });

const tracked = ({ metadata }: Pod) => metadata.finalizers?.includes(trackingFinalizer) === true;

/** Ends every pod as `outcome` says (undefined: it goes on), and those that are being deleted. */
function runWorkers(
  t: { teardown(undo: () => unknown): void },
  cluster: Cluster,
  outcome: (pod: Pod) => 'Succeeded' | number | undefined,
): void {
  const stop = new AbortController();
  const tend = async (pod: Pod) => {
    const { phase } = pod.status ?? {};
    if (pod.metadata.deletionTimestamp !== undefined && phase === 'Pending')
      await cluster.delete(resources.pods, splitKey(keyOf(pod)), { gracePeriodSeconds: 0 });
    if (phase !== 'Pending' || pod.metadata.deletionTimestamp !== undefined) return;
    const result = outcome(pod);
    if (result === 'Succeeded') await succeed(cluster, pod);
    else if (result !== undefined) await fail(cluster, pod, result);
  };
  const working = (async () => {
    for await (const batch of cluster.watch(resources.pods, {}, stop.signal))
      for (const event of batch)
        if (event.type === 'ADDED' || event.type === 'MODIFIED')
          await tend(event.object).catch((error: unknown) => {
            if (!isPintleError(error, 'NOT_FOUND', 'CONFLICT')) throw error;
          });
  })().catch((error: unknown) => {
    if (!stop.signal.aborted) throw error;
  });
  t.teardown(async () => {
    stop.abort();
    await working;
  });
}

test('runs one pod to success and is Complete, with the conditions and times that clients wait for', async (t) => {
  const { cluster, controller } = await openControlPlane(t);
  await controller(job);
  await cluster.create(resources.jobs, newJob());
  const [pod] = await somePods(cluster, 1);
  t.true(tracked(pod as Pod));
  t.like(controllerOf(pod as Pod), { apiVersion: 'batch/v1', kind: 'Job', name: 'work' });
  t.is(pod?.metadata.labels?.['batch.kubernetes.io/job-name'], 'work');
  const running = await eventually('it counts as active', async () => {
    const found = await read(cluster);
    return found.status?.active === 1 && found;
  });
  t.truthy(running.status?.startTime);
  t.is(running.status?.completionTime, undefined);
  await succeed(cluster, pod as Pod);
  const done = await withCondition(cluster, 'Complete');
  t.like(condition(done, 'Complete'), {
    reason: 'CompletionsReached',
    message: 'Reached expected number of succeeded pods',
  });
  t.is(condition(done, 'SuccessCriteriaMet')?.status, 'True');
  t.is(done.status?.succeeded, 1);
  t.is(done.status?.active ?? 0, 0);
  t.truthy(done.status?.completionTime);
  t.deepEqual(done.status?.uncountedTerminatedPods ?? {}, {});
  t.false((await podsOf(cluster)).some(tracked));
  await someEvent(cluster, 'Completed', ({ reason }) => reason === 'Completed');
  const { items } = await cluster.list(resources.events, { namespace: 'default' });
  t.deepEqual(new Set(items.map(({ reason }) => reason)), new Set(['SuccessfulCreate', 'Completed']));
});

test('completions and parallelism: never more pods at once, never one too many in all', async (t) => {
  const { cluster, controller } = await openControlPlane(t);
  let most = 0;
  const live = new Set<string>();
  const stop = new AbortController();
  const watching = (async () => {
    for await (const batch of cluster.watch(resources.pods, {}, stop.signal))
      for (const { type, object } of batch) {
        const pod = object as Pod;
        if (type !== 'DELETED' && type !== 'BOOKMARK' && isLive(pod)) live.add(pod.metadata.uid);
        else live.delete(pod.metadata.uid);
        most = Math.max(most, live.size);
      }
  })().catch(() => undefined);
  t.teardown(() => stop.abort());
  await controller(job);
  await cluster.create(resources.jobs, newJob({ completions: 30, parallelism: 4 }));
  await somePods(cluster, 4);
  await quiescence(cluster);
  t.is((await podsOf(cluster)).length, 4);
  runWorkers(t, cluster, () => 'Succeeded');
  const done = await withCondition(cluster, 'Complete');
  stop.abort();
  await watching;
  t.is(done.status?.succeeded, 30);
  t.is((await podsOf(cluster)).length, 30);
  t.true(most <= 4, `${most} at once`);
});

test('no success is lost when finished pods are deleted at once, nor when the controller restarts at any point', async (t) => {
  const { cluster, controller } = await openControlPlane(t);
  const created = new Set<string>();
  const stop = new AbortController();
  t.teardown(() => stop.abort());
  void (async () => {
    for await (const batch of cluster.watch(resources.pods, {}, stop.signal))
      for (const { type, object } of batch) {
        if (type === 'ADDED') created.add(object.metadata.uid);
        if (type !== 'MODIFIED' || (object as Pod).status?.phase !== 'Succeeded') continue;
        if (object.metadata.deletionTimestamp === undefined)
          await cluster.delete(resources.pods, splitKey(keyOf(object))).catch(() => undefined);
      }
  })().catch(() => undefined);
  runWorkers(t, cluster, () => 'Succeeded');
  await cluster.create(resources.jobs, newJob({ completions: 40, parallelism: 8 }));
  for (let round = 0; round < 12; round++) {
    const end = await controller(job);
    await new Promise((resolve) => setTimeout(resolve, round));
    await end();
  }
  await controller(job);
  const done = await withCondition(cluster, 'Complete');
  t.is(done.status?.succeeded, 40);
  t.is(done.status?.failed ?? 0, 0);
  t.is(created.size, 40);
  await somePods(cluster, 0);
});

test('backoffLimit: the Job fails, its other pods end, and it says why', async (t) => {
  const { cluster, controller } = await openControlPlane(t);
  await controller(job, quick);
  runWorkers(t, cluster, () => 3);
  await cluster.create(resources.jobs, newJob({ backoffLimit: 2 }));
  const failed = await withCondition(cluster, 'Failed');
  t.like(condition(failed, 'Failed'), {
    reason: 'BackoffLimitExceeded',
    message: 'Job has reached the specified backoff limit',
  });
  t.is(condition(failed, 'FailureTarget')?.reason, 'BackoffLimitExceeded');
  t.is(failed.status?.failed, 3);
  t.is((await podsOf(cluster)).length, 3);
  t.is(failed.status?.completionTime, undefined);
  const event = await someEvent(cluster, 'BackoffLimitExceeded', ({ reason }) => reason === 'BackoffLimitExceeded');
  t.is(event.type, 'Warning');
});

test('a pod that failed is replaced after a delay that doubles', async (t) => {
  const { cluster, controller } = await openControlPlane(t);
  const clock = new ManualClock();
  await controller(job, {}, clock);
  await cluster.create(resources.jobs, newJob({ backoffLimit: 5 }));
  const failNext = async (count: number) => {
    const [pod] = await somePods(cluster, 1, isLive);
    await patchStatus(cluster, pod as Pod, { phase: 'Failed' });
    await eventually('it is counted', async () => (await read(cluster)).status?.failed === count);
    await quiescence(cluster);
    t.is((await podsOf(cluster)).filter(isLive).length, 0);
  };
  await failNext(1);
  await clock.advance(9_000);
  await quiescence(cluster);
  t.is((await podsOf(cluster)).length, 1);
  await clock.advance(1_100);
  await failNext(2);
  await clock.advance(11_000);
  await quiescence(cluster);
  t.is((await podsOf(cluster)).length, 2);
  await clock.advance(9_100);
  await somePods(cluster, 3);
});

test('OnFailure: restarts in place count towards backoffLimit', async (t) => {
  const { cluster, controller } = await openControlPlane(t);
  await controller(job);
  runWorkers(t, cluster, () => undefined);
  await cluster.create(resources.jobs, newJob({ backoffLimit: 2 }, { restartPolicy: 'OnFailure' }));
  const [pod] = await somePods(cluster, 1);
  const restarted = (restartCount: number) =>
    patchStatus(cluster, pod as Pod, {
      phase: 'Running',
      containerStatuses: [{ name: 'main', image: 'host', imageID: '', ready: true, restartCount }],
    });
  await restarted(1);
  await quiescence(cluster);
  t.is(condition(await read(cluster), 'FailureTarget'), undefined);
  await restarted(2);
  await cluster.delete(resources.pods, splitKey(keyOf(pod as Pod)), { gracePeriodSeconds: 0 });
  const failed = await withCondition(cluster, 'Failed');
  t.is(condition(failed, 'Failed')?.reason, 'BackoffLimitExceeded');
});

test('Indexed: one success for each index, with its index in name, host name, annotation, label and environment', async (t) => {
  const { cluster, controller } = await openControlPlane(t);
  await controller(job, quick);
  const failedOnce = new Set<number>();
  runWorkers(t, cluster, (pod) => {
    const index = indexOf(pod) ?? -1;
    if (index !== 1 || failedOnce.has(index)) return 'Succeeded';
    failedOnce.add(index);
    return 1;
  });
  await cluster.create(resources.jobs, newJob({ completions: 5, parallelism: 2, completionMode: 'Indexed' }));
  const done = await withCondition(cluster, 'Complete');
  t.is(done.status?.completedIndexes, '0-4');
  t.like(done.status, { succeeded: 5, failed: 1 });
  const pods = await podsOf(cluster);
  t.is(pods.length, 6);
  const third = pods.find((pod) => indexOf(pod) === 3);
  t.regex(third?.metadata.name ?? '', /^work-3-[a-z0-9]{5}$/);
  t.is(third?.spec.hostname, 'work-3');
  t.is(third?.metadata.labels?.[indexKey], '3');
  t.deepEqual(third?.spec.containers[0]?.env, [
    {
      name: 'JOB_COMPLETION_INDEX',
      valueFrom: { fieldRef: { apiVersion: 'v1', fieldPath: `metadata.annotations['${indexKey}']` } },
    },
  ]);
});

test('backoffLimitPerIndex: one index fails for good, the others go on, and the Job reports which', async (t) => {
  const { cluster, controller } = await openControlPlane(t);
  await controller(job, quick);
  runWorkers(t, cluster, (pod) => (indexOf(pod) === 1 ? 1 : 'Succeeded'));
  const spec = { completions: 3, parallelism: 3, completionMode: 'Indexed', backoffLimitPerIndex: 1 };
  await cluster.create(resources.jobs, newJob(spec));
  const failed = await withCondition(cluster, 'Failed');
  t.like(condition(failed, 'Failed'), { reason: 'FailedIndexes', message: 'Job has failed indexes' });
  t.like(failed.status, { completedIndexes: '0,2', failedIndexes: '1', succeeded: 2, failed: 2 });
  const counts = (await podsOf(cluster))
    .filter((pod) => indexOf(pod) === 1)
    .map((pod) => pod.metadata.annotations?.['batch.kubernetes.io/job-index-failure-count']);
  t.deepEqual(counts.toSorted(), ['0', '1']);
});

test('successPolicy: enough indexes have succeeded, the rest is ended', async (t) => {
  const { cluster, controller } = await openControlPlane(t);
  await controller(job);
  runWorkers(t, cluster, (pod) => (indexOf(pod) === 0 ? 'Succeeded' : undefined));
  const successPolicy = { rules: [{ succeededIndexes: '0' }] };
  await cluster.create(
    resources.jobs,
    newJob({ completions: 3, parallelism: 3, completionMode: 'Indexed', successPolicy }),
  );
  const done = await withCondition(cluster, 'Complete');
  t.like(condition(done, 'Complete'), { reason: 'SuccessPolicy', message: 'Matched rules at index 0' });
  t.is(done.status?.completedIndexes, '0');
  t.is((await podsOf(cluster)).filter(isLive).length, 0);
});

test('podFailurePolicy: FailJob ends the Job at once, Ignore counts nothing, Count counts', async (t) => {
  const { cluster, controller } = await openControlPlane(t);
  await controller(job, quick);
  const exits = [7, 7, 7, 9, 42];
  runWorkers(t, cluster, () => exits.shift());
  const podFailurePolicy = {
    rules: [
      { action: 'Ignore', onExitCodes: { operator: 'In', values: [7] } },
      { action: 'FailJob', onExitCodes: { containerName: 'main', operator: 'In', values: [42] } },
    ],
  };
  await cluster.create(resources.jobs, newJob({ backoffLimit: 1, podFailurePolicy }));
  const failed = await withCondition(cluster, 'Failed');
  t.is(condition(failed, 'Failed')?.reason, 'PodFailurePolicy');
  t.regex(
    condition(failed, 'Failed')?.message ?? '',
    /^Container main for pod default\/work-[a-z0-9]{5} failed with exit code 42 matching FailJob rule at index 1$/,
  );
  t.is(failed.status?.failed, 2);
  t.is((await podsOf(cluster)).length, 5);
});

test('podFailurePolicy by condition, and NotIn', (t) => {
  const rules = [
    { action: 'Ignore', onPodConditions: [{ type: 'DisruptionTarget', status: 'True' }] },
    { action: 'FailJob', onExitCodes: { operator: 'NotIn', values: [1] } },
  ];
  const judge = (status: Pod['status']) =>
    judgeFailure(
      newJob({ podFailurePolicy: { rules } }) as unknown as Job,
      { metadata: { name: 'p', namespace: 'n' }, spec: {}, status } as unknown as Pod,
    );
  const exit = (exitCode: number) => ({
    containerStatuses: [{ name: 'c', state: { terminated: { exitCode } } } as never],
  });
  t.is(judge({ conditions: [{ type: 'DisruptionTarget', status: 'True' }] }).action, 'Ignore');
  t.is(judge({ conditions: [{ type: 'DisruptionTarget', status: 'False' }] }).action, 'Count');
  t.is(judge(exit(1)).action, 'Count');
  t.is(judge(exit(0)).action, 'Count');
  t.is(judge(exit(2)).action, 'FailJob');
});

test('activeDeadlineSeconds: the Job fails when its time is over', async (t) => {
  const { cluster, controller } = await openControlPlane(t);
  const clock = new ManualClock();
  await controller(job, {}, clock);
  runWorkers(t, cluster, () => undefined);
  await cluster.create(resources.jobs, newJob({ activeDeadlineSeconds: 60, parallelism: 2, completions: 2 }));
  await somePods(cluster, 2);
  await quiescence(cluster);
  await clock.advance(59_000);
  await quiescence(cluster);
  t.is((await podsOf(cluster)).length, 2);
  await clock.advance(1_100);
  const failed = await withCondition(cluster, 'Failed');
  t.like(condition(failed, 'Failed'), {
    reason: 'DeadlineExceeded',
    message: 'Job was active longer than specified deadline',
  });
  await somePods(cluster, 0);
  t.is(failed.status?.active ?? 0, 0);
});

test('ttlSecondsAfterFinished: the Job goes with its pods', async (t) => {
  const { cluster, controller } = await openControlPlane(t);
  const clock = new ManualClock();
  await controller(job, {}, clock);
  await controller(garbageCollector);
  runWorkers(t, cluster, () => 'Succeeded');
  await cluster.create(resources.jobs, newJob({ ttlSecondsAfterFinished: 100 }));
  await withCondition(cluster, 'Complete');
  await quiescence(cluster);
  await clock.advance(99_000);
  await quiescence(cluster);
  t.truthy(await find(cluster, resources.jobs, key));
  await clock.advance(2_000);
  await eventually('the Job is gone', async () => (await find(cluster, resources.jobs, key)) === undefined);
  await somePods(cluster, 0);
});

test('suspend ends the pods and counts none as failed; resume begins anew', async (t) => {
  const { cluster, controller } = await openControlPlane(t);
  const clock = new ManualClock();
  await controller(job, {}, clock);
  runWorkers(t, cluster, () => undefined);
  await cluster.create(resources.jobs, newJob({ parallelism: 2, completions: 2, suspend: true }));
  const waiting = await withCondition(cluster, 'Suspended');
  t.like(condition(waiting, 'Suspended'), { reason: 'JobSuspended', message: 'Job suspended' });
  t.is(waiting.status?.startTime, undefined);
  t.is((await podsOf(cluster)).length, 0);
  const suspend = (is: boolean) =>
    cluster.patch(resources.jobs, key, { kind: 'merge', body: { spec: { suspend: is } } });
  await suspend(false);
  const [first] = await somePods(cluster, 2);
  const resumed = await withCondition(cluster, 'Suspended', 'False');
  t.is(condition(resumed, 'Suspended')?.reason, 'JobResumed');
  const startTime = resumed.status?.startTime ?? '';
  await bindTo(cluster, first as Pod, 'node-1');
  await suspend(true);
  await somePods(cluster, 0);
  await withCondition(cluster, 'Suspended');
  await clock.advance(60_000);
  await suspend(false);
  await somePods(cluster, 2);
  const again = await withCondition(cluster, 'Suspended', 'False');
  t.true(Date.parse(again.status?.startTime ?? '') >= Date.parse(startTime) + 60_000);
  t.is(again.status?.failed ?? 0, 0);
});

test('parallelism can be changed while it runs; pods that are too many go uncounted', async (t) => {
  const { cluster, controller } = await openControlPlane(t);
  await controller(job);
  runWorkers(t, cluster, () => undefined);
  await cluster.create(resources.jobs, newJob({ completions: 10, parallelism: 6 }));
  await somePods(cluster, 6);
  await cluster.patch(resources.jobs, key, { kind: 'merge', body: { spec: { parallelism: 2 } } });
  await somePods(cluster, 2);
  await quiescence(cluster);
  t.is((await read(cluster)).status?.failed ?? 0, 0);
  t.is((await read(cluster)).status?.active, 2);
});

test('a work queue (no completions): the first success ends the hiring, the last pod ends the Job', async (t) => {
  const { cluster, controller } = await openControlPlane(t);
  await controller(job);
  await cluster.create(resources.jobs, newJob({ parallelism: 3 }));
  const pods = await somePods(cluster, 3);
  await succeed(cluster, pods[0] as Pod);
  await eventually('one is counted', async () => (await read(cluster)).status?.succeeded === 1);
  await quiescence(cluster);
  t.is((await podsOf(cluster)).length, 3);
  t.is(condition(await read(cluster), 'Complete'), undefined);
  for (const pod of pods.slice(1)) await succeed(cluster, pod);
  const done = await withCondition(cluster, 'Complete');
  t.is(done.status?.succeeded, 3);
});

test('the pods of a Job that is deleted are not held by its finalizer', async (t) => {
  const { cluster, controller } = await openControlPlane(t);
  await controller(job);
  await controller(garbageCollector);
  await cluster.create(resources.jobs, newJob({ completions: 3, parallelism: 3 }));
  await somePods(cluster, 3);
  await cluster.delete(resources.jobs, key, { propagationPolicy: 'Background' });
  await somePods(cluster, 0);
  await cluster.create(resources.jobs, newJob({ completions: 2, parallelism: 2 }));
  await somePods(cluster, 2);
  await cluster.delete(resources.jobs, key, { propagationPolicy: 'Orphan' });
  await eventually('they are free', async () => !(await podsOf(cluster)).some(tracked));
  t.is((await podsOf(cluster)).length, 2);
});

test('podReplacementPolicy Failed: no successor before the pod has really ended', async (t) => {
  const { cluster, controller } = await openControlPlane(t);
  await controller(job, quick);
  await cluster.create(resources.jobs, newJob({ podReplacementPolicy: 'Failed' }));
  const [pod] = await somePods(cluster, 1);
  await bindTo(cluster, pod as Pod, 'node-1');
  await cluster.delete(resources.pods, splitKey(keyOf(pod as Pod)), { gracePeriodSeconds: 30 });
  await eventually('it counts as terminating', async () => (await read(cluster)).status?.terminating === 1);
  await quiescence(cluster);
  t.is((await podsOf(cluster)).length, 1);
  await fail(cluster, pod as Pod);
  await somePods(cluster, 1, isLive);
  await eventually('it counts as failed', async () => (await read(cluster)).status?.failed === 1);
});

test('a Job that another controller manages is left alone', async (t) => {
  const { cluster, controller } = await openControlPlane(t);
  await controller(job);
  await cluster.create(resources.jobs, newJob({ managedBy: 'example.com/other' }));
  await quiescence(cluster);
  t.deepEqual(await podsOf(cluster), []);
  t.is((await read(cluster)).status?.startTime, undefined);
});

test('indexes as text and back', (t) => {
  for (const [text, indexes] of [
    ['', []],
    ['0', [0]],
    ['3,4', [3, 4]],
    ['0-2,5,7,8', [0, 1, 2, 5, 7, 8]],
  ] as const) {
    t.is(formatIndexes(new Set(indexes)), text);
    t.deepEqual([...parseIndexes(text, 100)], [...indexes]);
  }
  t.deepEqual([...parseIndexes('0-9', 3)], [0, 1, 2]);
});
