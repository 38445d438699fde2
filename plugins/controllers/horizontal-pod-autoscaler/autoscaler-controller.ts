/** Looks at every HorizontalPodAutoscaler once a sync period, and at a new or changed one at once. */
import { isPintleError, type Clock, type Cluster, type Logger } from '../../../kernel/contract/index.ts';
import type {
  HorizontalPodAutoscaler,
  HorizontalPodAutoscalerCondition,
  MetricStatus,
  Pod,
} from '../../../kernel/contract/kubernetes.ts';
import { apiTime } from '../../../kernel/machinery/clock.ts';
import type { EventRecorder } from '../../../kernel/machinery/event-recorder.ts';
import { informersFor, type Informer } from '../../../kernel/machinery/informer.ts';
import { keyOf, setCondition } from '../../../kernel/machinery/metadata.ts';
import { runReconciler } from '../../../kernel/machinery/reconciler.ts';
import { resources } from '../../../kernel/machinery/resources.ts';
import { parseLabelSelector } from '../../../kernel/machinery/selectors.ts';
import type { WorkQueue } from '../../../kernel/machinery/work-queue.ts';
import { MetricFailure, proposalOf, type Proposal } from './metric-proposal.ts';
import { podUses } from './pod-uses.ts';
import { ScaleHistory } from './scale-history.ts';
import { readTarget, writeReplicas, type ScaleTarget } from './scale-target.ts';
import { limitScaling } from './scaling-limits.ts';
import { toleranceOf } from './tolerance.ts';

export interface AutoscalerOptions {
  readonly cluster: Cluster;
  readonly syncPeriodSeconds: number;
  readonly tolerance: number;
  readonly downscaleStabilizationSeconds: number;
  readonly cpuInitializationSeconds: number;
  readonly initialReadinessDelaySeconds: number;
  readonly concurrency: number;
  readonly record: EventRecorder;
  readonly log: Logger;
  readonly clock: Clock;
}

type Conditions = readonly HorizontalPodAutoscalerCondition[];
interface Outcome {
  readonly currentReplicas?: number | undefined;
  readonly desiredReplicas?: number | undefined;
  readonly currentMetrics?: readonly MetricStatus[] | undefined;
  readonly isScaled?: boolean | undefined;
}

export class AutoscalerController {
  readonly #options: AutoscalerOptions;
  readonly #autoscalers: Informer<HorizontalPodAutoscaler>;
  readonly #pods: Informer<Pod>;
  readonly #history = new ScaleHistory();
  /** Selectors of the targets, as they were last seen: two autoscalers of the same pods would fight. */
  readonly #selectors = new Map<string, { readonly namespace: string; readonly selector: string }>();

  constructor(options: AutoscalerOptions) {
    const informers = informersFor(options.cluster, options.log);
    this.#options = options;
    this.#autoscalers = informers.get(resources.horizontalPodAutoscalers);
    this.#pods = informers.get(resources.pods);
  }

  run(signal: AbortSignal): Promise<void> {
    return runReconciler(
      {
        ...this.#options,
        name: 'horizontalpodautoscaler',
        informers: [this.#autoscalers, this.#pods],
        watch: (queue) => this.#watch(queue),
        reconcile: (key, queue) => this.#reconcile(key, queue),
      },
      signal,
    );
  }

  #watch(queue: WorkQueue<string>): void {
    this.#pods.addIndex('namespace', (pod) => [pod.metadata.namespace]);
    this.#autoscalers.onChange(({ key, object, previous }) => {
      // Autoscalers have no generation, and every look at one changes its status.
      if (JSON.stringify(object?.spec) !== JSON.stringify(previous?.spec)) queue.add(key);
    });
  }

  async #reconcile(key: string, queue: WorkQueue<string>): Promise<void> {
    const autoscaler = this.#autoscalers.get(key);
    if (autoscaler === undefined) {
      this.#history.forget(key);
      this.#selectors.delete(key);
      return;
    }
    // Whatever happens: what pods use changes without an event.
    queue.addAfter(key, this.#options.syncPeriodSeconds * 1000);
    const look = new Look(autoscaler, this.#options);
    try {
      const outcome = await this.#judge(key, look);
      await this.#writeStatus(autoscaler, look.conditions, outcome);
    } catch (error) {
      // Said in the conditions; the next period tries again.
      if (!(error instanceof Halt)) throw error;
      await this.#writeStatus(autoscaler, look.conditions, error.outcome);
    }
  }

  async #judge(key: string, look: Look): Promise<Outcome> {
    const { autoscaler } = look;
    const { spec } = autoscaler;
    const { clock, downscaleStabilizationSeconds } = this.#options;
    const target = await this.#target(look);
    const current = target.scale.spec?.replicas ?? 0;
    const least = spec.minReplicas ?? 1;
    this.#history.begin(key, current, clock.now());
    if (current === 0 && least !== 0) {
      look.say(
        'ScalingActive',
        'False',
        'ScalingDisabled',
        'scaling is disabled since the replica count of the target is zero',
      );
      return { currentReplicas: 0, desiredReplicas: 0 };
    }
    if (current > spec.maxReplicas)
      return this.#scale(key, look, target, spec.maxReplicas, 'Current number of replicas above Spec.MaxReplicas');
    if (current < least)
      return this.#scale(key, look, target, least, 'Current number of replicas below Spec.MinReplicas');

    const { proposal, currentMetrics } = await this.#propose(key, look, target, current);
    const verdict = limitScaling(
      spec,
      current,
      proposal.replicas,
      this.#history.of(key),
      downscaleStabilizationSeconds * 1000,
      clock.now(),
    );
    this.#history.recommend(key, proposal.replicas, clock.now());
    look.say('AbleToScale', 'True', verdict.able.reason, verdict.able.message);
    look.say('ScalingLimited', verdict.isLimited ? 'True' : 'False', verdict.limit.reason, verdict.limit.message);
    if (verdict.replicas === current) return { currentReplicas: current, desiredReplicas: current, currentMetrics };
    const why = proposal.replicas > current ? `${proposal.metric} above target` : 'All metrics below target';
    return this.#scale(key, look, target, verdict.replicas, why, currentMetrics);
  }

  async #target(look: Look): Promise<ScaleTarget> {
    const { metadata, spec } = look.autoscaler;
    try {
      const target = await readTarget(this.#options.cluster, metadata.namespace, spec.scaleTargetRef);
      look.say(
        'AbleToScale',
        'True',
        'SucceededGetScale',
        "the HPA controller was able to get the target's current scale",
      );
      return target;
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      look.tell('Warning', 'FailedGetScale', message);
      look.say(
        'AbleToScale',
        'False',
        'FailedGetScale',
        `the HPA controller was unable to get the target's current scale: ${message}`,
      );
      throw new Halt({});
    }
  }

  /** The highest that a metric calls for. A metric that fails keeps the others from scaling down, not up. */
  async #propose(
    key: string,
    look: Look,
    { scale }: ScaleTarget,
    current: number,
  ): Promise<{ readonly proposal: Proposal; readonly currentMetrics: readonly MetricStatus[] }> {
    const { autoscaler } = look;
    const { namespace } = autoscaler.metadata;
    const { clock, cluster, tolerance, cpuInitializationSeconds, initialReadinessDelaySeconds } = this.#options;
    const selector = this.#selector(key, look, scale.status?.selector ?? '', current);
    const matches = parseLabelSelector(selector);
    const question = {
      currentReplicas: current,
      pods: this.#pods.byIndex('namespace', namespace).filter(({ metadata }) => matches.matches(metadata.labels)),
      tolerance: toleranceOf(autoscaler.spec.behavior, tolerance),
      times: {
        cpuInitializationMs: cpuInitializationSeconds * 1000,
        initialReadinessMs: initialReadinessDelaySeconds * 1000,
      },
      nowMs: clock.now(),
      uses: (resource: string, container: string | undefined) =>
        podUses(cluster, { namespace, selector, resource, container }),
    };
    const metrics = autoscaler.spec.metrics ?? [];
    const proposals: Proposal[] = [];
    let failure: MetricFailure | undefined;
    for (const metric of metrics) {
      try {
        proposals.push(await proposalOf(metric, question));
      } catch (error) {
        if (!(error instanceof MetricFailure)) throw error;
        look.tell('Warning', error.reason, error.message);
        failure ??= error;
      }
    }
    const currentMetrics = proposals.map(({ status }) => status);
    const highest = proposals.reduce<Proposal | undefined>(
      (best, each) => (best === undefined || each.replicas > best.replicas ? each : best),
      undefined,
    );
    if (highest === undefined || (failure !== undefined && highest.replicas < current)) {
      const message = failure?.message ?? 'no metrics are given';
      look.say(
        'ScalingActive',
        'False',
        failure?.reason ?? 'FailedGetResourceMetric',
        `the HPA was unable to compute the replica count: ${message}`,
      );
      look.tell(
        'Warning',
        'FailedComputeMetricsReplicas',
        `invalid metrics (${metrics.length - proposals.length} invalid out of ${metrics.length}), first error is: ${message}`,
      );
      throw new Halt({ currentReplicas: current, currentMetrics });
    }
    look.say(
      'ScalingActive',
      'True',
      'ValidMetricFound',
      `the HPA was able to successfully calculate a replica count from ${highest.metric}`,
    );
    return { proposal: highest, currentMetrics };
  }

  #selector(key: string, look: Look, selector: string, current: number): string {
    const { namespace } = look.autoscaler.metadata;
    if (selector === '') {
      look.tell('Warning', 'SelectorRequired', 'selector is required');
      look.say('ScalingActive', 'False', 'InvalidSelector', "the HPA target's scale is missing a selector");
      throw new Halt({ currentReplicas: current });
    }
    this.#selectors.set(key, { namespace, selector });
    const matches = parseLabelSelector(selector);
    const mine = this.#pods.byIndex('namespace', namespace).filter(({ metadata }) => matches.matches(metadata.labels));
    const rivals = [...this.#selectors].filter(([other, about]) => {
      if (other === key || about.namespace !== namespace) return false;
      const theirs = parseLabelSelector(about.selector);
      return about.selector === selector || mine.some(({ metadata }) => theirs.matches(metadata.labels));
    });
    if (rivals.length === 0) return selector;
    const names = [key, ...rivals.map(([other]) => other)].sort().join(' ');
    const message = `pods by selector ${selector} are controlled by multiple HPAs: [${names}]`;
    look.tell('Warning', 'AmbiguousSelector', message);
    look.say('ScalingActive', 'False', 'AmbiguousSelector', message);
    throw new Halt({ currentReplicas: current });
  }

  async #scale(
    key: string,
    look: Look,
    target: ScaleTarget,
    replicas: number,
    why: string,
    currentMetrics?: readonly MetricStatus[],
  ): Promise<Outcome> {
    const { cluster, clock } = this.#options;
    const current = target.scale.spec?.replicas ?? 0;
    try {
      await writeReplicas(cluster, target, replicas);
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      look.tell('Warning', 'FailedRescale', `New size: ${replicas}; reason: ${why}; error: ${message}`);
      look.say(
        'AbleToScale',
        'False',
        'FailedUpdateScale',
        `the HPA controller was unable to update the target scale: ${message}`,
      );
      throw new Halt({ currentReplicas: current, currentMetrics });
    }
    look.say(
      'AbleToScale',
      'True',
      'SucceededRescale',
      `the HPA controller was able to update the target scale to ${replicas}`,
    );
    look.tell('Normal', 'SuccessfulRescale', `New size: ${replicas}; reason: ${why}`);
    this.#history.scaled(look.autoscaler, key, current, replicas, clock.now());
    return { currentReplicas: current, desiredReplicas: replicas, currentMetrics, isScaled: true };
  }

  async #writeStatus(autoscaler: HorizontalPodAutoscaler, conditions: Conditions, outcome: Outcome): Promise<void> {
    const { cluster, clock } = this.#options;
    const before = autoscaler.status;
    const { currentReplicas, desiredReplicas, currentMetrics, isScaled = false } = outcome;
    const lastScaleTime = isScaled ? apiTime(clock.now()) : before?.lastScaleTime;
    const generation = autoscaler.metadata.generation;
    const status = {
      ...(generation === undefined ? {} : { observedGeneration: generation }),
      ...(lastScaleTime === undefined ? {} : { lastScaleTime }),
      currentReplicas: currentReplicas ?? before?.currentReplicas ?? 0,
      desiredReplicas: desiredReplicas ?? before?.desiredReplicas ?? 0,
      ...(currentMetrics === undefined || currentMetrics.length === 0 ? {} : { currentMetrics: [...currentMetrics] }),
      conditions: [...conditions],
    };
    if (JSON.stringify(status) === JSON.stringify(before)) return;
    try {
      const key = { namespace: autoscaler.metadata.namespace, name: autoscaler.metadata.name };
      // Nobody else writes it, and what was not measured this time must go: the whole status is replaced.
      const body = [{ op: 'add', path: '/status', value: status }];
      await cluster.patch(resources.horizontalPodAutoscalers, key, { kind: 'json', body }, { subresource: 'status' });
    } catch (error) {
      if (!isPintleError(error, 'NOT_FOUND')) throw error;
      this.#options.log.debug('an autoscaler was deleted while it was looked at', { autoscaler: keyOf(autoscaler) });
    }
  }
}

/** One look at one autoscaler: what it says in conditions and events. */
class Look {
  readonly autoscaler: HorizontalPodAutoscaler;
  conditions: Conditions;
  readonly #options: Pick<AutoscalerOptions, 'record' | 'clock'>;

  constructor(autoscaler: HorizontalPodAutoscaler, options: Pick<AutoscalerOptions, 'record' | 'clock'>) {
    this.autoscaler = autoscaler;
    this.conditions = autoscaler.status?.conditions ?? [];
    this.#options = options;
  }

  say(type: string, status: 'True' | 'False', reason: string, message: string): void {
    const condition = { type, status, reason, message };
    this.conditions = setCondition(this.conditions, condition, apiTime(this.#options.clock.now()));
  }

  tell(type: 'Normal' | 'Warning', reason: string, message: string): void {
    this.#options.record(this.autoscaler, type, reason, message);
  }
}

/** This look ends here; the conditions say why. */
class Halt extends Error {
  readonly outcome: Outcome;

  constructor(outcome: Outcome) {
    super('the conditions say why');
    this.outcome = outcome;
  }
}
