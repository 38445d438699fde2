/** Scheduling policies on upstream's workloads, beside a policy that takes any node with room. */
import { rmSync } from 'node:fs';
import { PintleError } from '../../../kernel/contract/errors.ts';
import { here } from '../../bed/place.ts';
import { PluginProcess, type PluginSource } from '../../bed/plugin-process.ts';
import { newFolder } from '../../bed/run-folders.ts';
import type { Fact, Metric } from '../../method/result.ts';
import type { Bed, CellPlan, Check, Recorder, Size, Suite } from '../../method/suite.ts';
import { metric } from '../net/metrics.ts';
import { list, numbers, select, type Selected, type SuiteContext } from '../selection.ts';
import type { SchedulerJobArgs, SchedulerJobResult } from './scheduler-job.ts';
import { workloads, type Workload } from './workloads.ts';

const standardNodes: Readonly<Record<Size, string>> = { smoke: '20', standard: '500', full: '500,5000' };
/** All in one process, with up to five pods a node. */
const mostNodes = 20_000;
const standardWorkloads: Readonly<Record<Size, string>> = {
  smoke: 'SchedulingBasic',
  standard: 'SchedulingBasic,SchedulingNodeAffinity,Packing',
  full: 'all',
};

const metrics: readonly Metric[] = [
  metric({
    id: 'rate',
    title: 'pods bound',
    unit: '/s',
    better: 'more',
    group: 'rate',
    leastChange: 0.15,
    headline: true,
  }),
  metric({
    id: 'bound-p50',
    title: 'created to bound, p50',
    unit: 'ms',
    better: 'less',
    group: 'latency',
    leastChange: 0.2,
  }),
  metric({
    id: 'bound-p99',
    title: 'created to bound, p99',
    unit: 'ms',
    better: 'less',
    group: 'latency',
    leastChange: 0.3,
    headline: true,
  }),
  metric({
    id: 'attempt-p99',
    title: 'finding a node, p99',
    unit: 'µs',
    better: 'less',
    group: 'attempt',
    leastChange: 0.5,
  }),
  metric({
    id: 'cpu-pod',
    title: 'CPU a pod, API included',
    unit: 'ms',
    better: 'less',
    group: 'cpu',
    leastChange: 0.15,
  }),
  metric({
    id: 'memory',
    title: 'memory of the process',
    unit: 'MiB',
    better: 'less',
    group: 'memory',
    leastChange: 0.2,
  }),
  metric({
    id: 'nodes-used',
    title: 'nodes with a pod',
    unit: '%',
    better: 'less',
    compare: 'difference',
    leastChange: 5,
    group: 'packing',
  }),
  metric({
    id: 'imbalance',
    title: 'standard deviation of CPU requested',
    unit: '% of a node',
    better: 'less',
    compare: 'difference',
    leastChange: 3,
    group: 'balance',
  }),
  metric({
    id: 'large-pods',
    title: 'pods of 2 CPU, 4 GiB that still fit',
    unit: '',
    better: 'more',
    group: 'room',
    leastChange: 0.05,
    headline: true,
  }),
  metric({
    id: 'stranded',
    title: 'free CPU that no such pod can use',
    unit: '%',
    better: 'less',
    compare: 'difference',
    leastChange: 3,
    group: 'stranded',
  }),
];

class SchedulerBed implements Bed {
  readonly #folder = newFolder('pintle-bench');
  readonly #place = here();
  readonly #process: PluginProcess;
  readonly #args: Omit<SchedulerJobArgs, 'folder'>;
  readonly #workload: Workload;
  #result: SchedulerJobResult | undefined;

  constructor(source: PluginSource, args: Omit<SchedulerJobArgs, 'folder'>, workload: Workload) {
    this.#process = new PluginProcess(this.#place, source, this.#folder);
    this.#args = args;
    this.#workload = workload;
  }

  async check(): Promise<readonly Check[]> {
    this.#result = await this.#process.job<SchedulerJobResult>('scheduler', { ...this.#args, folder: this.#folder });
    return this.#result.checks;
  }

  async measure(record: Recorder): Promise<void> {
    for (const [id, value] of Object.entries(this.#result?.figures ?? {})) record(id, value);
  }

  facts(): Readonly<Record<string, Fact>> {
    const { init, measured } = this.#workload.pods(this.#args.nodes);
    const { floor } = this.#workload;
    const upstream: Record<string, Fact> =
      floor === undefined ? {} : { 'floor of upstream at 5,000 nodes, pods/s': floor };
    return { nodes: this.#args.nodes, podsBefore: init, podsMeasured: measured, ...upstream };
  }

  async close(): Promise<readonly string[]> {
    await this.#place.stopProcesses();
    rmSync(this.#folder, { recursive: true, force: true });
    return [];
  }
}

export async function schedulerSuite(context: SuiteContext): Promise<Suite> {
  const { options, size, source } = context;
  const policies = await select(context, 'scheduler', options['scheduler']);
  const wanted = list(options['workload'], standardWorkloads[size]);
  const known = workloads.map(({ name }) => name);
  const unknown = wanted.filter((name) => name !== 'all' && !known.includes(name));
  if (unknown.length > 0)
    throw new PintleError('BENCH_INVALID', `no workload is named ${unknown.join(', ')}; known: ${known.join(', ')}`);
  const chosen = workloads.filter(({ name }) => wanted.includes('all') || wanted.includes(name));
  const beds = new Map<string, () => Promise<Bed>>();
  const cells = numbers('nodes', options['nodes'], standardNodes[size], mostNodes).flatMap((nodes) =>
    chosen.flatMap((workload): readonly CellPlan[] => {
      const shape = `${workload.name} ${nodes}`;
      const weight = 1 + nodes / 500;
      const place = (policy: string) => ({ policy, workload: workload.name, nodes: String(nodes) });
      const open = (id: string, policy: Selected | undefined): void => {
        const choice =
          policy === undefined ? undefined : { kind: policy.kind, name: policy.name, config: policy.config };
        const args = { policy: choice, workload: workload.name, nodes };
        beds.set(id, async () => new SchedulerBed(source, args, workload));
      };
      const base = `first-fit: ${shape}`;
      // First fit looks at no affinity: where that is the work, there is nothing to be a share of.
      const hasBaseline = workload.isInterPod !== true;
      open(base, undefined);
      return [
        ...(hasBaseline ? [{ id: base, factors: place('first-fit'), isBaseline: true, weight }] : []),
        ...policies.map((policy): CellPlan => {
          const id = `${policy.name}: ${shape}`;
          open(id, policy);
          const lacks = workload.isInterPod === true && !policy.capabilities.includes('inter-pod');
          const skip =
            policy.skip ?? (lacks ? `policy ${policy.name} does not judge by pods on other nodes` : undefined);
          const baseline = hasBaseline ? base : undefined;
          return { id, factors: place(policy.name), baseline, isBaseline: false, contest: shape, weight, skip };
        }),
      ];
    }),
  );
  return {
    ...{ name: 'scheduler', title: 'Scheduling policies', metrics, cells, options: { ...options }, versions: {} },
    summary:
      "Upstream's scheduler_perf workloads by name, in one process with the API on a store in memory; pods are done when " +
      'they are bound. As a share of a policy that takes any node with room (first-fit). Packing: how good the placement is.',
    open: (cell) => beds.get(cell.id)!(),
  };
}
