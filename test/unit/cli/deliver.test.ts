/** `pintle deliver` against a real API and its controllers, where a whole cluster would not come to the moment in question. */
import test from 'ava';
import { Deliverer, type DeliverOptions } from '../../../cli/deliver/deliverer.ts';
import type { Delivery } from '../../../cli/deliver/job-objects.ts';
import { isPintleError, type Cluster } from '../../../kernel/contract/index.ts';
import type { Pod } from '../../../kernel/contract/kubernetes.ts';
import { systemClock } from '../../../kernel/machinery/clock.ts';
import { resources } from '../../../kernel/machinery/resources.ts';
import deployment from '../../../plugins/controllers/deployment/index.ts';
import garbageCollector from '../../../plugins/controllers/garbage-collector/index.ts';
import replicaset from '../../../plugins/controllers/replicaset/index.ts';
import { eventually, find, openControlPlane, patchStatus, runKubelet } from '../controllers/control-plane.ts';

const key = { namespace: 'default', name: 'shop' };
const ofJob = { namespace: 'default', labelSelector: 'pintle.dev/job=shop' };
const delivery = (image: string): Delivery => ({ ...key, image, code: undefined, command: [], port: undefined });
const imageOf = (pod: Pod) => pod.spec.containers[0]!.image;

async function open(t: { teardown(undo: () => unknown): void }, isReady: (pod: Pod) => boolean | undefined) {
  const clock = { ...systemClock, now: () => Date.now() - clock.behindMs, behindMs: 0 };
  const { cluster, controller } = await openControlPlane(t, clock);
  for (const plugin of [replicaset, deployment, garbageCollector]) await controller(plugin);
  runKubelet(t, cluster, { isReady });
  const said: string[] = [];
  const options: DeliverOptions = {
    replicas: undefined,
    expose: undefined,
    timeoutSeconds: 60,
    cause: 'test',
    log: async () => '',
    say: (line) => said.push(line),
  };
  return { cluster, clock, said, options, deliverer: new Deliverer(cluster) };
}

const imageNow = async (cluster: Cluster) =>
  (await cluster.get(resources.deployments, key)).spec.template.spec?.containers[0]?.image;

test('a delivery that another one overtakes says so, and leaves it alone', async (t) => {
  const { cluster, deliverer, options, said } = await open(t, (pod) => imageOf(pod) === 'two');
  const first = t.throwsAsync(deliverer.deliver(delivery('one'), options));
  await eventually('the first is on its way', () => said.some((line) => line.startsWith('1 of 1 updated')));
  const second = deliverer.deliver(delivery('two'), { ...options, say: () => undefined });
  t.regex((await first)!.message, /shop was not delivered: another delivery of this job has begun meanwhile/);
  t.is(await second, 'updated');
  t.is(await imageNow(cluster), 'two');
  t.false(said.some((line) => /going back|removed again/.test(line)));
});

test('an undo that fails goes back to what was there', async (t) => {
  let isOneGood = true;
  const { cluster, deliverer, options, said } = await open(t, (pod) =>
    imageOf(pod) === 'two' || isOneGood ? true : undefined,
  );
  await deliverer.deliver(delivery('one'), options);
  await deliverer.deliver(delivery('two'), options);
  isOneGood = false;
  const undone = t.throwsAsync(deliverer.undo(key, undefined, options));
  const pod = await eventually('a pod of the first revision', async () =>
    (await cluster.list(resources.pods, ofJob)).items.find(
      (each) => imageOf(each) === 'one' && each.metadata.deletionTimestamp === undefined && each.spec.nodeName,
    ),
  );
  const waiting = { reason: 'ImagePullBackOff', message: 'no such image' };
  await patchStatus(cluster, pod, {
    phase: 'Pending',
    containerStatuses: [{ name: 'main', image: 'one', imageID: '', ready: false, restartCount: 0, state: { waiting } }],
  });
  t.regex(
    (await undone)!.message,
    /shop did not get back to revision 1: pod shop-\S+: ImagePullBackOff: no such image/,
  );
  t.is(await imageNow(cluster), 'two');
  t.deepEqual(said.slice(-1), ['it stands as before']);
});

test('code that never came to a Deployment is removed by a later delivery, but not while it may be under way', async (t) => {
  const { cluster, clock, deliverer, options } = await open(t, () => true);
  const leave = (name: string) =>
    cluster.create(resources.configMaps, {
      metadata: { namespace: 'default', name, labels: { 'pintle.dev/job': 'shop' } },
    });
  clock.behindMs = 11 * 60_000;
  await leave('shop-code-old-0');
  clock.behindMs = 0;
  await leave('shop-code-new-0');
  await deliverer.deliver(delivery('one'), options);
  t.is(await find(cluster, resources.configMaps, { namespace: 'default', name: 'shop-code-old-0' }), undefined);
  t.truthy(await find(cluster, resources.configMaps, { namespace: 'default', name: 'shop-code-new-0' }));
});

test('a removal waits for the pods, but not for ever, and names what is left', async (t) => {
  const { cluster, deliverer, options } = await open(t, () => true);
  await deliverer.deliver(delivery('one'), options);
  const [pod] = (await cluster.list(resources.pods, ofJob)).items;
  const hold = (finalizers: readonly string[]) =>
    cluster.patch(
      resources.pods,
      { namespace: 'default', name: pod!.metadata.name },
      { kind: 'merge', body: { metadata: { finalizers } } },
    );
  await hold(['example.com/held']);
  const error = await t.throwsAsync(deliverer.delete(key, 1));
  t.true(isPintleError(error, 'TIMEOUT'));
  t.regex(error!.message, /shop is being removed, but not gone after 1 s; left: shop-\S+ \(node node-1\)\. Look at/);
  await hold([]);
  t.true(await deliverer.delete(key, 60));
  t.is(await find(cluster, resources.deployments, key), undefined);
  t.false(await deliverer.delete(key, 60));
});
