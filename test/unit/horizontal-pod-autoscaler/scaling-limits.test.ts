import test from 'ava';
import type { HorizontalPodAutoscalerBehavior } from '../../../kernel/contract/kubernetes.ts';
import { limitScaling, type Past } from '../../../plugins/controllers/horizontal-pod-autoscaler/scaling-limits.ts';

const nowMs = 1_000_000_000;
const none: Past = { recommendations: [], ups: [], downs: [] };
const ago = (seconds: number): number => nowMs - seconds * 1000;

interface Case {
  readonly title: string;
  readonly min?: number;
  readonly max?: number;
  readonly behavior?: HorizontalPodAutoscalerBehavior;
  readonly current: number;
  readonly desired: number;
  readonly past?: Partial<Past>;
  readonly expected: readonly [replicas: number, able: string, limit: string];
}

const ready = 'ReadyForNewScale';
const within = 'DesiredWithinRange';
const cases: readonly Case[] = [
  { title: 'what is called for is done', current: 2, desired: 4, expected: [4, ready, within] },
  { title: 'at most double at a time', current: 5, desired: 20, expected: [10, ready, 'ScaleUpLimit'] },
  { title: 'but four at once from the start', current: 1, desired: 9, expected: [4, ready, 'ScaleUpLimit'] },
  { title: 'never above the maximum', max: 6, current: 5, desired: 20, expected: [6, ready, 'TooManyReplicas'] },
  { title: 'never below the minimum', min: 2, current: 3, desired: 1, expected: [2, ready, 'TooFewReplicas'] },
  {
    title: 'down no further than what was called for in five minutes',
    current: 8,
    desired: 2,
    past: {
      recommendations: [
        { replicas: 6, timeMs: ago(200) },
        { replicas: 9, timeMs: ago(301) },
      ],
    },
    expected: [6, 'ScaleDownStabilized', within],
  },
  {
    title: 'behavior: defaults fill it, four pods or double in 15 s',
    behavior: {},
    current: 3,
    desired: 20,
    expected: [7, ready, 'ScaleUpLimit'],
  },
  {
    title: 'behavior: what was added within the period counts',
    behavior: {},
    current: 7,
    desired: 20,
    past: { ups: [{ change: 4, timeMs: ago(10) }] },
    expected: [7, ready, 'ScaleUpLimit'],
  },
  {
    title: 'behavior: what was added before does not',
    behavior: {},
    current: 7,
    desired: 20,
    past: { ups: [{ change: 4, timeMs: ago(16) }] },
    expected: [14, ready, 'ScaleUpLimit'],
  },
  {
    title: 'behavior: the smaller of two policies when Min is selected',
    behavior: {
      scaleUp: {
        selectPolicy: 'Min',
        policies: [
          { type: 'Pods', value: 1, periodSeconds: 60 },
          { type: 'Percent', value: 50, periodSeconds: 60 },
        ],
      },
    },
    current: 10,
    desired: 20,
    expected: [11, ready, 'ScaleUpLimit'],
  },
  {
    title: 'behavior: up is disabled',
    behavior: { scaleUp: { selectPolicy: 'Disabled' } },
    current: 3,
    desired: 9,
    expected: [3, ready, 'ScaleUpLimit'],
  },
  {
    title: 'behavior: up waits for its window',
    behavior: { scaleUp: { stabilizationWindowSeconds: 60 } },
    current: 3,
    desired: 9,
    past: { recommendations: [{ replicas: 4, timeMs: ago(30) }] },
    expected: [4, 'ScaleUpStabilized', within],
  },
  {
    title: 'behavior: down with a window of none goes at once',
    behavior: { scaleDown: { stabilizationWindowSeconds: 0 } },
    current: 9,
    desired: 2,
    past: { recommendations: [{ replicas: 9, timeMs: ago(1) }] },
    expected: [2, ready, within],
  },
  {
    title: 'behavior: down by its policies, the larger step wins',
    behavior: {
      scaleDown: {
        stabilizationWindowSeconds: 0,
        policies: [
          { type: 'Pods', value: 1, periodSeconds: 60 },
          { type: 'Percent', value: 30, periodSeconds: 60 },
        ],
      },
    },
    current: 10,
    desired: 1,
    expected: [7, ready, 'ScaleDownLimit'],
  },
  {
    title: 'behavior: what went within the period counts',
    behavior: {
      scaleDown: { stabilizationWindowSeconds: 0, policies: [{ type: 'Pods', value: 3, periodSeconds: 60 }] },
    },
    current: 8,
    desired: 1,
    past: { downs: [{ change: 2, timeMs: ago(30) }] },
    expected: [7, ready, 'ScaleDownLimit'],
  },
  {
    title: 'behavior: down is disabled',
    behavior: { scaleDown: { selectPolicy: 'Disabled', stabilizationWindowSeconds: 0 } },
    current: 8,
    desired: 1,
    expected: [8, ready, 'ScaleDownLimit'],
  },
];

for (const { title, min, max = 100, behavior, current, desired, past, expected } of cases)
  test(title, (t) => {
    const spec = {
      ...(min === undefined ? {} : { minReplicas: min }),
      maxReplicas: max,
      ...(behavior && { behavior }),
    };
    const verdict = limitScaling(spec, current, desired, { ...none, ...past }, 300_000, nowMs);
    t.deepEqual([verdict.replicas, verdict.able.reason, verdict.limit.reason], [...expected]);
    t.is(verdict.isLimited, expected[2] !== within);
  });
