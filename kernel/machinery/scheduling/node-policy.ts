/** A policy out of filters and weighed scores that look at one node alone. */
import type { SchedulerPolicy } from '../../contract/index.ts';
import { nodeFilters, type Filter } from './filters.ts';
import { nodeClassKey } from './pod-class.ts';
import type { Score } from './scores.ts';

const fits = { fits: true } as const;

export function nodePolicy(options: {
  readonly filters?: readonly Filter[];
  /** Weight and score; the result is their weighed mean. */
  readonly scores: readonly (readonly [number, Score])[];
}): SchedulerPolicy {
  const { filters = nodeFilters, scores } = options;
  const weights = scores.reduce((sum, [weight]) => sum + weight, 0);
  return {
    classify: (pod) => ({ key: nodeClassKey(pod), local: true }),
    filter: (pod, node) => {
      for (const filter of filters) {
        const objection = filter(pod, node);
        if (objection !== undefined) return objection;
      }
      return fits;
    },
    score: (pod, node) => {
      let sum = 0;
      for (const [weight, score] of scores) sum += weight * score(pod, node);
      return weights === 0 ? 0 : sum / weights;
    },
  };
}
