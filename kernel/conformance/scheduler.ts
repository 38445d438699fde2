/**
 * Conformance kit of kind `scheduler`: what every policy must respect, whatever its taste. It checks the verdicts on one
 * node and the purity of both functions; which of two fitting nodes is better is the policy's own business, except that
 * a stated preference must not make a node worse.
 */
import type { PodClass, SchedulerCapability, SchedulerPolicy, Verdict } from '../contract/index.ts';
import type { Node, NodeSelectorRequirement, Pod } from '../contract/kubernetes.ts';
import { classOf } from '../machinery/scheduling/pod-class.ts';
import { registerCases, type KitAssertions, type KitCase, type KitTest } from './kit.ts';
import { clusterOf, makeNode, makePod, stateOf, type PodShape } from './scheduler-fixtures.ts';

type Case = KitCase<SchedulerPolicy, SchedulerCapability>;

const judge = (policy: SchedulerPolicy, pod: Pod, node: Node, placed: readonly Pod[] = []): Verdict => {
  const state = stateOf(node, placed);
  return policy.filter(classOf(pod, policy), state, clusterOf(state));
};

const scoreOf = (policy: SchedulerPolicy, pod: Pod, node: Node): number => {
  const state = stateOf(node);
  return policy.score(classOf(pod, policy), state, clusterOf(state));
};

function refused(t: KitAssertions, verdict: Verdict, reason: RegExp, message: string): void {
  t.false(verdict.fits, message);
  if (verdict.fits) return;
  t.true(
    verdict.reasons.some((text) => reason.test(text)),
    `${message}: expected the reason ${reason}, got ${JSON.stringify(verdict.reasons)}`,
  );
}

const resourceCases: readonly Case[] = [
  {
    title: 'a pod fits a node with room, to the last millicore and byte',
    run: async (t, policy) => {
      t.true(judge(policy, makePod({ cpu: '4', memory: '8Gi' }), makeNode()).fits, 'all of an empty node');
      const half = makePod({ name: 'other', cpu: '2', memory: '4Gi' });
      t.true(judge(policy, makePod({ cpu: '2', memory: '4Gi' }), makeNode(), [half]).fits, 'the other half');
      t.true(judge(policy, makePod({}), makeNode(), [makePod({ name: 'other', cpu: '4' })]).fits, 'no requests');
    },
  },
  {
    title: 'every resource that is short is named, pods on the node counted',
    run: async (t, policy) => {
      const placed = [makePod({ name: 'other', cpu: '3', memory: '6Gi' })];
      const verdict = judge(policy, makePod({ cpu: '2', memory: '3Gi' }), makeNode(), placed);
      refused(t, verdict, /^Insufficient cpu$/, 'cpu in use');
      refused(t, verdict, /^Insufficient memory$/, 'memory in use');
      refused(t, judge(policy, makePod({ cpu: '4001m' }), makeNode()), /^Insufficient cpu$/, 'more than there is');
      refused(
        t,
        judge(policy, makePod({ extra: { 'example.com/gpu': '1' } }), makeNode()),
        /^Insufficient example.com\/gpu$/,
        'a resource that the node lacks',
      );
    },
  },
  {
    title: 'a node takes no more pods than its limit',
    run: async (t, policy) => {
      const node = makeNode({ allocatable: { cpu: '4', memory: '8Gi', pods: '2' } });
      const placed = ['a', 'b'].map((name) => makePod({ name }));
      t.true(judge(policy, makePod({}), node, placed.slice(1)).fits);
      refused(t, judge(policy, makePod({}), node, placed), /^Too many pods$/, 'the third of two');
    },
  },
  {
    title: 'an init container counts where it needs more than the containers, a sidecar beside them',
    run: async (t, policy) => {
      const init = makePod({ cpu: '1', initCpu: '5' });
      refused(t, judge(policy, init, makeNode()), /Insufficient cpu/, 'init container of 5 on 4');
      t.true(judge(policy, makePod({ cpu: '3', initCpu: '4' }), makeNode()).fits, 'the larger, not the sum');
      const sidecar = makePod({ cpu: '3', initCpu: '2', sidecar: true });
      refused(t, judge(policy, sidecar, makeNode()), /Insufficient cpu/, 'sidecar of 2 beside 3 on 4');
    },
  },
  {
    title: 'only what evicting pods could cure is called resolvable',
    run: async (t, policy) => {
      const resolvable = (verdict: Verdict) => !verdict.fits && verdict.resolvable;
      const placed = [makePod({ name: 'other', cpu: '3' })];
      t.true(resolvable(judge(policy, makePod({ cpu: '2' }), makeNode(), placed)), 'cpu in use by others');
      t.false(resolvable(judge(policy, makePod({ cpu: '5' }), makeNode(), placed)), 'more cpu than the node has');
      t.false(resolvable(judge(policy, makePod({ nodeSelector: { disk: 'ssd' } }), makeNode())), 'a label is missing');
    },
  },
];

const expressions: readonly (readonly [NodeSelectorRequirement, boolean])[] = [
  [{ key: 'zone', operator: 'In', values: ['a', 'b'] }, true],
  [{ key: 'zone', operator: 'In', values: ['b'] }, false],
  [{ key: 'absent', operator: 'In', values: ['a'] }, false],
  [{ key: 'zone', operator: 'NotIn', values: ['b'] }, true],
  [{ key: 'zone', operator: 'NotIn', values: ['a'] }, false],
  [{ key: 'absent', operator: 'NotIn', values: ['a'] }, true],
  [{ key: 'zone', operator: 'Exists' }, true],
  [{ key: 'absent', operator: 'Exists' }, false],
  [{ key: 'absent', operator: 'DoesNotExist' }, true],
  [{ key: 'zone', operator: 'DoesNotExist' }, false],
  [{ key: 'cores', operator: 'Gt', values: ['9'] }, true],
  [{ key: 'cores', operator: 'Gt', values: ['10'] }, false],
  [{ key: 'cores', operator: 'Lt', values: ['11'] }, true],
  [{ key: 'cores', operator: 'Lt', values: ['10'] }, false],
  [{ key: 'zone', operator: 'Gt', values: ['1'] }, false],
];

const selection = /^node\(s\) didn't match Pod's node affinity\/selector$/;

const selectionCases: readonly Case[] = [
  {
    title: 'a node selector is met by all its labels',
    run: async (t, policy) => {
      const pod = makePod({ nodeSelector: { zone: 'a', disk: 'ssd' } });
      t.true(judge(policy, pod, makeNode({ labels: { zone: 'a', disk: 'ssd' } })).fits);
      refused(t, judge(policy, pod, makeNode({ labels: { zone: 'a' } })), selection, 'one of two labels');
    },
  },
  {
    title: 'required node affinity: every operator',
    run: async (t, policy) => {
      const node = makeNode({ labels: { zone: 'a', cores: '10' } });
      for (const [expression, fits] of expressions) {
        const verdict = judge(policy, makePod({ required: [{ matchExpressions: [expression] }] }), node);
        t.is(verdict.fits, fits, JSON.stringify(expression));
      }
    },
  },
  {
    title:
      'required node affinity: terms are alternatives, the expressions of a term are not, an empty term matches nothing',
    run: async (t, policy) => {
      const node = makeNode({ labels: { zone: 'a', disk: 'ssd' } });
      const zone = (...values: string[]) => ({ key: 'zone', operator: 'In', values });
      const disk = (...values: string[]) => ({ key: 'disk', operator: 'In', values });
      const fits = (required: NonNullable<PodShape['required']>) => judge(policy, makePod({ required }), node).fits;
      t.true(fits([{ matchExpressions: [zone('b')] }, { matchExpressions: [zone('a')] }]), 'the second term');
      t.false(fits([{ matchExpressions: [zone('a'), disk('hdd')] }]), 'one of two expressions');
      t.false(fits([{}]), 'an empty term');
      t.true(fits([{ matchFields: [{ key: 'metadata.name', operator: 'In', values: ['node'] }] }]), 'the name');
      t.false(fits([{ matchFields: [{ key: 'metadata.name', operator: 'In', values: ['other'] }] }]), 'another name');
    },
  },
  {
    title: 'a requested node name is respected',
    run: async (t, policy) => {
      t.true(judge(policy, makePod({ nodeName: 'node' }), makeNode()).fits);
      refused(t, judge(policy, makePod({ nodeName: 'other' }), makeNode()), /requested node name/, 'another name');
    },
  },
  {
    title: 'an unschedulable node takes only pods that tolerate it',
    run: async (t, policy) => {
      const node = makeNode({ unschedulable: true });
      refused(t, judge(policy, makePod({}), node), /^node\(s\) were unschedulable$/, 'cordoned');
      const tolerations = [{ key: 'node.kubernetes.io/unschedulable', operator: 'Exists' }];
      t.true(judge(policy, makePod({ tolerations }), node).fits, 'tolerated');
    },
  },
  {
    title: 'taints NoSchedule and NoExecute keep pods away, PreferNoSchedule does not',
    run: async (t, policy) => {
      for (const effect of ['NoSchedule', 'NoExecute']) {
        const node = makeNode({ taints: [{ key: 'team', value: 'x', effect }] });
        refused(t, judge(policy, makePod({}), node), /untolerated taint \{team: x\}/, effect);
        const tolerated = (toleration: object) =>
          judge(policy, makePod({ tolerations: [toleration as never] }), node).fits;
        t.true(tolerated({ key: 'team', value: 'x', effect }), 'equal');
        t.true(tolerated({ key: 'team', operator: 'Exists' }), 'exists, every effect');
        t.true(tolerated({ operator: 'Exists' }), 'everything');
        t.false(tolerated({ key: 'team', value: 'y', effect }), 'another value');
        t.false(tolerated({ key: 'other', operator: 'Exists' }), 'another key');
        t.false(tolerated({ key: 'team', operator: 'Exists', effect: 'PreferNoSchedule' }), 'another effect');
      }
      t.true(judge(policy, makePod({}), makeNode({ taints: [{ key: 'a', effect: 'PreferNoSchedule' }] })).fits);
    },
  },
  {
    title: 'host ports clash by protocol, port and overlapping address',
    run: async (t, policy) => {
      const fits = (wanted: PodShape['hostPort'], used: PodShape['hostPort']) =>
        judge(policy, makePod({ hostPort: wanted }), makeNode(), [makePod({ name: 'other', hostPort: used })]).fits;
      t.false(fits({ hostPort: 80 }, { hostPort: 80 }), 'the same');
      t.true(fits({ hostPort: 80 }, { hostPort: 81 }), 'another port');
      t.true(fits({ hostPort: 80, protocol: 'UDP' }, { hostPort: 80 }), 'another protocol');
      t.true(fits({ hostPort: 80, hostIP: '10.0.0.1' }, { hostPort: 80, hostIP: '10.0.0.2' }), 'other addresses');
      t.false(fits({ hostPort: 80, hostIP: '10.0.0.1' }, { hostPort: 80 }), 'the wildcard is in use');
      t.false(fits({ hostPort: 80 }, { hostPort: 80, hostIP: '10.0.0.1' }), 'the wildcard is wanted');
      t.true(fits({ hostPort: 80 }, { hostPort: 8080, hostIP: '10.0.0.1' }), 'a port that ends alike');
    },
  },
];

const purityCases: readonly Case[] = [
  {
    title: 'scores are numbers from 0 to 100, on an empty, a full and a bare node',
    run: async (t, policy) => {
      const pods = [makePod({}), makePod({ cpu: '1', memory: '1Gi' }), makePod({ preferred: [['zone', 'a', 3]] })];
      const nodes = [
        makeNode(),
        makeNode({ labels: { zone: 'a' }, taints: [{ key: 'a', effect: 'PreferNoSchedule' }] }),
        makeNode({ allocatable: {} }),
      ];
      for (const pod of pods)
        for (const node of nodes) {
          const score = scoreOf(policy, pod, node);
          t.true(typeof score === 'number' && score >= 0 && score <= 100, `score ${score}`);
        }
    },
  },
  {
    title: 'the same arguments give the same answers, and stay as they are',
    run: async (t, policy) => {
      const pod = makePod({ cpu: '1', preferred: [['zone', 'a', 3]], hostPort: { hostPort: 80 } });
      const state = stateOf(makeNode({ labels: { zone: 'a' } }), [makePod({ name: 'other', cpu: '1' })]);
      const cluster = clusterOf(state);
      const podClass: PodClass = classOf(pod, policy);
      const before = JSON.stringify([podClass, state, [...state.hostPorts], [...state.pods]]);
      const verdicts: unknown[] = [];
      const scores: unknown[] = [];
      for (let i = 0; i < 20; i++) {
        verdicts.push(JSON.stringify(policy.filter(podClass, state, cluster)));
        scores.push(policy.score(podClass, state, cluster));
      }
      t.is(new Set(verdicts).size, 1, 'verdicts differ');
      t.is(new Set(scores).size, 1, 'scores differ');
      t.is(JSON.stringify([podClass, state, [...state.hostPorts], [...state.pods]]), before, 'an argument changed');
    },
  },
  {
    title: 'a stated preference or a soft taint never makes the other node better',
    run: async (t, policy) => {
      const pod = makePod({ cpu: '1', preferred: [['zone', 'a', 10]] });
      t.true(scoreOf(policy, pod, makeNode({ labels: { zone: 'a' } })) >= scoreOf(policy, pod, makeNode()));
      const soft = makeNode({ taints: [{ key: 'a', effect: 'PreferNoSchedule' }] });
      t.true(scoreOf(policy, makePod({}), makeNode()) >= scoreOf(policy, makePod({}), soft));
    },
  },
  {
    title: 'pods of one class get one verdict: what a verdict depends on is in the key',
    run: async (t, policy) => {
      const variants: readonly PodShape[] = [
        {},
        { cpu: '5' },
        { memory: '9Gi' },
        { initCpu: '5' },
        { nodeSelector: { disk: 'hdd' } },
        { required: [{ matchExpressions: [{ key: 'absent', operator: 'Exists' }] }] },
        { tolerations: [{ key: 'team', operator: 'Exists' }] },
        { hostPort: { hostPort: 80 } },
        { nodeName: 'other' },
      ];
      const nodes = [makeNode(), makeNode({ taints: [{ key: 'team', effect: 'NoSchedule' }] })];
      const placed = [makePod({ name: 'other', hostPort: { hostPort: 80 } })];
      const verdicts = new Map<string, string>();
      for (const variant of variants) {
        const pod = makePod(variant);
        const { key } = classOf(pod, policy);
        const answer = nodes.map((node) => judge(policy, pod, node, placed).fits).join();
        t.is(verdicts.get(key) ?? answer, answer, `${JSON.stringify(variant)} shares a class with a pod that differs`);
        verdicts.set(key, answer);
        t.is(classOf(makePod({ ...variant, name: 'twin' }), policy).key, key, 'the name is not part of the class');
      }
    },
  },
];

export const schedulerCases: readonly Case[] = [...resourceCases, ...selectionCases, ...purityCases];

export function schedulerConformance(
  test: KitTest,
  options: {
    readonly name: string;
    readonly capabilities?: readonly SchedulerCapability[];
    /** A new policy with its default config. */
    readonly open: () => Promise<SchedulerPolicy & Partial<AsyncDisposable>>;
  },
): void {
  registerCases(test, {
    name: options.name,
    capabilities: options.capabilities ?? [],
    cases: schedulerCases,
    subject: async (t) => {
      const policy = await options.open();
      t.teardown(() => policy[Symbol.asyncDispose]?.());
      return policy;
    },
  });
}
