/** A policy out of filters and weighed scores: of one node alone, and for pods that ask for it of the cluster around it. */
import type { SchedulerPolicy } from '../../contract/index.ts';
import { nodeFilters, type Filter } from './filters.ts';
import { fullClassKey, hasInterPodRules, nodeClassKey } from './pod-class.ts';
import { interPodScore } from './inter-pod.ts';
import type { Score } from './scores.ts';
import { spreadScore } from './topology-spread.ts';

const fits = { fits: true } as const;

/** What other pods mean counts twice as much as how full a node is, as in kube-scheduler. */
const clusterWeight = 2;

export function nodePolicy(options: {
  readonly filters?: readonly Filter[];
  /** Weight and score; the result is their weighed mean. */
  readonly scores: readonly (readonly [number, Score])[];
}): SchedulerPolicy {
  const { filters = nodeFilters, scores } = options;
  const weights = scores.reduce((sum, [weight]) => sum + weight, 0);
  return {
    classify: (pod) =>
      hasInterPodRules(pod) ? { key: fullClassKey(pod), local: false } : { key: nodeClassKey(pod), local: true },
    filter: (pod, node, cluster) => {
      for (const filter of filters) {
        const objection = filter(pod, node, cluster);
        if (objection !== undefined) return objection;
      }
      return fits;
    },
    score: (pod, node, cluster) => {
      let sum = 0;
      for (const [weight, score] of scores) sum += weight * score(pod, node);
      if (pod.local) return weights === 0 ? 0 : sum / weights;
      sum += clusterWeight * (spreadScore(pod, node, cluster) + interPodScore(pod, node, cluster));
      return sum / (weights + 2 * clusterWeight);
    },
  };
}
