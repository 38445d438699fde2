import test from 'ava';
import type { Cluster, Component, SchedulerPolicy } from '../../../kernel/contract/index.ts';
import type { Affinity, PodSpec } from '../../../kernel/contract/kubernetes.ts';
import { findCondition } from '../../../kernel/machinery/metadata.ts';
import { resources } from '../../../kernel/machinery/resources.ts';
import scheduler from '../../../plugins/components/scheduler/index.ts';
import binpack from '../../../plugins/schedulers/binpack/index.ts';
import spread from '../../../plugins/schedulers/spread/index.ts';
import { eventually, find, makeNode, openControlPlane, podSpec, startPlugin } from '../controllers/control-plane.ts';

const hostname = 'kubernetes.io/hostname';
const zone = 'topology.kubernetes.io/zone';

async function open(t: Parameters<typeof openControlPlane>[0], plugin = spread as typeof spread | typeof binpack) {
  const { cluster } = await openControlPlane(t);
  const policy = await startPlugin<SchedulerPolicy>(plugin);
  const component = await startPlugin<Component>(scheduler, {
    uses: { cluster, scheduler: new Map([['policy', policy]]) },
    config: {},
  });
  t.teardown(() => component[Symbol.asyncDispose]());
  for (const [name, where] of [
    ['a1', 'a'],
    ['a2', 'a'],
    ['b1', 'b'],
    ['c1', undefined],
  ] as const)
    await makeNode(cluster, name, { labels: { [hostname]: name, ...(where && { [zone]: where }) } });
  return cluster;
}

const get = (cluster: Cluster, name: string, namespace = 'default') =>
  find(cluster, resources.pods, { namespace, name });

async function place(
  cluster: Cluster,
  name: string,
  labels: Record<string, string>,
  spec: Partial<PodSpec> = {},
  namespace = 'default',
): Promise<string> {
  await cluster.create(resources.pods, { metadata: { namespace, name, labels }, spec: podSpec(spec) });
  return eventually(`${name} is placed or not`, async () => {
    const pod = await get(cluster, name, namespace);
    const condition = findCondition(pod?.status?.conditions, 'PodScheduled');
    return (
      pod?.spec.nodeName ?? (condition?.status === 'False' ? condition.message?.split(' preemption')[0] : undefined)
    );
  });
}

const apart = (topologyKey: string, app: string, more: object = {}): Affinity => ({
  podAntiAffinity: {
    requiredDuringSchedulingIgnoredDuringExecution: [{ topologyKey, labelSelector: { matchLabels: { app } }, ...more }],
  },
});
const together = (topologyKey: string, app: string): Affinity => ({
  podAffinity: {
    requiredDuringSchedulingIgnoredDuringExecution: [{ topologyKey, labelSelector: { matchLabels: { app } } }],
  },
});

for (const [name, plugin] of [
  ['spread', spread],
  ['binpack', binpack],
] as const)
  test(`${name}: anti-affinity keeps apart, for those who come later as well`, async (t) => {
    const cluster = await open(t, plugin);
    const nodes = new Set<string>();
    for (let i = 0; i < 4; i++)
      nodes.add(await place(cluster, `x${i}`, { app: 'x' }, { affinity: apart(hostname, 'x') }));
    t.deepEqual([...nodes].sort(), ['a1', 'a2', 'b1', 'c1']);
    t.is(
      await place(cluster, 'x4', { app: 'x' }, { affinity: apart(hostname, 'x') }),
      "0/4 nodes are available: 4 node(s) didn't match pod anti-affinity rules.",
    );
    t.is(
      await place(cluster, 'plain', { app: 'x' }),
      "0/4 nodes are available: 4 node(s) didn't satisfy existing pods anti-affinity rules.",
      'it has no rule of its own, but the others do not want it',
    );
    t.regex(await place(cluster, 'other', { app: 'y' }), /^[abc][12]$/);
    await cluster.delete(resources.pods, { namespace: 'default', name: 'x0' }, { gracePeriodSeconds: 0 });
    await eventually('one of the two got the place', async () =>
      [await get(cluster, 'x4'), await get(cluster, 'plain')].some((pod) => pod?.spec.nodeName !== undefined),
    );
  });

test('affinity: the first of its kind goes anywhere with the label, the others to it', async (t) => {
  const cluster = await open(t);
  const affinity = together(zone, 'db');
  t.is(
    await place(cluster, 'client', { app: 'client' }, { affinity }),
    "0/4 nodes are available: 4 node(s) didn't match pod affinity rules.",
  );
  const first = await place(cluster, 'db0', { app: 'db' }, { affinity });
  t.regex(first, /^[ab]/);
  for (let i = 1; i < 4; i++) t.is((await place(cluster, `db${i}`, { app: 'db' }, { affinity }))[0], first[0]);
  t.is(
    (await eventually('the client follows', async () => (await get(cluster, 'client'))?.spec.nodeName))[0],
    first[0],
  );
});

test('affinity terms are about their namespaces', async (t) => {
  const cluster = await open(t);
  await cluster.create(resources.namespaces, { metadata: { name: 'blue', labels: { team: 'blue' } }, spec: {} });
  await place(cluster, 'x', { app: 'x' }, { nodeName: 'a1' }, 'blue');
  const at = { nodeSelector: { [hostname]: 'a1' } };
  t.is(await place(cluster, 'own', {}, { affinity: apart(hostname, 'x'), ...at }), 'a1', 'only its own by default');
  const refused =
    "0/4 nodes are available: 1 node(s) didn't match pod anti-affinity rules, 3 node(s) didn't match Pod's node affinity/selector.";
  const by = (name: string, more: object) => place(cluster, name, {}, { affinity: apart(hostname, 'x', more), ...at });
  t.is(await by('named', { namespaces: ['blue'] }), refused);
  t.is(await by('chosen', { namespaceSelector: { matchLabels: { team: 'blue' } } }), refused);
  t.is(await by('not-chosen', { namespaceSelector: { matchLabels: { team: 'red' } } }), 'a1');
  t.is(await by('all', { namespaceSelector: {} }), refused);
});

test('preferences decide among the nodes that fit', async (t) => {
  const cluster = await open(t);
  await place(cluster, 'db', { app: 'db' }, { nodeName: 'b1' });
  const prefer = (weight: number, kind: 'podAffinity' | 'podAntiAffinity'): Affinity => ({
    [kind]: {
      preferredDuringSchedulingIgnoredDuringExecution: [
        { weight, podAffinityTerm: { topologyKey: hostname, labelSelector: { matchLabels: { app: 'db' } } } },
      ],
    },
  });
  t.is(await place(cluster, 'near', {}, { affinity: prefer(100, 'podAffinity') }), 'b1');
  t.not(await place(cluster, 'far', {}, { affinity: prefer(100, 'podAntiAffinity') }), 'b1');
});

const constraint = (topologyKey: string, more: object = {}) => ({
  topologyKey,
  maxSkew: 1,
  whenUnsatisfiable: 'DoNotSchedule',
  labelSelector: { matchLabels: { app: 'w' } },
  ...more,
});

for (const [name, plugin] of [
  ['spread', spread],
  ['binpack', binpack],
] as const)
  test(`${name}: topology spread keeps the skew`, async (t) => {
    const cluster = await open(t, plugin);
    const perZone: Record<string, number> = {};
    for (let i = 0; i < 6; i++) {
      const node = await place(cluster, `w${i}`, { app: 'w' }, { topologySpreadConstraints: [constraint(zone)] });
      perZone[node[0]!] = (perZone[node[0]!] ?? 0) + 1;
    }
    t.deepEqual(perZone, { a: 3, b: 3 });
    await cluster.patch(resources.nodes, { name: 'b1' }, { kind: 'merge', body: { spec: { unschedulable: true } } });
    await place(cluster, 'w6', { app: 'w' }, { topologySpreadConstraints: [constraint(zone)] });
    t.is(
      await place(cluster, 'w7', { app: 'w' }, { topologySpreadConstraints: [constraint(zone)] }),
      "0/4 nodes are available: 1 node(s) didn't match pod topology spread constraints (missing required label), 1 node(s) were unschedulable, 2 node(s) didn't match pod topology spread constraints.",
    );
  });

test('topology spread: domains that must be there, and spreading that is only wished for', async (t) => {
  const cluster = await open(t);
  const three = { topologySpreadConstraints: [constraint(zone, { minDomains: 3 })] };
  const first = await place(cluster, 'w0', { app: 'w' }, three);
  const second = await place(cluster, 'w1', { app: 'w' }, three);
  t.not(first[0], second[0]);
  t.regex(await place(cluster, 'w2', { app: 'w' }, three), /didn't match pod topology spread constraints/);
  const soft = { topologySpreadConstraints: [constraint(hostname, { whenUnsatisfiable: 'ScheduleAnyway' })] };
  const nodes = new Set<string>();
  for (let i = 0; i < 2; i++) nodes.add(await place(cluster, `s${i}`, { app: 'w' }, soft));
  t.false(nodes.has(first), 'where one is already is the last choice');
  t.is(nodes.size, 2);
});
