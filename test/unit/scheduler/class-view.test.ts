import test from 'ava';
import fc from 'fast-check';
import { makeNode, makePod } from '../../../kernel/conformance/scheduler-fixtures.ts';
import type { SchedulerPolicy } from '../../../kernel/contract/index.ts';
import type { Node } from '../../../kernel/contract/kubernetes.ts';
import { nodePolicy } from '../../../kernel/machinery/scheduling/node-policy.ts';
import { classOf } from '../../../kernel/machinery/scheduling/pod-class.ts';
import { leastAllocated, mostAllocated } from '../../../kernel/machinery/scheduling/scores.ts';
import { ClassView } from '../../../plugins/components/scheduler/class-view.ts';
import { NodeCache } from '../../../plugins/components/scheduler/node-cache.ts';

const named = (name: string, cpu = '4'): Node => {
  const node = makeNode({ allocatable: { cpu, memory: '8Gi', pods: '110' } });
  return { ...node, metadata: { ...node.metadata, name, uid: name } };
};

const step = fc.oneof(
  fc.record({ what: fc.constant('node' as const), node: fc.nat(7), cpu: fc.constantFrom('1', '4', '8') }),
  fc.record({ what: fc.constant('no-node' as const), node: fc.nat(7) }),
  fc.record({
    what: fc.constant('pod' as const),
    pod: fc.nat(9),
    node: fc.nat(7),
    cpu: fc.constantFrom('0', '500m', '3'),
  }),
  fc.record({ what: fc.constant('no-pod' as const), pod: fc.nat(9) }),
  fc.record({ what: fc.constant('choose' as const) }),
);

for (const [name, score] of [
  ['least', leastAllocated],
  ['most', mostAllocated],
] as const)
  test(`after any changes the choice is a best one, as if every node were judged anew: ${name} allocated`, (t) => {
    const policy = nodePolicy({ scores: [[1, score]] });
    const podClass = classOf(makePod({ cpu: '1' }), policy);
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const cache = new NodeCache();
        const view = new ClassView(podClass, policy, cache, () => 0.5);
        for (const one of [...steps, { what: 'choose' as const }]) {
          if (one.what === 'node') cache.setNode(named(`node-${one.node}`, one.cpu));
          else if (one.what === 'no-node') cache.removeNode(`node-${one.node}`);
          else if (one.what === 'pod') {
            const id = `default/pod-${one.pod}`;
            cache.setPod(id, makePod({ name: `pod-${one.pod}`, cpu: one.cpu }), `node-${one.node}`);
          } else if (one.what === 'no-pod') cache.removePod(`default/pod-${one.pod}`);
          else {
            const fitting = [...cache.nodes.values()].filter((node) => policy.filter(podClass, node, cache).fits);
            const best = Math.max(...fitting.map((node) => policy.score(podClass, node, cache)));
            const chosen = view.choose();
            if (chosen === undefined) {
              if (fitting.length > 0) return false;
              continue;
            }
            const node = cache.nodes.get(chosen);
            if (node === undefined || !fitting.includes(node) || policy.score(podClass, node, cache) !== best)
              return false;
          }
        }
        return true;
      }),
      { numRuns: 300 },
    );
    t.pass();
  });

test('only nodes that changed are judged again, even after the change log was trimmed', (t) => {
  let judged = 0;
  const policy: SchedulerPolicy = {
    classify: () => ({ key: '', local: true }),
    filter: () => {
      judged++;
      return { fits: true };
    },
    score: () => 1,
  };
  const cache = new NodeCache();
  for (let i = 0; i < 50; i++) cache.setNode(named(`node-${i}`));
  const view = new ClassView(classOf(makePod({}), policy), policy, cache, Math.random);
  view.choose();
  t.is(judged, 50);
  view.choose();
  t.is(judged, 50);
  cache.setPod('default/a', makePod({ name: 'a', cpu: '1' }), 'node-3');
  cache.setPod('default/b', makePod({ name: 'b', cpu: '1' }), 'node-3');
  view.choose();
  t.is(judged, 51);
  for (let i = 0; i < 5000; i++) cache.setPod('default/a', makePod({ name: 'a', cpu: '1' }), `node-${i % 2}`);
  t.is(cache.changesSince(60), undefined, 'the log is bounded');
  t.truthy(view.choose());
  t.true(judged <= 51 + 50);
});

test('a heartbeat and a pod status are no change; labels, taints, capacity and requests are', (t) => {
  const cache = new NodeCache();
  const node = named('n');
  cache.setNode(node);
  const pod = makePod({ cpu: '1' });
  cache.setPod('default/pod', pod, 'n');
  const generation = () => cache.nodes.get('n')?.generation;
  const before = generation();
  const beat = { ...node, metadata: { ...node.metadata, resourceVersion: '2' } };
  cache.setNode({ ...beat, status: { ...node.status, conditions: [] } });
  const quiet = generation();
  const withTime = (time: string) => ({
    ...beat,
    status: { ...node.status, conditions: [{ type: 'Ready', status: 'True', lastHeartbeatTime: time }] },
  });
  cache.setNode(withTime('a'));
  const ready = generation();
  cache.setNode(withTime('b'));
  t.is(generation(), ready);
  cache.setPod('default/pod', { ...pod, status: { phase: 'Running' } }, 'n');
  t.is(generation(), ready);
  t.not(before, undefined);
  t.not(quiet, ready, 'a new condition is a change');
  cache.setNode({ ...withTime('b'), spec: { taints: [{ key: 'k', effect: 'NoSchedule' }] } });
  const tainted = generation();
  t.not(tainted, ready);
  cache.setPod('default/pod', makePod({ cpu: '2' }), 'n');
  t.not(generation(), tainted);
  t.is(cache.nodes.get('n')?.requested['cpu'], 2000);
});

test('host ports are free again when their last user has gone', (t) => {
  const cache = new NodeCache();
  cache.setNode(named('n'));
  for (const name of ['a', 'b']) cache.setPod(`default/${name}`, makePod({ name, hostPort: { hostPort: 80 } }), 'n');
  const ports = () => [...(cache.nodes.get('n')?.hostPorts ?? [])];
  cache.removePod('default/a');
  t.deepEqual(ports(), ['TCP/0.0.0.0/80']);
  cache.removePod('default/b');
  t.deepEqual(ports(), []);
  t.deepEqual({ ...cache.nodes.get('n')?.requested }, {});
});

test('pods of a node that is not known yet count when it comes', (t) => {
  const cache = new NodeCache();
  cache.setPod('default/early', makePod({ name: 'early', cpu: '3' }), 'n');
  t.is(cache.nodes.size, 0);
  cache.setNode(named('n'));
  t.is(cache.nodes.get('n')?.requested['cpu'], 3000);
  cache.removeNode('n');
  t.is(cache.nodes.size, 0);
  cache.setNode(named('n'));
  t.is(cache.nodes.get('n')?.requested['cpu'], 3000, 'they are still there');
});

test('a score that is no number from 0 to 100 is an error that names node and score', (t) => {
  const cache = new NodeCache();
  cache.setNode(named('n'));
  for (const bad of [101, -1, NaN]) {
    const policy: SchedulerPolicy = { filter: () => ({ fits: true }), score: () => bad };
    const view = new ClassView(classOf(makePod({}), policy), policy, cache, Math.random);
    t.throws(() => view.choose(), { message: new RegExp(`node n with ${bad};`) });
  }
});
