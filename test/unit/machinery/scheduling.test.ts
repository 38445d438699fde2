import test from 'ava';
import type { Container, Pod, PodSpec } from '../../../kernel/contract/kubernetes.ts';
import { hostPortKey, podHostPorts, podRequests } from '../../../kernel/machinery/scheduling/pod-requests.ts';
import { dislikedTaints, tolerates } from '../../../kernel/machinery/scheduling/taints.ts';
import { nodePreference } from '../../../kernel/machinery/scheduling/node-selection.ts';
import { makeNode, makePod } from '../../../kernel/conformance/scheduler-fixtures.ts';
import { fullClassKey, nodeClassKey } from '../../../kernel/machinery/scheduling/pod-class.ts';

const container = (requests: Record<string, string>, more: Partial<Container> = {}): Container => ({
  name: 'c',
  resources: { requests },
  ...more,
});

const pod = (spec: Partial<PodSpec>): Pod => ({ ...makePod({}), spec: { containers: [], ...spec } });

const sidecar = { restartPolicy: 'Always' };

test('requests of a pod', (t) => {
  const of = (spec: Partial<PodSpec>) => podRequests(pod(spec));
  t.deepEqual(of({ containers: [container({}), container({})] }), { pods: 1 });
  t.deepEqual(of({ containers: [container({ cpu: '100m', memory: '1Ki' }), container({ cpu: '0.5' })] }), {
    cpu: 600,
    memory: 1024,
    pods: 1,
  });
  // The largest init container, not their sum.
  t.is(
    of({ containers: [container({ cpu: '1' })], initContainers: [container({ cpu: '3' }), container({ cpu: '2' })] })[
      'cpu'
    ],
    3000,
  );
  // A sidecar runs beside the containers and beside the init containers after it, not beside those before it.
  t.is(
    of({
      containers: [container({ cpu: '1' })],
      initContainers: [container({ cpu: '4' }), container({ cpu: '1' }, sidecar), container({ cpu: '4' })],
    })['cpu'],
    5000,
  );
  t.is(of({ containers: [container({ cpu: '2' })], initContainers: [container({ cpu: '1' }, sidecar)] })['cpu'], 3000);
  t.is(of({ containers: [container({ cpu: '1' })], overhead: { cpu: '250m' } })['cpu'], 1250);
  t.deepEqual(
    of({
      containers: [container({ cpu: '1', memory: '1Ki' })],
      resources: { requests: { cpu: '3' } },
      overhead: { cpu: '1' },
    }),
    { cpu: 4000, memory: 1024, pods: 1 },
    'requests of the pod replace the sum, overhead comes on top',
  );
});

test('host ports of a pod', (t) => {
  const ports = [
    { containerPort: 80 },
    { containerPort: 81, hostPort: 8081 },
    { containerPort: 53, hostPort: 53, protocol: 'UDP', hostIP: '10.0.0.1' },
  ];
  t.deepEqual(podHostPorts(pod({ containers: [container({}, { ports })] })).map(hostPortKey), [
    'TCP/0.0.0.0/8081',
    'UDP/10.0.0.1/53',
  ]);
});

test('tolerations', (t) => {
  const taint = { key: 'k', value: '5', effect: 'NoSchedule' };
  for (const [toleration, expected] of [
    [{ key: 'k', value: '5' }, true],
    [{ key: 'k', value: '6' }, false],
    [{ key: 'k', operator: 'Equal', value: '5', effect: 'NoSchedule' }, true],
    [{ key: 'k', operator: 'Exists', effect: 'NoExecute' }, false],
    [{ key: 'k', operator: 'Exists' }, true],
    [{ operator: 'Exists' }, true],
    [{ value: '5' }, false],
    [{ key: 'k', operator: 'Gt', value: '4' }, true],
    [{ key: 'k', operator: 'Gt', value: '5' }, false],
    [{ key: 'k', operator: 'Lt', value: '6' }, true],
    [{ key: 'k', operator: 'Lt', value: 'x' }, false],
    [{ key: 'k', operator: 'Like', value: '5' }, false],
  ] as const)
    t.is(tolerates(toleration, taint), expected, JSON.stringify(toleration));
});

test('soft taints and preferences', (t) => {
  const soft = { effect: 'PreferNoSchedule' };
  const node = makeNode({
    taints: [
      { key: 'a', ...soft },
      { key: 'b', ...soft },
      { key: 'c', effect: 'NoSchedule' },
    ],
    labels: { zone: 'x' },
  });
  t.is(dislikedTaints(node, undefined), 2);
  t.is(dislikedTaints(node, [{ key: 'a', operator: 'Exists' }]), 1);
  t.is(nodePreference(makePod({}), node), undefined);
  t.is(
    nodePreference(
      makePod({
        preferred: [
          ['zone', 'x', 30],
          ['zone', 'y', 10],
        ],
      }),
      node,
    ),
    0.75,
  );
});

test('the class of a pod: what is judged is in it, what is not is not', (t) => {
  const base = makePod({ cpu: '1' });
  const labelled = { ...base, metadata: { ...base.metadata, labels: { app: 'x' } } };
  t.is(nodeClassKey(base), nodeClassKey(labelled));
  t.not(fullClassKey(base), fullClassKey(labelled));
  t.is(
    nodeClassKey(makePod({ nodeSelector: { a: '1', b: '2' } })),
    nodeClassKey(makePod({ nodeSelector: { b: '2', a: '1' } })),
  );
  t.not(nodeClassKey(base), nodeClassKey(makePod({ cpu: '2' })));
  t.is(fullClassKey(base), fullClassKey(makePod({ cpu: '1', name: 'other' })));
});
