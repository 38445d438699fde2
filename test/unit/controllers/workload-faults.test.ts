/**
 * DaemonSet, StatefulSet, Job, ReplicationController and PodDisruptionBudget at once on an API that keeps failing. What
 * must hold in the end is what a user asked for, and of a Job that every pod's result is counted exactly once.
 */
import test from 'ava';
import type { Controller } from '../../../kernel/contract/index.ts';
import type { Pod } from '../../../kernel/contract/kubernetes.ts';
import { controllerOf, findCondition, keyOf, splitKey } from '../../../kernel/machinery/metadata.ts';
import { isPodActive } from '../../../kernel/machinery/pod-status.ts';
import { resources } from '../../../kernel/machinery/resources.ts';
import { nodeOf } from '../../../plugins/controllers/daemon-set/daemon-pod.ts';
import daemonSet from '../../../plugins/controllers/daemon-set/index.ts';
import job from '../../../plugins/controllers/job/index.ts';
import { trackingFinalizer } from '../../../plugins/controllers/job/job-names.ts';
import podDisruptionBudget from '../../../plugins/controllers/pod-disruption-budget/index.ts';
import replicationController from '../../../plugins/controllers/replication-controller/index.ts';
import statefulSet from '../../../plugins/controllers/stateful-set/index.ts';
import {
  bindTo,
  eventually,
  makeNode,
  openControlPlane,
  patchStatus,
  podSpec,
  quiescence,
  setRunning,
  startPlugin,
} from './control-plane.ts';
import { faulty, randomOf } from './faulty-cluster.ts';

const named = (name: string) => ({ namespace: 'default', name });
const template = (app: string) => ({ metadata: { labels: { app } }, spec: podSpec() });

for (const seed of [1, 2, 3])
  test(`in the end every workload is as asked for, faults of seed ${seed}`, async (t) => {
    const { cluster } = await openControlPlane(t);
    let isOn = true;
    const bad = faulty(cluster, randomOf(seed), () => isOn);
    const stop = new AbortController();
    const running: Promise<void>[] = [];
    const quick = { podFailureDelayMs: 0, podFailureMaxDelayMs: 0 };
    for (const [plugin, config] of [
      [daemonSet, {}],
      [job, quick],
      [podDisruptionBudget, {}],
      [replicationController, {}],
      [statefulSet, {}],
    ] as const)
      running.push((await startPlugin<Controller>(plugin, { config, uses: { cluster: bad } })).run(stop.signal));

    const failing = randomOf(seed + 100);
    // A pod too many is let go before it is deleted; where the deletion fails it may still end, and counts as nothing.
    const letGo = new Set<string | undefined>();
    const tend = async (pod: Pod) => {
      const { phase, podIP } = pod.status ?? {};
      if (pod.metadata.deletionTimestamp !== undefined)
        await cluster.delete(resources.pods, splitKey(keyOf(pod)), { gracePeriodSeconds: 0 });
      else if ((pod.spec.nodeName ?? '') === '') await bindTo(cluster, pod, nodeOf(pod) ?? 'a');
      else if (controllerOf(pod)?.kind === 'Job') {
        if (phase !== 'Pending') return;
        const ended = await patchStatus(cluster, pod, { phase: failing() < 0.2 ? 'Failed' : 'Succeeded' });
        if (ended.metadata.finalizers?.includes(trackingFinalizer) !== true) letGo.add(ended.metadata.uid);
      } else if (podIP === undefined) await setRunning(cluster, pod);
    };
    let isTending = true;
    const tending = (async () => {
      while (isTending) {
        for (const pod of (await cluster.list(resources.pods)).items) await tend(pod).catch(() => undefined);
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
    })();
    t.teardown(async () => {
      isTending = false;
      await tending;
      stop.abort();
      await Promise.all(running);
    });

    for (const name of ['a', 'b', 'c', 'd']) await makeNode(cluster, name);
    const selector = (app: string) => ({ matchLabels: { app } });
    await cluster.create(resources.daemonSets, {
      metadata: named('ds'),
      spec: { selector: selector('ds'), template: template('ds') },
    });
    await cluster.create(resources.statefulSets, {
      metadata: named('sts'),
      spec: { replicas: 4, serviceName: 'sts', selector: selector('sts'), template: template('sts') },
    });
    await cluster.create(resources.podDisruptionBudgets, {
      metadata: named('sts'),
      spec: { selector: selector('sts'), maxUnavailable: 1 },
    });
    await cluster.create(resources.replicationControllers, {
      metadata: named('rc'),
      spec: { replicas: 5, selector: { app: 'rc' }, template: template('rc') },
    });
    await cluster.create(resources.jobs, {
      metadata: named('work'),
      spec: {
        completions: 25,
        parallelism: 5,
        backoffLimit: 1000,
        template: { spec: podSpec({ restartPolicy: 'Never' }) },
      },
    });
    const setImage = { spec: { template: { spec: { containers: [{ name: 'main', image: 'two' }] } } } };
    const revisions = async () => (await cluster.list(resources.controllerRevisions)).items.length;
    await eventually('the first templates are in use', async () => (await revisions()) === 2);
    await cluster.patch(resources.daemonSets, named('ds'), { kind: 'strategic', body: setImage });
    await cluster.patch(resources.statefulSets, named('sts'), { kind: 'strategic', body: setImage });
    await eventually('half of the Job is done', async () => {
      const { status } = await cluster.get(resources.jobs, named('work'));
      return (status?.succeeded ?? 0) >= 12;
    });
    isOn = false;

    // A key that failed often is in backoff for some seconds more.
    await eventually(
      'all is as asked for',
      async () => {
        const work = await cluster.get(resources.jobs, named('work'));
        const ds = (await cluster.get(resources.daemonSets, named('ds'))).status;
        const sts = (await cluster.get(resources.statefulSets, named('sts'))).status;
        const rc = (await cluster.get(resources.replicationControllers, named('rc'))).status;
        const budget = (await cluster.get(resources.podDisruptionBudgets, named('sts'))).status;
        return (
          findCondition(work.status?.conditions, 'Complete')?.status === 'True' &&
          ds?.numberAvailable === 4 &&
          ds.updatedNumberScheduled === 4 &&
          sts?.updatedReplicas === 4 &&
          sts.readyReplicas === 4 &&
          sts.currentRevision === sts.updateRevision &&
          rc?.readyReplicas === 5 &&
          budget?.currentHealthy === 4 &&
          budget.disruptionsAllowed === 1
        );
      },
      50_000,
    );
    await quiescence(cluster);
    const pods = (await cluster.list(resources.pods)).items;
    const of = (app: string) => pods.filter((pod) => isPodActive(pod) && pod.metadata.labels?.['app'] === app);
    t.deepEqual(of('ds').map(nodeOf).toSorted(), ['a', 'b', 'c', 'd']);
    t.deepEqual(
      of('sts')
        .map(({ metadata }) => metadata.name)
        .toSorted(),
      ['sts-0', 'sts-1', 'sts-2', 'sts-3'],
    );
    t.is(of('rc').length, 5);
    const images = [...of('ds'), ...of('sts')].map(({ spec }) => spec.containers[0]?.image);
    t.deepEqual(new Set(images), new Set(['two']));
    const work = pods.filter((pod) => controllerOf(pod)?.kind === 'Job' && !letGo.has(pod.metadata.uid));
    const { status } = await cluster.get(resources.jobs, named('work'));
    const count = (phase: string) => work.filter((pod) => pod.status?.phase === phase).length;
    t.is(status?.succeeded, count('Succeeded'));
    t.is(status?.failed ?? 0, count('Failed'));
    t.true((status?.succeeded ?? 0) >= 25);
    t.deepEqual(status?.uncountedTerminatedPods ?? {}, {});
    t.false(pods.some(({ metadata }) => metadata.finalizers?.includes(trackingFinalizer) === true));
    t.is(await revisions(), 4);
  });
