import test from 'ava';
import type { Cluster } from '../../../kernel/contract/index.ts';
import type { Deployment, DeploymentSpec, Pod, ReplicaSet } from '../../../kernel/contract/kubernetes.ts';
import { findCondition } from '../../../kernel/machinery/metadata.ts';
import { isPodActive, isPodReady } from '../../../kernel/machinery/pod-status.ts';
import { resources } from '../../../kernel/machinery/resources.ts';
import deployment from '../../../plugins/controllers/deployment/index.ts';
import { proportionalSizes } from '../../../plugins/controllers/deployment/proportional-scaling.ts';
import { annotations, fenceposts } from '../../../plugins/controllers/deployment/rollout-math.ts';
import { isSameTemplate, templateHash } from '../../../plugins/controllers/deployment/template-hash.ts';
import garbageCollector from '../../../plugins/controllers/garbage-collector/index.ts';
import replicaset from '../../../plugins/controllers/replicaset/index.ts';
import {
  eventually,
  find,
  openControlPlane,
  podSpec,
  quiescence,
  runKubelet,
  type ControlPlane,
  someEvent,
} from './control-plane.ts';

const key = { namespace: 'default', name: 'web' };

function newDeployment(replicas: number, more: Partial<DeploymentSpec> = {}) {
  return {
    metadata: key,
    spec: {
      replicas,
      selector: { matchLabels: { app: 'web' } },
      template: { metadata: { labels: { app: 'web' } }, spec: podSpec() },
      ...more,
    },
  };
}

async function open(t: { teardown(undo: () => unknown): void }): Promise<ControlPlane> {
  const plane = await openControlPlane(t);
  await plane.controller(replicaset);
  await plane.controller(deployment);
  return plane;
}

const read = (cluster: Cluster) => cluster.get(resources.deployments, key);

const setsOf = async (cluster: Cluster): Promise<readonly ReplicaSet[]> =>
  (await cluster.list(resources.replicaSets, { namespace: 'default' })).items;

const podsOf = async (cluster: Cluster): Promise<readonly Pod[]> =>
  (await cluster.list(resources.pods, { namespace: 'default' })).items;

const revisionOf = (object: ReplicaSet | Deployment) => object.metadata.annotations?.[annotations.revision];

const progressing = (object: Deployment) => findCondition(object.status?.conditions, 'Progressing');

/** What `kubectl rollout status` waits for. */
const rolledOut = (cluster: Cluster) =>
  eventually('the rollout is complete', async () => {
    const found = await read(cluster);
    const { status = {}, spec, metadata } = found;
    return (
      (status.observedGeneration ?? 0) >= (metadata.generation ?? 0) &&
      (status.updatedReplicas ?? 0) === spec.replicas &&
      (status.replicas ?? 0) === (status.updatedReplicas ?? 0) &&
      (status.availableReplicas ?? 0) === spec.replicas &&
      progressing(found)?.reason === 'NewReplicaSetAvailable' &&
      found
    );
  });

const setImage = (cluster: Cluster, image: string) =>
  cluster.patch(resources.deployments, key, {
    kind: 'strategic',
    body: { spec: { template: { spec: { containers: [{ name: 'main', image }] } } } },
  });

const imageOf = (object: { spec: { template?: { spec?: Pod['spec'] } } }) =>
  object.spec.template?.spec?.containers[0]?.image;

test('creates one ReplicaSet with the template hash, and becomes available', async (t) => {
  const { cluster } = await open(t);
  runKubelet(t, cluster);
  await cluster.create(resources.deployments, newDeployment(3));
  const done = await rolledOut(cluster);
  const sets = await setsOf(cluster);
  t.is(sets.length, 1);
  const set = sets[0] as ReplicaSet;
  const hash = set.metadata.labels?.['pod-template-hash'] ?? '';
  t.regex(hash, /^[bcdfghjklmnpqrstvwxz2456789]{5,10}$/);
  t.is(set.metadata.name, `web-${hash}`);
  t.is(set.spec.selector.matchLabels?.['pod-template-hash'], hash);
  t.is(set.spec.template?.metadata?.labels?.['pod-template-hash'], hash);
  t.is(revisionOf(set), '1');
  t.is(revisionOf(done), '1');
  t.like(done.status, { replicas: 3, updatedReplicas: 3, readyReplicas: 3, availableReplicas: 3 });
  t.like(findCondition(done.status?.conditions, 'Available'), { status: 'True', reason: 'MinimumReplicasAvailable' });
  t.is(progressing(done)?.message, `ReplicaSet "${set.metadata.name}" has successfully progressed.`);
  const scaled = `Scaled up replica set ${set.metadata.name} from 0 to 3`;
  await someEvent(cluster, scaled, ({ message }) => message === scaled);
});

test('a rolling update keeps within maxSurge and maxUnavailable all the way', async (t) => {
  const { cluster } = await open(t);
  const strategy = { type: 'RollingUpdate', rollingUpdate: { maxSurge: '25%', maxUnavailable: 1 } };
  let most = 0;
  let fewest = Infinity;
  let isUpdating = false;
  runKubelet(t, cluster, {
    isReady: () => true,
  });
  await cluster.create(resources.deployments, newDeployment(6, { strategy }));
  await rolledOut(cluster);
  isUpdating = true;
  const stop = new AbortController();
  const pods = new Map<string, Pod>();
  const watching = (async () => {
    for await (const batch of cluster.watch(resources.pods, {}, stop.signal))
      for (const event of batch) {
        if (event.type === 'BOOKMARK') continue;
        if (event.type === 'DELETED') pods.delete(event.object.metadata.name);
        else pods.set(event.object.metadata.name, event.object);
        const active = [...pods.values()].filter(isPodActive);
        if (!isUpdating || pods.size < 6) continue;
        most = Math.max(most, active.length);
        fewest = Math.min(fewest, active.filter(isPodReady).length);
      }
  })();
  await setImage(cluster, 'new');
  await rolledOut(cluster);
  await quiescence(cluster);
  stop.abort();
  await watching.catch(() => undefined);
  t.true(most <= 8, `at most 6 + 25 % of 6, rounded up: ${most}`);
  t.true(most > 6, 'it used the surge');
  t.true(fewest >= 5, `at least 6 - 1 ready: ${fewest}`);
  const active = (await podsOf(cluster)).filter(isPodActive);
  t.deepEqual(new Set(active.map((pod) => pod.spec.containers[0]?.image)), new Set(['new']));
  const sets = (await setsOf(cluster)).toSorted((a, b) => Number(revisionOf(a)) - Number(revisionOf(b)));
  t.deepEqual(
    sets.map((set) => [revisionOf(set), set.spec.replicas]),
    [
      ['1', 0],
      ['2', 6],
    ],
  );
});

test('a rollout that never becomes ready stops at its limits and reports the missed deadline', async (t) => {
  const { cluster } = await open(t);
  runKubelet(t, cluster, { isReady: (pod) => pod.spec.containers[0]?.image !== 'broken' });
  const strategy = { type: 'RollingUpdate', rollingUpdate: { maxSurge: 1, maxUnavailable: 0 } };
  await cluster.create(resources.deployments, newDeployment(3, { strategy, progressDeadlineSeconds: 1 }));
  await rolledOut(cluster);
  await setImage(cluster, 'broken');
  // On a busy machine the deadline may pass before the one pod that the limits allow has been made and counted.
  const stuck = await eventually('ProgressDeadlineExceeded', async () => {
    const found = await read(cluster);
    const isOut = found.status?.replicas === 4 && found.status.updatedReplicas === 1;
    return isOut && progressing(found)?.reason === 'ProgressDeadlineExceeded' && found;
  });
  t.is(progressing(stuck)?.status, 'False');
  t.like(findCondition(stuck.status?.conditions, 'Available'), { status: 'True' });
  t.like(stuck.status, { replicas: 4, updatedReplicas: 1, availableReplicas: 3, unavailableReplicas: 1 });
  await quiescence(cluster);
  t.like((await read(cluster)).status, { replicas: 4, updatedReplicas: 1 }, 'and it stays so');
});

test('undo as kubectl does it: the old ReplicaSet is used again, with a new revision', async (t) => {
  const { cluster } = await open(t);
  runKubelet(t, cluster);
  await cluster.create(resources.deployments, newDeployment(2));
  await rolledOut(cluster);
  const [original] = await setsOf(cluster);
  await setImage(cluster, 'two');
  await rolledOut(cluster);
  // kubectl rollout undo: a JSON patch that puts the template of the ReplicaSet, without the hash, into the Deployment.
  const old = structuredClone((await setsOf(cluster)).find((set) => revisionOf(set) === '1')) as ReplicaSet;
  delete old.spec.template?.metadata?.labels?.['pod-template-hash'];
  await cluster.patch(resources.deployments, key, {
    kind: 'json',
    body: [{ op: 'replace', path: '/spec/template', value: old.spec.template }],
  });
  const done = await rolledOut(cluster);
  const sets = await setsOf(cluster);
  t.is(sets.length, 2);
  const current = sets.find((set) => set.spec.replicas === 2);
  t.is(current?.metadata.uid, original?.metadata.uid);
  t.is(revisionOf(current as ReplicaSet), '3');
  t.is(current?.metadata.annotations?.[annotations.revisionHistory], '1');
  t.is(revisionOf(done), '3');
  t.is(imageOf(done), 'host');
});

test('Recreate: no new pod before the last old one is gone', async (t) => {
  const { cluster } = await open(t);
  let overlap = false;
  runKubelet(t, cluster);
  await cluster.create(resources.deployments, newDeployment(3, { strategy: { type: 'Recreate' } }));
  await rolledOut(cluster);
  const stop = new AbortController();
  const present = new Map<string, string>();
  const watching = (async () => {
    for await (const batch of cluster.watch(resources.pods, {}, stop.signal))
      for (const event of batch) {
        if (event.type === 'BOOKMARK') continue;
        const { name } = event.object.metadata;
        if (event.type === 'DELETED') present.delete(name);
        else present.set(name, event.object.spec.containers[0]?.image ?? '');
        if (new Set(present.values()).size > 1) overlap = true;
      }
  })();
  await setImage(cluster, 'new');
  await rolledOut(cluster);
  stop.abort();
  await watching.catch(() => undefined);
  t.false(overlap);
  t.deepEqual([...present.values()], ['new', 'new', 'new']);
});

test('pause holds a change back, scaling goes on; resume rolls it out', async (t) => {
  const { cluster } = await open(t);
  runKubelet(t, cluster);
  await cluster.create(resources.deployments, newDeployment(2));
  await rolledOut(cluster);
  const patch = (spec: object) => cluster.patch(resources.deployments, key, { kind: 'merge', body: { spec } });
  await patch({ paused: true });
  await eventually('the pause shows', async () => progressing(await read(cluster))?.reason === 'DeploymentPaused');
  await setImage(cluster, 'new');
  await patch({ replicas: 4 });
  await eventually('4 pods', async () => (await read(cluster)).status?.replicas === 4);
  await quiescence(cluster);
  t.is((await setsOf(cluster)).length, 1);
  t.deepEqual(new Set((await podsOf(cluster)).map((pod) => pod.spec.containers[0]?.image)), new Set(['host']));
  await patch({ paused: false });
  await rolledOut(cluster);
  t.is((await setsOf(cluster)).length, 2);
});

test('keeps revisionHistoryLimit old ReplicaSets, the latest ones', async (t) => {
  const { cluster } = await open(t);
  runKubelet(t, cluster);
  await cluster.create(resources.deployments, newDeployment(1, { revisionHistoryLimit: 2 }));
  await rolledOut(cluster);
  for (const image of ['b', 'c', 'd', 'e']) {
    await setImage(cluster, image);
    await rolledOut(cluster);
  }
  await eventually('2 old sets and the new one', async () => (await setsOf(cluster)).length === 3);
  const revisions = (await setsOf(cluster)).map((set) => revisionOf(set));
  t.deepEqual(revisions.toSorted(), ['3', '4', '5']);
});

test('scales in the middle of a rollout in proportion', async (t) => {
  const { cluster } = await open(t);
  runKubelet(t, cluster, { isReady: (pod) => pod.spec.containers[0]?.image !== 'broken' });
  const strategy = { type: 'RollingUpdate', rollingUpdate: { maxSurge: 3, maxUnavailable: 2 } };
  await cluster.create(resources.deployments, newDeployment(10, { strategy }));
  await rolledOut(cluster);
  await setImage(cluster, 'broken');
  const sizes = async () =>
    (await setsOf(cluster))
      .toSorted((a, b) => Number(revisionOf(a)) - Number(revisionOf(b)))
      .map((set) => set.spec.replicas);
  await eventually('8 old, 5 new', async () => (await sizes()).join() === '8,5');
  await cluster.patch(resources.deployments, key, { kind: 'merge', body: { spec: { replicas: 15 } } });
  await eventually('11 old, 7 new', async () => (await sizes()).join() === '11,7');
  await quiescence(cluster);
  t.is((await sizes()).join(), '11,7');
});

test('a ReplicaSet of that name with another template: counted as a collision, and another hash is used', async (t) => {
  const { cluster } = await open(t);
  runKubelet(t, cluster);
  const stored = await cluster.create(resources.deployments, newDeployment(1), { dryRun: true });
  const name = `web-${templateHash(stored.spec.template, undefined)}`;
  await cluster.create(resources.replicaSets, {
    metadata: { namespace: 'default', name },
    spec: {
      replicas: 0,
      selector: { matchLabels: { app: 'other' } },
      template: { metadata: { labels: { app: 'other' } }, spec: podSpec() },
    },
    status: { replicas: 0 },
  });
  await cluster.create(resources.deployments, newDeployment(1));
  const done = await rolledOut(cluster);
  t.is(done.status?.collisionCount, 1);
  const ours = (await setsOf(cluster)).filter((set) => revisionOf(set) !== undefined);
  t.is(ours.length, 1);
  t.not(ours[0]?.metadata.name, name);
});

test('a Deployment adopts the ReplicaSets that its predecessor left behind, and their pods', async (t) => {
  const { cluster, controller } = await open(t);
  await controller(garbageCollector);
  runKubelet(t, cluster);
  await cluster.create(resources.deployments, newDeployment(2));
  await rolledOut(cluster);
  const pods = (await podsOf(cluster)).map((pod) => pod.metadata.uid).toSorted();
  await cluster.delete(resources.deployments, key, { propagationPolicy: 'Orphan' });
  await eventually(
    'the Deployment is gone',
    async () => (await find(cluster, resources.deployments, key)) === undefined,
  );
  await quiescence(cluster);
  const [left] = await setsOf(cluster);
  t.is(left?.metadata.ownerReferences, undefined);
  const again = await cluster.create(resources.deployments, newDeployment(2));
  await rolledOut(cluster);
  const sets = await setsOf(cluster);
  t.is(sets.length, 1);
  t.is(sets[0]?.metadata.ownerReferences?.[0]?.uid, again.metadata.uid);
  t.deepEqual((await podsOf(cluster)).map((pod) => pod.metadata.uid).toSorted(), pods);
});

test('restarts in the middle of rollouts lose and repeat nothing', async (t) => {
  const { cluster, controller } = await openControlPlane(t);
  runKubelet(t, cluster);
  await controller(replicaset);
  await cluster.create(resources.deployments, newDeployment(4));
  for (let i = 0; i < 6; i++) {
    const stop = await controller(deployment);
    const before = cluster.server?.revision ?? 0;
    if (i === 2) await setImage(cluster, 'new');
    let isQuiet = false;
    const quiet = quiescence(cluster).then(() => {
      isQuiet = true;
    });
    while (!isQuiet && (cluster.server?.revision ?? 0) <= before + i)
      await new Promise((resolve) => setImmediate(resolve));
    await stop();
    await quiet;
  }
  await controller(deployment);
  const done = await rolledOut(cluster);
  t.is(imageOf(done), 'new');
  const sets = await setsOf(cluster);
  t.is(sets.length, 2);
  t.deepEqual(sets.map((set) => revisionOf(set)).toSorted(), ['1', '2']);
});

test('percentages: surge rounds up, unavailability down, never both nothing', (t) => {
  const of = (replicas: number, maxSurge: number | string, maxUnavailable: number | string) =>
    fenceposts({
      spec: { replicas, strategy: { type: 'RollingUpdate', rollingUpdate: { maxSurge, maxUnavailable } } },
    } as Deployment);
  t.deepEqual(of(10, '25%', '25%'), { surge: 3, unavailable: 2 });
  t.deepEqual(of(1, '25%', '25%'), { surge: 1, unavailable: 0 });
  t.deepEqual(of(10, 0, 0), { surge: 0, unavailable: 1 });
  t.deepEqual(of(3, '0%', '10%'), { surge: 0, unavailable: 1 });
  t.deepEqual(of(10, 4, '100%'), { surge: 4, unavailable: 10 });
});

test('the template hash is stable and blind to its own label', (t) => {
  const template = { metadata: { labels: { app: 'web' } }, spec: podSpec() };
  t.is(templateHash(template, undefined), templateHash(structuredClone(template), undefined));
  const reordered = { spec: podSpec(), metadata: { labels: { 'pod-template-hash': 'x', app: 'web' } } };
  t.is(templateHash(reordered, undefined), templateHash(template, undefined));
  t.true(isSameTemplate(reordered, template));
  t.not(templateHash(template, 1), templateHash(template, undefined));
  t.not(
    templateHash({ ...template, spec: podSpec({ hostNetwork: true }) }, undefined),
    templateHash(template, undefined),
  );
  t.is(
    templateHash({ metadata: {}, spec: { containers: [] } }, undefined),
    '996566f9c',
    'a change here rolls every Deployment',
  );
});

test('proportional sizes: the leftover goes to the largest', (t) => {
  const set = (name: string, replicas: number, max: number): ReplicaSet =>
    ({
      metadata: { name, creationTimestamp: name, annotations: { [annotations.maxReplicas]: String(max) } },
      spec: { replicas },
    }) as unknown as ReplicaSet;
  const sizes = (replicas: number, sets: readonly ReplicaSet[], maxSurge = 0) => {
    const result = proportionalSizes(
      { spec: { replicas, strategy: { rollingUpdate: { maxSurge, maxUnavailable: 1 } } } } as Deployment,
      sets,
    );
    return sets.map((one) => result.get(one));
  };
  t.deepEqual(sizes(20, [set('a', 5, 10), set('b', 5, 10)]), [10, 10]);
  t.deepEqual(sizes(11, [set('a', 5, 10), set('b', 5, 10)]), [5, 6]);
  t.deepEqual(sizes(5, [set('a', 8, 10), set('b', 2, 10)]), [4, 1]);
  t.deepEqual(sizes(0, [set('a', 8, 10), set('b', 2, 10)]), [0, 0]);
  t.deepEqual(sizes(15, [set('old', 8, 13), set('new', 5, 13)], 3), [11, 7]);
});
