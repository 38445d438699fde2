/**
 * What is left of a recommendation when the past is heard: recent recommendations (stabilisation) and how much has been
 * scaled within each policy's period. Pure; `now` and the past are given.
 */
import type {
  HorizontalPodAutoscalerSpec,
  HPAScalingPolicy,
  HPAScalingRules,
} from '../../../kernel/contract/kubernetes.ts';

export interface Recommendation {
  readonly replicas: number;
  readonly timeMs: number;
}
/** How many replicas one scaling added or removed. */
export interface ScaleEvent {
  readonly change: number;
  readonly timeMs: number;
}
export interface Past {
  readonly recommendations: readonly Recommendation[];
  readonly ups: readonly ScaleEvent[];
  readonly downs: readonly ScaleEvent[];
}

export interface Verdict {
  readonly replicas: number;
  readonly isStabilized: boolean;
  /** Of condition AbleToScale. */
  readonly able: Reason;
  readonly isLimited: boolean;
  /** Of condition ScalingLimited. */
  readonly limit: Reason;
}
interface Reason {
  readonly reason: string;
  readonly message: string;
}

type Spec = Pick<HorizontalPodAutoscalerSpec, 'minReplicas' | 'maxReplicas' | 'behavior'>;

const reasons = {
  ready: { reason: 'ReadyForNewScale', message: 'recommended size matches current size' },
  downStabilized: {
    reason: 'ScaleDownStabilized',
    message: 'recent recommendations were higher than current one, applying the highest recent recommendation',
  },
  upStabilized: {
    reason: 'ScaleUpStabilized',
    message: 'recent recommendations were lower than current one, applying the lowest recent recommendation',
  },
  within: { reason: 'DesiredWithinRange', message: 'the desired count is within the acceptable range' },
  tooMany: {
    reason: 'TooManyReplicas',
    message: 'the desired replica count is more than the maximum replica count',
  },
  tooFew: { reason: 'TooFewReplicas', message: 'the desired replica count is less than the minimum replica count' },
  upLimit: {
    reason: 'ScaleUpLimit',
    message: 'the desired replica count is increasing faster than the maximum scale rate',
  },
  downLimit: {
    reason: 'ScaleDownLimit',
    message: 'the desired replica count is decreasing faster than the maximum scale rate',
  },
} as const;

/** Default rules, which fill what `behavior` leaves open. */
const upDefaults: HPAScalingRules = {
  stabilizationWindowSeconds: 0,
  selectPolicy: 'Max',
  policies: [
    { type: 'Pods', value: 4, periodSeconds: 15 },
    { type: 'Percent', value: 100, periodSeconds: 15 },
  ],
};
const downDefaults: HPAScalingRules = {
  selectPolicy: 'Max',
  policies: [{ type: 'Percent', value: 100, periodSeconds: 15 }],
};

/** `desired`: what the metrics alone call for. */
export function limitScaling(
  spec: Spec,
  current: number,
  desired: number,
  past: Past,
  downscaleWindowMs: number,
  nowMs: number,
): Verdict {
  if (spec.behavior === undefined) return withoutBehavior(spec, current, desired, past, downscaleWindowMs, nowMs);
  const up = { ...upDefaults, ...spec.behavior.scaleUp };
  const down = { ...downDefaults, ...spec.behavior.scaleDown };
  const upCutMs = nowMs - (up.stabilizationWindowSeconds ?? 0) * 1000;
  const { stabilizationWindowSeconds: downSeconds } = down;
  const downCutMs = nowMs - (downSeconds === undefined ? downscaleWindowMs : downSeconds * 1000);
  let lowest = desired;
  let highest = desired;
  for (const { replicas, timeMs } of past.recommendations) {
    if (timeMs > upCutMs) lowest = Math.min(lowest, replicas);
    if (timeMs > downCutMs) highest = Math.max(highest, replicas);
  }
  const stabilized = Math.min(Math.max(current, lowest), highest);
  const able =
    stabilized === desired ? reasons.ready : desired >= current ? reasons.upStabilized : reasons.downStabilized;
  const limited = rateLimited(spec, { up, down }, current, stabilized, past, nowMs);
  return { ...limited, isStabilized: stabilized !== desired, able, isLimited: limited.replicas !== stabilized };
}

/** The rules from before there was `behavior`: at most double (or 4) at a time up, the highest of the window down. */
function withoutBehavior(
  { minReplicas: least = 1, maxReplicas: most }: Spec,
  current: number,
  desired: number,
  past: Past,
  downscaleWindowMs: number,
  nowMs: number,
): Verdict {
  const stabilized = past.recommendations
    .filter(({ timeMs }) => timeMs > nowMs - downscaleWindowMs)
    .reduce((highest, { replicas }) => Math.max(highest, replicas), desired);
  const able = stabilized === desired ? reasons.ready : reasons.downStabilized;
  const fastest = Math.max(2 * current, 4);
  const ceiling = Math.min(most, fastest);
  const [replicas, limit] =
    stabilized < least
      ? [least, reasons.tooFew]
      : stabilized > ceiling
        ? [ceiling, most > fastest ? reasons.upLimit : reasons.tooMany]
        : [stabilized, reasons.within];
  return { replicas, isStabilized: stabilized !== desired, able, isLimited: replicas !== stabilized, limit };
}

function rateLimited(
  { minReplicas: least = 1, maxReplicas: most }: Spec,
  rules: { readonly up: HPAScalingRules; readonly down: HPAScalingRules },
  current: number,
  desired: number,
  past: Past,
  nowMs: number,
): { readonly replicas: number; readonly limit: Reason } {
  if (desired > current) {
    const fastest = Math.max(current, upLimit(rules.up, current, past, nowMs));
    const ceiling = Math.min(most, fastest);
    if (desired > ceiling) return { replicas: ceiling, limit: most > fastest ? reasons.upLimit : reasons.tooMany };
  } else if (desired < current) {
    const fastest = Math.min(current, downLimit(rules.down, current, past, nowMs));
    const floor = Math.max(least, fastest);
    if (desired < floor) return { replicas: floor, limit: least < fastest ? reasons.downLimit : reasons.tooFew };
  }
  return { replicas: desired, limit: reasons.within };
}

function upLimit({ selectPolicy, policies = [] }: HPAScalingRules, current: number, past: Past, nowMs: number): number {
  if (selectPolicy === 'Disabled') return current;
  const proposals = policies.map((policy) => {
    const start = startOfPeriod(policy, current, past, nowMs);
    return policy.type === 'Pods' ? start + policy.value : Math.ceil(start * (1 + policy.value / 100));
  });
  return selectPolicy === 'Min' ? Math.min(...proposals) : Math.max(...proposals);
}

/** The policy that changes most wins, unless Min is asked for: the lower limit is the larger change. */
function downLimit(
  { selectPolicy, policies = [] }: HPAScalingRules,
  current: number,
  past: Past,
  nowMs: number,
): number {
  if (selectPolicy === 'Disabled') return current;
  const proposals = policies.map((policy) => {
    const start = startOfPeriod(policy, current, past, nowMs);
    return policy.type === 'Pods' ? start - policy.value : Math.trunc(start * (1 - policy.value / 100));
  });
  return selectPolicy === 'Min' ? Math.max(...proposals) : Math.min(...proposals);
}

function startOfPeriod(policy: HPAScalingPolicy, current: number, { ups, downs }: Past, nowMs: number): number {
  const cutMs = nowMs - policy.periodSeconds * 1000;
  const sum = (events: readonly ScaleEvent[]): number =>
    events.reduce((total, { change, timeMs }) => (timeMs > cutMs ? total + change : total), 0);
  return current - sum(ups) + sum(downs);
}
