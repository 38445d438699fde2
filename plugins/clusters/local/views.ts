/**
 * Kinds that are served in two versions from one storage. A view converts; what it makes of a stored object is made once
 * and kept as long as that object lives, so that readers share it.
 */
import type { KubernetesObject, ResourceType } from '../../../kernel/contract/index.ts';
import type {
  AutoscalingV1HorizontalPodAutoscaler,
  CronJob,
  Event,
  EventsV1Event,
  HorizontalPodAutoscaler,
  PodDisruptionBudget,
} from '../../../kernel/contract/kubernetes.ts';
import { resources } from '../../../kernel/machinery/resources.ts';
import { eventFromStored, eventToStored } from './strategies/event-conversion.ts';
import { autoscalerFromStored, autoscalerToStored } from './strategies/autoscaler-conversion.ts';
import { budgetFromStored, budgetToStored, renamed } from './strategies/former-versions.ts';
import { deepFreeze } from './state/frozen-json.ts';

export interface View {
  readonly name: string;
  readonly stored: ResourceType;
  /** Frozen, one for each stored object. */
  shown(stored: KubernetesObject): KubernetesObject;
  /** A new stored object from a draft in this version. */
  toStored(draft: KubernetesObject): KubernetesObject;
}

function view<Shown extends KubernetesObject, Stored extends KubernetesObject>(
  shownType: ResourceType<Shown>,
  stored: ResourceType<Stored>,
  from: (object: Stored) => Shown,
  to: (object: Shown) => Stored,
): View {
  const made = new WeakMap<KubernetesObject, KubernetesObject>();
  return {
    name: `${shownType.group}/${shownType.version}`,
    stored,
    shown(object) {
      let result = made.get(object);
      if (!result) made.set(object, (result = deepFreeze(from(object as Stored))));
      return result;
    },
    toStored: (draft) => to(draft as Shown),
  };
}

export const views: ReadonlyMap<string, View> = new Map([
  [
    'policy/v1beta1/poddisruptionbudgets',
    view<PodDisruptionBudget, PodDisruptionBudget>(
      resources.podDisruptionBudgetsV1beta1,
      resources.podDisruptionBudgets,
      budgetFromStored,
      budgetToStored,
    ),
  ],
  [
    'batch/v1beta1/cronjobs',
    view<CronJob, CronJob>(
      resources.cronJobsV1beta1,
      resources.cronJobs,
      renamed('batch/v1beta1'),
      renamed('batch/v1'),
    ),
  ],
  [
    'events.k8s.io/v1/events',
    view<EventsV1Event, Event>(resources.eventsV1, resources.events, eventFromStored, eventToStored),
  ],
  [
    'autoscaling/v1/horizontalpodautoscalers',
    view<AutoscalingV1HorizontalPodAutoscaler, HorizontalPodAutoscaler>(
      resources.horizontalPodAutoscalersV1,
      resources.horizontalPodAutoscalers,
      autoscalerFromStored,
      autoscalerToStored,
    ),
  ],
]);
