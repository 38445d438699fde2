import test from 'ava';
import type { NodeState, PodClass, SchedulerPolicy } from '../../../kernel/contract/index.ts';
import { recordCases } from '../../../kernel/conformance/recorder.ts';
import { schedulerConformance } from '../../../kernel/conformance/scheduler.ts';
import {
  enoughResources,
  freeHostPorts,
  nodeFilters,
  selectedNode,
  toleratedTaints,
} from '../../../kernel/machinery/scheduling/filters.ts';
import { nodePolicy } from '../../../kernel/machinery/scheduling/node-policy.ts';
import { leastAllocated, preferredNode, preferredTaints } from '../../../kernel/machinery/scheduling/scores.ts';

const good = (): SchedulerPolicy =>
  nodePolicy({
    scores: [
      [1, leastAllocated],
      [1, preferredNode],
      [1, preferredTaints],
    ],
  });

const without = (filter: (typeof nodeFilters)[number]): SchedulerPolicy => ({
  ...nodePolicy({ filters: nodeFilters.filter((other) => other !== filter), scores: [[1, leastAllocated]] }),
});

let calls = 0;

/** What is broken, the policy, and a case that must notice. */
const broken: readonly (readonly [string, () => SchedulerPolicy, RegExp])[] = [
  ['does not look at resources', () => without(enoughResources), /every resource that is short/],
  ['does not look at taints', () => without(toleratedTaints), /taints NoSchedule/],
  ['does not look at host ports', () => without(freeHostPorts), /host ports clash/],
  ['does not look at selectors', () => without(selectedNode), /every operator/],
  ['scores beyond 100', () => ({ ...good(), score: () => 101 }), /scores are numbers/],
  ['scores NaN on a bare node', () => ({ ...good(), score: (pod, node) => ratio(pod, node) }), /scores are numbers/],
  ['scores by chance', () => ({ ...good(), score: () => calls++ % 100 }), /same arguments/],
  ['lumps all pods into one class', () => ({ ...good(), classify: () => ({ key: '', local: true }) }), /one class/],
  [
    'has the name in the class',
    () => ({ ...good(), classify: (pod) => ({ key: pod.metadata.name, local: true }) }),
    /one class/,
  ],
  [
    'writes to its arguments',
    () => ({
      ...good(),
      filter: (pod, node, cluster) => {
        (node.hostPorts as Set<string>).add('TCP/0.0.0.0/1');
        return good().filter(pod, node, cluster);
      },
    }),
    /same arguments/,
  ],
  [
    'calls everything resolvable',
    () => ({
      ...good(),
      filter: (pod, node, cluster) => {
        const verdict = good().filter(pod, node, cluster);
        return verdict.fits ? verdict : { ...verdict, resolvable: true };
      },
    }),
    /called resolvable/,
  ],
  [
    'words reasons in its own way',
    () => ({
      ...good(),
      filter: (pod, node, cluster) => {
        const verdict = good().filter(pod, node, cluster);
        return verdict.fits ? verdict : { ...verdict, reasons: ['no'] };
      },
    }),
    /was named|is named|node selector/,
  ],
  [
    'prefers what is not preferred',
    () => ({ ...good(), score: (p, n, c) => 100 - good().score(p, n, c) }),
    /preference/,
  ],
];

function ratio(pod: PodClass, node: NodeState): number {
  return Math.min(100, ((pod.requests['cpu'] ?? 0) / (node.allocatable['cpu'] ?? 0)) * 100);
}

async function failuresOf(open: () => SchedulerPolicy): Promise<readonly string[]> {
  const recorder = recordCases();
  schedulerConformance(recorder.test, { name: 'subject', open: async () => open() });
  const results = await recorder.run();
  return results.filter((result) => result.outcome === 'failed').map((result) => result.title);
}

test('a correct policy passes every case', async (t) => {
  t.deepEqual(await failuresOf(good), []);
});

for (const [what, open, title] of broken) {
  test(`the kit notices a policy that ${what}`, async (t) => {
    const failures = await failuresOf(open);
    t.true(
      failures.some((failure) => title.test(failure)),
      `failed only: ${failures.join(' | ') || 'nothing'}`,
    );
  });
}
