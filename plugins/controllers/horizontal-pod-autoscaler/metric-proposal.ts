/** What one metric of an autoscaler calls for, or why it cannot say, in the words of kube-controller-manager. */
import type { MetricSpec, MetricStatus, MetricTarget, MetricValueStatus } from '../../../kernel/contract/kubernetes.ts';
import { canonicalQuantity } from '../../../kernel/machinery/quantity.ts';
import type { PodUse } from './pod-groups.ts';
import {
  CannotCompute,
  replicasForAverage,
  replicasForUtilization,
  thousandths,
  type ReplicaQuestion,
} from './replica-calculator.ts';

export interface Proposal {
  readonly replicas: number;
  /** For events and conditions: "cpu resource utilization (percentage of request)". */
  readonly metric: string;
  readonly status: MetricStatus;
}

/** Reason and message of condition ScalingActive, and of the event. */
export class MetricFailure extends Error {
  readonly reason: string;

  constructor(reason: string, message: string) {
    super(message);
    this.reason = reason;
  }
}

export type ProposalQuestion = Omit<ReplicaQuestion, 'resource' | 'container' | 'uses'> & {
  uses(resource: string, container: string | undefined): Promise<ReadonlyMap<string, PodUse>>;
};

/** Rejects with MetricFailure for what is expected to go wrong. */
export async function proposalOf(spec: MetricSpec, question: ProposalQuestion): Promise<Proposal> {
  switch (spec.type) {
    case 'Resource':
    case 'ContainerResource':
      return resourceProposal(spec, question);
    case 'Pods': {
      const name = spec.pods?.metric.name ?? '';
      throw new MetricFailure('FailedGetPodsMetric', `unable to get metric ${name}: ${noCustomApi}`);
    }
    case 'Object': {
      const { metric, describedObject } = spec.object ?? {};
      const on = `${describedObject?.kind ?? ''} on ${describedObject?.name ?? ''}`;
      throw new MetricFailure(
        'FailedGetObjectMetric',
        `unable to get metric ${metric?.name ?? ''}: ${on}: ${noCustomApi}`,
      );
    }
    case 'External': {
      const name = spec.external?.metric.name ?? '';
      throw new MetricFailure('FailedGetExternalMetric', `unable to get external metric ${name}: ${noExternalApi}`);
    }
    default:
      throw new MetricFailure('InvalidMetricSourceType', `unknown metric source type ${JSON.stringify(spec.type)}`);
  }
}

const noCustomApi =
  'unable to fetch metrics from custom metrics API: no custom metrics API (custom.metrics.k8s.io) registered';
const noExternalApi =
  'unable to fetch metrics from external metrics API: no external metrics API (external.metrics.k8s.io) registered';

async function resourceProposal(spec: MetricSpec, question: ProposalQuestion): Promise<Proposal> {
  const isContainer = spec.type === 'ContainerResource';
  const source = isContainer ? spec.containerResource : spec.resource;
  const failureReason = isContainer ? 'FailedGetContainerResourceMetric' : 'FailedGetResourceMetric';
  if (source === undefined) throw new MetricFailure(failureReason, 'invalid metric source: none was given');
  const { name, target } = source;
  const container = isContainer ? spec.containerResource?.container : undefined;
  const isShare = target.averageUtilization !== undefined && target.averageValue === undefined;
  try {
    const uses = await question.uses(name, container);
    const asked: ReplicaQuestion = { ...question, resource: name, container, uses };
    const { replicas, utilization, averageValue } = isShare
      ? replicasForUtilization(asked, target.averageUtilization!)
      : replicasForAverage(asked, averageTarget(target));
    const current: MetricValueStatus = {
      averageValue: canonicalQuantity(`${averageValue}m`),
      ...(utilization === undefined ? {} : { averageUtilization: utilization }),
    };
    const what = isContainer ? `${name} container resource` : `${name} resource`;
    return {
      replicas,
      metric: isShare ? `${what} utilization (percentage of request)` : what,
      status: isContainer
        ? { type: 'ContainerResource', containerResource: { name, container: container ?? '', current } }
        : { type: 'Resource', resource: { name, current } },
    };
  } catch (error) {
    if (!(error instanceof CannotCompute)) throw error;
    throw new MetricFailure(
      failureReason,
      `failed to get ${name} ${isShare ? 'utilization' : 'usage'}: ${error.message}`,
    );
  }
}

function averageTarget({ averageValue }: MetricTarget): number {
  if (averageValue === undefined)
    throw new CannotCompute(
      'invalid resource metric source: neither an average utilization target nor an average value target was set',
    );
  const value = thousandths(averageValue);
  if (value <= 0)
    throw new CannotCompute('invalid resource metric source: the average value target must be above zero');
  return value;
}
