import test from 'ava';
import { endingNext } from '../../../plugins/components/node-agent/pod-worker.ts';
import type { Container as Definition, Pod } from '../../../kernel/contract/kubernetes.ts';
import type { Container } from '../../../kernel/contract/index.ts';
import {
  podStatus,
  isOver,
  lostContainers,
  qosClass,
  restarts,
  unreportedStarts,
  type PodObservation,
} from '../../../plugins/components/node-agent/pod-status.ts';

const nowMs = Date.parse('2026-01-02T03:04:05Z');

function pod(spec: Partial<Pod['spec']>, status: Pod['status'] = {}): Pod {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'p', namespace: 'd', uid: 'u', resourceVersion: '1', creationTimestamp: '' },
    spec: { containers: [{ name: 'c', image: 'host' }], ...spec },
    status,
  };
}

function container(name: string, attempt: number, state: Container['state'], more: Partial<Container> = {}): Container {
  return {
    ...{ id: `u_${name}_${attempt}`, sandboxId: 'u_0', name, attempt, image: 'host', imageId: 'i', labels: {}, state },
    ...{ createdMs: nowMs - 9000, startedMs: nowMs - 8000, logPath: '' },
    ...(state === 'exited' ? { finishedMs: nowMs - 1000, exitCode: 0 } : {}),
    ...more,
  };
}

const names = (containers: readonly Container[]) =>
  containers.filter((each) => each.state === 'running').map((each) => each.name);
function observe(containers: readonly Container[], more: Partial<PodObservation> = {}): PodObservation {
  const up = new Set(names(containers));
  return {
    containers,
    podIps: ['10.0.0.1'],
    hostIps: ['192.0.2.1'],
    sandboxReady: true,
    problems: new Map(),
    started: up,
    ready: up,
    nowMs,
    ...more,
  };
}

const init: Definition = { name: 'i', image: 'host' };
const sidecar: Definition = { name: 's', image: 'host', restartPolicy: 'Always' };

/** title, spec, containers, expected phase, Ready, reason or state of the first container. */
const cases: readonly [string, Partial<Pod['spec']>, Container[], string, string, string][] = [
  ['nothing started', {}, [], 'Pending', 'False', 'ContainerCreating'],
  ['running', {}, [container('c', 0, 'running')], 'Running', 'True', 'running'],
  ['exited under Always', {}, [container('c', 0, 'exited')], 'Running', 'False', 'Completed'],
  ['done', { restartPolicy: 'Never' }, [container('c', 0, 'exited')], 'Succeeded', 'False', 'Completed'],
  ['failed', { restartPolicy: 'Never' }, [container('c', 0, 'exited', { exitCode: 3 })], 'Failed', 'False', 'Error'],
  [
    'fails on',
    { restartPolicy: 'OnFailure' },
    [container('c', 0, 'exited', { exitCode: 3 })],
    'Running',
    'False',
    'Error',
  ],
  ['init waits', { initContainers: [init] }, [], 'Pending', 'False', 'PodInitializing'],
  ['init runs', { initContainers: [init] }, [container('i', 0, 'running')], 'Pending', 'False', 'PodInitializing'],
  [
    'init failed',
    { initContainers: [init], restartPolicy: 'Never' },
    [container('i', 0, 'exited', { exitCode: 1 })],
    'Failed',
    'False',
    'PodInitializing',
  ],
  [
    'init done',
    { initContainers: [init] },
    [container('i', 0, 'exited'), container('c', 0, 'running')],
    'Running',
    'True',
    'running',
  ],
  [
    'sidecar and main',
    { initContainers: [sidecar] },
    [container('s', 0, 'running'), container('c', 0, 'running')],
    'Running',
    'True',
    'running',
  ],
  [
    'sidecar down',
    { initContainers: [sidecar] },
    [container('s', 0, 'exited'), container('c', 0, 'running')],
    'Running',
    'False',
    'running',
  ],
  [
    'job with sidecar',
    { initContainers: [sidecar], restartPolicy: 'Never' },
    [container('s', 0, 'running'), container('c', 0, 'exited')],
    'Running',
    'False',
    'Completed',
  ],
  [
    'job whose sidecar has ended too',
    { initContainers: [sidecar], restartPolicy: 'Never' },
    [container('s', 0, 'exited', { exitCode: 143 }), container('c', 0, 'exited')],
    'Succeeded',
    'False',
    'Completed',
  ],
  [
    'a container with a policy of its own',
    { containers: [{ name: 'c', image: 'host', restartPolicy: 'Never' }] },
    [container('c', 0, 'exited', { exitCode: 3 })],
    'Failed',
    'False',
    'Error',
  ],
  [
    'killed',
    { restartPolicy: 'Never' },
    [container('c', 0, 'exited', { exitCode: 137, reason: 'OOMKilled' })],
    'Failed',
    'False',
    'OOMKilled',
  ],
];

for (const [title, spec, containers, phase, ready, first] of cases) {
  test(`status: ${title}`, (t) => {
    const status = podStatus(pod(spec), observe(containers));
    t.is(status.phase, phase);
    t.is(status.conditions?.find((each) => each.type === 'Ready')?.status, ready);
    const state = status.containerStatuses![0]!.state!;
    t.is(state.running ? 'running' : (state.waiting?.reason ?? state.terminated?.reason), first);
  });
}

test('a container in back-off shows why, and its last end', (t) => {
  const dead = container('c', 2, 'exited', { exitCode: 1 });
  const problems = new Map([['c', { reason: 'CrashLoopBackOff', message: 'back-off 20s' }]]);
  const [status] = podStatus(pod({}), observe([container('c', 1, 'exited'), dead], { problems })).containerStatuses!;
  t.deepEqual(status!.state, { waiting: { reason: 'CrashLoopBackOff', message: 'back-off 20s' } });
  t.is(status!.lastState?.terminated?.exitCode, 1);
  t.is(status!.restartCount, 2);
});

test('a running container remembers the end of the attempt before', (t) => {
  const [status] = podStatus(
    pod({}),
    observe([container('c', 0, 'exited', { exitCode: 7 }), container('c', 1, 'running')]),
  ).containerStatuses!;
  t.is(status!.lastState?.terminated?.exitCode, 7);
  t.truthy(status!.state?.running);
});

test('readiness, gates, and foreign conditions', (t) => {
  const running = [container('c', 0, 'running')];
  const ready = (p: Pod, observed: PodObservation) =>
    podStatus(p, observed).conditions!.find((each) => each.type === 'Ready')!;
  t.is(ready(pod({}), observe(running, { ready: new Set() })).reason, 'ContainersNotReady');
  t.is(ready(pod({}), observe(running, { started: new Set() })).status, 'False');
  const gated = { readinessGates: [{ conditionType: 'example.org/ok' }] };
  t.is(ready(pod(gated), observe(running)).reason, 'ReadinessGatesNotReady');
  const foreign = { type: 'example.org/ok', status: 'True' as const };
  const status = podStatus(pod(gated, { conditions: [foreign] }), observe(running));
  t.is(status.conditions!.find((each) => each.type === 'Ready')!.status, 'True');
  t.deepEqual(
    status.conditions!.find((each) => each.type === 'example.org/ok'),
    foreign,
  );
});

test('a condition keeps its transition time until it changes', (t) => {
  const running = [container('c', 0, 'running')];
  const first = podStatus(pod({}), observe(running));
  const later = observe(running, { nowMs: nowMs + 60_000 });
  const same = podStatus(pod({}, first), later);
  t.deepEqual(same.conditions, first.conditions);
  t.is(same.startTime, first.startTime);
  const changed = podStatus(pod({}, first), { ...later, ready: new Set() });
  t.not(
    changed.conditions!.find((each) => each.type === 'Ready')!.lastTransitionTime,
    first.conditions!.find((each) => each.type === 'Ready')!.lastTransitionTime,
  );
});

test('restart rules come before the policies of container and pod', (t) => {
  const rules = (operator: string, values: number[]): Definition => ({
    name: 'c',
    image: 'host',
    restartPolicy: 'Never',
    restartPolicyRules: [{ action: 'Restart', exitCodes: { operator, values } }],
  });
  const ended = container('c', 0, 'exited', { exitCode: 42 });
  const goesOn = (definition: Definition, spec: Partial<Pod['spec']> = {}) => restarts(pod(spec), definition, ended);
  t.true(goesOn(rules('In', [42])));
  t.false(goesOn(rules('In', [1])));
  t.false(goesOn(rules('NotIn', [42])));
  t.true(goesOn(rules('NotIn', [1])));
  t.true(goesOn({ name: 'c', image: 'host' }));
  t.true(goesOn({ name: 'c', image: 'host' }, { restartPolicy: 'OnFailure' }));
  t.false(goesOn({ name: 'c', image: 'host' }, { restartPolicy: 'Never' }));
});

test('it is over when nothing restarts, whatever of it still runs', (t) => {
  const spec: Partial<Pod['spec']> = { initContainers: [sidecar], restartPolicy: 'Never' };
  t.true(isOver(pod(spec), [container('s', 0, 'running'), container('c', 0, 'exited')]));
  t.false(isOver(pod(spec), [container('s', 0, 'running'), container('c', 0, 'running')]));
  t.false(isOver(pod(spec), [container('s', 0, 'exited')]));
  t.false(isOver(pod({}), [container('c', 0, 'exited')]));
});

test('sidecars end after the others, the last one first', (t) => {
  const two = pod({ initContainers: [sidecar, { ...sidecar, name: 'r' }] });
  const up = ['s', 'r', 'c', 'd'].map((name) => container(name, 0, 'running'));
  const next = (count: number) => endingNext(two, up.slice(0, count)).map(({ name }) => name);
  t.deepEqual(next(4), ['c', 'd']);
  t.deepEqual(next(2), ['r']);
  t.deepEqual(next(1), ['s']);
  t.deepEqual(endingNext(undefined, up), up);
});

test('ephemeral containers are told apart and count for nothing', (t) => {
  const spec = { ephemeralContainers: [{ name: 'debug', image: 'host' }] };
  const status = podStatus(pod(spec), observe([container('c', 0, 'running'), container('debug', 0, 'exited')]));
  t.is(status.conditions?.find((each) => each.type === 'Ready')?.status, 'True');
  t.like(status.ephemeralContainerStatuses?.[0], { name: 'debug', ready: false, restartCount: 0 });
  t.is(status.ephemeralContainerStatuses![0]!.state?.terminated?.exitCode, 0);
});

test('the generation that a status speaks of is in it and in its conditions', (t) => {
  const third = pod({});
  third.metadata.generation = 3;
  const status = podStatus(third, observe([container('c', 0, 'running')]));
  t.is(status.observedGeneration, 3);
  t.true(status.conditions!.every((each) => each.observedGeneration === 3));
});

test('a terminal phase stays', (t) => {
  t.is(podStatus(pod({}, { phase: 'Failed' }), observe([container('c', 0, 'running')])).phase, 'Failed');
  t.is(podStatus(pod({}), observe([], { failure: { reason: 'Evicted', message: 'm' } })).reason, 'Evicted');
});

test('of a pod that was refused its own reason is shown, not that of containers that never were', (t) => {
  const failure = { reason: 'SysctlForbidden', message: 'no' };
  const refused = podStatus(pod({}), observe([], { failure }));
  t.like(refused, { phase: 'Failed', reason: 'SysctlForbidden', containerStatuses: undefined });
  const waiting = podStatus(pod({}), observe([]));
  t.deepEqual(podStatus(pod({}, waiting), observe([], { failure })).containerStatuses, []);
  const ran = podStatus(pod({}), observe([container('c', 0, 'exited')], { failure }));
  t.is(ran.containerStatuses?.length, 1);
});

test('QoS classes', (t) => {
  const resources = (requests: object, limits: object) =>
    pod({ containers: [{ name: 'c', resources: { requests, limits } as Definition['resources'] } as Definition] });
  t.is(qosClass(pod({})), 'BestEffort');
  t.is(qosClass(resources({ cpu: '1' }, {})), 'Burstable');
  t.is(qosClass(resources({}, { cpu: '1', memory: '1Gi' })), 'Guaranteed');
  t.is(qosClass(resources({ cpu: '500m' }, { cpu: '1', memory: '1Gi' })), 'Burstable');
});

test('starts that came to nothing unheard of', (t) => {
  const failed = (name: string, attempt: number) =>
    container(name, attempt, 'exited', { startedMs: undefined, exitCode: 128 });
  const reported = podStatus(pod({}), observe([failed('c', 1)]));
  const all = [
    failed('c', 0),
    failed('c', 1),
    failed('c', 2),
    container('c', 3, 'exited'),
    container('c', 4, 'running'),
  ];
  t.deepEqual(
    unreportedStarts(pod({}, reported), all).map((each) => each.attempt),
    [0, 2],
  );
});

test('a pod that its init container failed was never initialized; one that was stays so', (t) => {
  const spec: Partial<Pod['spec']> = { initContainers: [init], restartPolicy: 'Never' };
  const initialized = (given: Pod, containers: readonly Container[]) => {
    const status = podStatus(given, observe(containers));
    const { status: value, reason } = status.conditions?.find(({ type }) => type === 'Initialized') ?? {};
    return [status.phase, value, reason];
  };
  const failed = container('i', 0, 'exited', { exitCode: 1 });
  t.deepEqual(initialized(pod(spec), [failed]), ['Failed', 'False', 'ContainersNotInitialized']);
  const told = podStatus(pod(spec), observe([failed]));
  t.deepEqual(initialized(pod(spec, told), []), ['Failed', 'False', 'ContainersNotInitialized']);
  const ran = [container('i', 0, 'exited'), container('c', 0, 'exited', { exitCode: 1 })];
  t.deepEqual(initialized(pod(spec), ran), ['Failed', 'True', undefined]);
  t.deepEqual(initialized(pod(spec, podStatus(pod(spec), observe(ran))), []), ['Failed', 'True', undefined]);
  const done = [container('i', 0, 'exited'), container('c', 0, 'exited')];
  t.deepEqual(initialized(pod(spec), done), ['Succeeded', 'True', 'PodCompleted']);
});

test('containers that the API knows and no runtime does have ended: a pod that runs once is over, another goes on', (t) => {
  const done = container('i', 0, 'exited', { finishedMs: nowMs - 5000 });
  const before = { initContainers: [init], restartPolicy: 'Never' };
  const known = podStatus(pod(before), observe([done, container('c', 0, 'running')]));
  t.is(known.phase, 'Running');
  const lost = lostContainers(pod(before, known), nowMs);
  t.deepEqual(
    lost.map(({ id, state, exitCode, reason }) => [id, state, exitCode, reason]),
    [
      ['u_i_0', 'exited', 0, 'Completed'],
      ['u_c_0', 'exited', 137, 'ContainerStatusUnknown'],
    ],
  );
  t.true(isOver(pod(before, known), lost));
  const after = podStatus(pod(before, known), observe(lost));
  t.is(after.phase, 'Failed');
  t.is(after.containerStatuses![0]!.state?.terminated?.reason, 'ContainerStatusUnknown');
  t.is(after.containerStatuses![0]!.restartCount, 0);

  const ended = podStatus(pod(before), observe([done, container('c', 0, 'exited')]));
  t.is(
    podStatus(pod(before, { ...ended, phase: 'Running' }), observe(lostContainers(pod({}, ended), nowMs))).phase,
    'Succeeded',
  );
  t.false(isOver(pod({}, known), lostContainers(pod({}, known), nowMs)));
  t.deepEqual(lostContainers(pod({}), nowMs), [], 'of a pod that has not begun');
});
