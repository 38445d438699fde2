import test from 'ava';
import type { Node, Pod } from '../../../kernel/contract/kubernetes.ts';
import { fitProblem } from '../../../plugins/components/node-agent/fit-node.ts';

const node = {
  metadata: { name: 'n', labels: { disk: 'ssd' } },
  spec: {},
  status: { allocatable: { cpu: '2', memory: '1Gi', pods: '3' } },
} as unknown as Node;

function pod(uid: string, spec: Partial<Pod['spec']> = {}, more: Partial<Pod['status']> = { startTime: 'then' }): Pod {
  const metadata = { name: uid, namespace: 'd', uid };
  return { metadata, spec: { containers: [{ name: 'c', image: 'host' }], ...spec }, status: more } as unknown as Pod;
}
const asking = (cpu: string): Partial<Pod['spec']> => ({
  containers: [{ name: 'c', image: 'host', resources: { requests: { cpu } } }],
});
const port = (hostPort: number, hostIP?: string): Partial<Pod['spec']> => ({
  containers: [
    { name: 'c', image: 'host', ports: [{ containerPort: 80, hostPort, ...(hostIP === undefined ? {} : { hostIP }) }] },
  ],
});

test('resources: what taken pods ask for is gone; pods that are over, or not taken yet, hold nothing', (t) => {
  t.is(fitProblem(pod('new', asking('1500m')), node, []), undefined);
  t.deepEqual(fitProblem(pod('new', asking('1500m')), node, [pod('a', asking('600m'))]), {
    reason: 'OutOfcpu',
    message: "Pod was rejected: Node didn't have enough resource: cpu, requested: 1500, used: 600, capacity: 2000",
  });
  for (const status of [{ phase: 'Succeeded', startTime: 'then' }, { phase: 'Pending' }])
    t.is(fitProblem(pod('new', asking('1500m')), node, [pod('a', asking('600m'), status)]), undefined);
  t.is(fitProblem(pod('new', asking('1500m')), node, [pod('new', asking('1500m'))]), undefined, 'itself');
  const three = ['a', 'b', 'c'].map((uid) => pod(uid));
  t.is(fitProblem(pod('new'), node, three)?.reason, 'OutOfpods');
  t.is(fitProblem(pod('new'), node, three.slice(1)), undefined);
});

test('node selection, NoExecute taints and host ports', (t) => {
  t.is(fitProblem(pod('new', { nodeSelector: { disk: 'ssd' } }), node, []), undefined);
  t.deepEqual(fitProblem(pod('new', { nodeSelector: { disk: 'hdd' } }), node, []), {
    reason: 'NodeAffinity',
    message: "Pod was rejected: Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector",
  });
  const tainted = (effect: string) => ({ ...node, spec: { taints: [{ key: 'k', effect }] } }) as Node;
  t.is(fitProblem(pod('new'), tainted('NoExecute'), [])?.reason, 'TaintToleration');
  t.is(fitProblem(pod('new'), tainted('NoSchedule'), []), undefined);
  t.is(fitProblem(pod('new', { tolerations: [{ operator: 'Exists' }] }), tainted('NoExecute'), []), undefined);
  t.is(fitProblem(pod('new', port(80)), node, [pod('a', port(80, '10.0.0.1'))])?.reason, 'NodePorts');
  t.is(fitProblem(pod('new', port(80, '10.0.0.2')), node, [pod('a', port(80, '10.0.0.1'))]), undefined);
  t.is(fitProblem(pod('new', port(81)), node, [pod('a', port(80))]), undefined);
});
