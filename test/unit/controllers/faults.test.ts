/**
 * All control loops at once on an API that keeps failing: refused writes, writes whose answer is lost, conflicts, broken
 * and expired watches. What must hold in the end is what a user asked for, with nothing too many and nothing left over.
 */
import { isDeepStrictEqual } from 'node:util';
import test from 'ava';
import type { Component, Controller, SchedulerPolicy } from '../../../kernel/contract/index.ts';
import { controllerOf } from '../../../kernel/machinery/metadata.ts';
import { isPodActive } from '../../../kernel/machinery/pod-status.ts';
import { resources } from '../../../kernel/machinery/resources.ts';
import scheduler from '../../../plugins/components/scheduler/index.ts';
import deployment from '../../../plugins/controllers/deployment/index.ts';
import endpointSlice from '../../../plugins/controllers/endpoint-slice/index.ts';
import garbageCollector from '../../../plugins/controllers/garbage-collector/index.ts';
import nodeIpam from '../../../plugins/controllers/node-ipam/index.ts';
import replicaset from '../../../plugins/controllers/replicaset/index.ts';
import spread from '../../../plugins/schedulers/spread/index.ts';
import {
  eventually,
  makeNode,
  openControlPlane,
  podSpec,
  quiescence,
  setRunning,
  startPlugin,
} from './control-plane.ts';
import { faulty, randomOf } from './faulty-cluster.ts';

for (const seed of [1, 2, 3])
  test(`in the end everything is as asked for, faults of seed ${seed}`, async (t) => {
    const { cluster } = await openControlPlane(t);
    const random = randomOf(seed);
    let isOn = true;
    const bad = faulty(cluster, random, () => isOn);
    const stop = new AbortController();
    const running: Promise<void>[] = [];
    for (const plugin of [replicaset, deployment, endpointSlice, garbageCollector, nodeIpam]) {
      const controller = await startPlugin<Controller>(plugin, { uses: { cluster: bad } });
      running.push(controller.run(AbortSignal.any([stop.signal])));
    }
    const policy = await startPlugin<SchedulerPolicy>(spread);
    const component = await startPlugin<Component>(scheduler, {
      uses: { cluster: bad, scheduler: new Map([['spread', policy]]) },
    });
    let isTending = true;
    const tending = (async () => {
      while (isTending) {
        for (const pod of (await cluster.list(resources.pods)).items)
          if (pod.spec.nodeName !== undefined && pod.status?.podIP === undefined)
            await setRunning(cluster, pod).catch(() => undefined);
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
    })();
    t.teardown(async () => {
      isTending = false;
      await tending;
      stop.abort();
      await Promise.all(running);
      await component[Symbol.asyncDispose]();
    });

    for (const name of ['a', 'b', 'c']) await makeNode(cluster, name);
    const labels = { app: 'web' };
    const key = { namespace: 'default', name: 'web' };
    await cluster.create(resources.services, { metadata: key, spec: { selector: labels, ports: [{ port: 80 }] } });
    await cluster.create(resources.deployments, {
      metadata: key,
      spec: {
        replicas: 8,
        selector: { matchLabels: labels },
        template: { metadata: { labels }, spec: podSpec({ terminationGracePeriodSeconds: 0 }) },
      },
    });
    const doomed = await cluster.create(resources.deployments, {
      metadata: { namespace: 'default', name: 'doomed' },
      spec: {
        replicas: 4,
        selector: { matchLabels: { app: 'doomed' } },
        template: { metadata: { labels: { app: 'doomed' } }, spec: podSpec({ terminationGracePeriodSeconds: 0 }) },
      },
    });
    const change = (image: string, replicas: number) =>
      cluster.patch(resources.deployments, key, {
        kind: 'strategic',
        body: { spec: { replicas, template: { spec: { containers: [{ name: 'main', image }] } } } },
      });
    const wait = (what: string, replicas: number) =>
      eventually(what, async () => {
        const { metadata, status = {} } = await cluster.get(resources.deployments, key);
        return status.observedGeneration === metadata.generation && (status.updatedReplicas ?? 0) >= replicas;
      });
    await wait('the first pods', 2);
    await change('two', 10);
    await wait('the second template', 2);
    await cluster.delete(
      resources.deployments,
      { namespace: 'default', name: 'doomed' },
      { propagationPolicy: 'Foreground' },
    );
    await change('three', 6);
    await wait('the third template', 2);
    isOn = false;

    await eventually(
      'the rollout is complete',
      async () => {
        const { status } = await cluster.get(resources.deployments, key);
        const isDone = (['replicas', 'updatedReplicas', 'availableReplicas'] as const).every(
          (name) => status?.[name] === 6,
        );
        const { items } = await cluster.list(resources.endpointSlices);
        const ready = items
          .flatMap((slice) => slice.endpoints ?? [])
          .filter(({ conditions }) => conditions?.ready === true)
          .map(({ targetRef }) => targetRef?.uid ?? '');
        const active = (await cluster.list(resources.pods)).items
          .filter(isPodActive)
          .map(({ metadata }) => metadata.uid);
        const sets = (await cluster.list(resources.replicaSets)).items;
        return (
          isDone &&
          isDeepStrictEqual(ready.toSorted(), active.toSorted()) &&
          sets.every((set) => controllerOf(set)?.name === 'web')
        );
        // A key that failed often is in backoff for some seconds more, in each loop for itself.
      },
      50_000,
    );
    await quiescence(cluster);
    const pods = (await cluster.list(resources.pods)).items.filter(isPodActive);
    t.is(pods.length, 6);
    t.deepEqual(new Set(pods.map((pod) => pod.spec.containers[0]?.image)), new Set(['three']));
    const onNodes = new Map<string, number>();
    for (const pod of pods) onNodes.set(pod.spec.nodeName ?? '', (onNodes.get(pod.spec.nodeName ?? '') ?? 0) + 1);
    t.false(onNodes.has(''));
    const { items: sets } = await cluster.list(resources.replicaSets);
    t.deepEqual(sets.map((set) => set.spec.replicas).toSorted(), [0, 0, 6]);
    t.false(sets.some((set) => controllerOf(set)?.uid === doomed.metadata.uid));
    const targets = (await cluster.list(resources.endpointSlices)).items.flatMap((slice) => slice.endpoints ?? []);
    t.deepEqual(
      targets.map((endpoint) => endpoint.targetRef?.uid).toSorted(),
      pods.map((pod) => pod.metadata.uid).toSorted(),
    );
    const ranges = (await cluster.list(resources.nodes)).items.map((node) => node.spec.podCIDR);
    t.is(new Set(ranges).size, 3);
    t.false(ranges.includes(undefined));
    const { items: events } = await cluster.list(resources.events);
    t.true(events.length > 0);
  });
