import test from 'ava';
import type { Pod } from '../../../kernel/contract/kubernetes.ts';
import { parseDurationMs } from '../../../plugins/controllers/horizontal-pod-autoscaler/duration.ts';
import type { PodUse } from '../../../plugins/controllers/horizontal-pod-autoscaler/pod-groups.ts';
import {
  replicasForAverage,
  replicasForUtilization,
  type ReplicaQuestion,
} from '../../../plugins/controllers/horizontal-pod-autoscaler/replica-calculator.ts';

const nowMs = Date.UTC(2030, 0, 1);
const iso = (ms: number): string => new Date(ms).toISOString();

interface Shape {
  /** Thousandths of a core; undefined: no figure. */
  readonly use?: number;
  readonly request?: string | null;
  readonly ready?: boolean;
  readonly phase?: string;
  readonly ageMs?: number;
  /** When Ready changed, after the start. */
  readonly readyAfterMs?: number;
  readonly deleted?: boolean;
  readonly sampleAgeMs?: number;
}

function question(shapes: readonly Shape[], more: Partial<ReplicaQuestion> = {}): ReplicaQuestion {
  const uses = new Map<string, PodUse>();
  const pods = shapes.map((shape, index) => {
    const name = `p${index}`;
    const startMs = nowMs - (shape.ageMs ?? 3_600_000);
    if (shape.use !== undefined)
      uses.set(name, { value: shape.use, timeMs: nowMs - (shape.sampleAgeMs ?? 0), windowMs: 15_000 });
    const requests = shape.request === null ? {} : { cpu: shape.request ?? '1' };
    return {
      metadata: { name, ...(shape.deleted ? { deletionTimestamp: iso(nowMs) } : {}) },
      spec: { containers: [{ name: 'main', resources: { requests } }] },
      status: {
        phase: shape.phase ?? 'Running',
        startTime: iso(startMs),
        conditions: [
          {
            type: 'Ready',
            status: (shape.ready ?? true) ? 'True' : 'False',
            lastTransitionTime: iso(startMs + (shape.readyAfterMs ?? 1000)),
          },
        ],
      },
    } as unknown as Pod;
  });
  return {
    currentReplicas: shapes.length,
    resource: 'cpu',
    pods,
    uses,
    tolerance: { up: 0.1, down: 0.1 },
    times: { cpuInitializationMs: 300_000, initialReadinessMs: 30_000 },
    nowMs,
    ...more,
  };
}

const of = (use: number, more: Shape = {}): Shape => ({ use, ...more });

const cases: readonly (readonly [string, readonly Shape[], number, number | RegExp])[] = [
  ['three pods at 90% of a target of 30 become nine', [of(900), of(900), of(900)], 30, 9],
  ['within the tolerance nothing changes', [of(540), of(540)], 50, 2],
  ['just above the tolerance one comes', [of(560), of(560)], 50, 3],
  ['idle pods go', [of(100), of(100), of(100), of(100)], 50, 1],
  ['a pod without a figure counts as idle when more are called for', [of(1000), of(1000), {}], 50, 4],
  ['... which may leave it as it is', [of(600), {}], 50, 2],
  ['a pod without a figure counts as busy when fewer are called for', [of(100), of(100), {}], 50, 3],
  [
    'pending pods count as idle when more are called for',
    [of(1000), { phase: 'Pending' }, { phase: 'Pending' }],
    50,
    3,
  ],
  [
    'pods that start burn CPU for no load: they count as idle',
    [of(800), of(1000, { ready: false, ageMs: 10_000 })],
    40,
    2,
  ],
  [
    'a ready pod whose sample is from before it was ready has not started',
    [of(800), of(1000, { ageMs: 20_000, readyAfterMs: 15_000 })],
    40,
    2,
  ],
  [
    'an old pod that became unready long after its start counts',
    [of(800), of(1000, { ready: false, readyAfterMs: 600_000 })],
    40,
    5,
  ],
  ['an old pod that never became ready does not', [of(800), of(1000, { ready: false, readyAfterMs: 1000 })], 40, 2],
  [
    'failed and leaving pods count for nothing',
    [of(800), of(1000, { phase: 'Failed' }), of(1000, { deleted: true })],
    40,
    2,
  ],
  [
    'one request that is missing says so',
    [of(1), of(1, { request: null })],
    50,
    /^missing request for cpu in container main of Pod p1$/,
  ],
  ['no figure at all says so', [{ phase: 'Pending' }], 50, /^did not receive metrics for targeted pods/],
  ['no pods say so', [], 50, /^no pods returned by selector/],
];
for (const [title, shapes, target, expected] of cases)
  test(title, (t) => {
    const ask = () => replicasForUtilization(question(shapes), target).replicas;
    if (expected instanceof RegExp) t.throws(ask, { message: expected });
    else t.is(ask(), expected);
  });

test('utilization and the mean of the pods are told', (t) => {
  t.deepEqual(replicasForUtilization(question([of(500), of(300)]), 80), {
    replicas: 1,
    utilization: 40,
    averageValue: 400,
  });
});

test('an average value is a target without requests', (t) => {
  const asked = question([of(300, { request: null }), of(500, { request: null })]);
  t.like(replicasForAverage(asked, 200), { replicas: 4, averageValue: 400 });
  t.is(replicasForAverage(asked, 380).replicas, 2);
});

test('a pod that is missing counts as on target when an average value would scale down', (t) => {
  t.is(replicasForAverage(question([of(100), of(100), {}, {}]), 200).replicas, 3);
});

test('memory of pods that start counts', (t) => {
  const asked = question([of(800), of(1000, { ready: false, ageMs: 10_000 })], { resource: 'memory' });
  t.is(replicasForAverage(asked, 300).replicas, 6);
});

test('a tolerance of its own in each direction', (t) => {
  const asked = question([of(560), of(560)], { tolerance: { up: 0.2, down: 0 } });
  t.is(replicasForUtilization(asked, 50).replicas, 2);
  t.is(
    replicasForUtilization(question([of(450), of(450), of(450)], { tolerance: { up: 0, down: 0.05 } }), 60).replicas,
    3,
  );
});

test('spans are read as Go prints them', (t) => {
  t.deepEqual(['15.002s', '1m0s', '1h2m3.5s', '250ms', '10', '', '5 s'].map(parseDurationMs), [
    15_002,
    60_000,
    3_723_500,
    250,
    undefined,
    undefined,
    undefined,
  ]);
});
