/**
 * The net suite on real nodes: those of a running cluster, through its API, with pods of ours that run iperf3 and are gone
 * afterwards. What carries the packets there cannot be swapped; the nodes' own network is the baseline.
 */
import { PintleError } from '../../../kernel/contract/errors.ts';
import { connect } from '../../../plugins/clusters/remote/connect.ts';
import type { Fact, Metric } from '../../method/result.ts';
import {
  type Bed,
  type CellPlan,
  check,
  type Check,
  type Recorder,
  type Size,
  type Suite,
} from '../../method/suite.ts';
import { metric } from '../net/metrics.ts';
import type { SuiteContext } from '../selection.ts';
import { ClusterPods, iperfPort } from './pods.ts';

const metrics: readonly Metric[] = [
  metric({ id: 'tcp-1', title: 'TCP, 1 stream', unit: 'Gb/s', better: 'more', group: 'throughput', headline: true }),
  metric({ id: 'tcp-8', title: 'TCP, 8 streams', unit: 'Gb/s', better: 'more', group: 'throughput', headline: true }),
  metric({
    id: 'udp-64',
    title: 'UDP received of a flood, 64 bytes',
    unit: 'packets/s',
    better: 'more',
    group: 'packets',
    leastChange: 0.2,
    headline: true,
  }),
  metric({
    id: 'rtt',
    title: 'round trip as TCP sees it, mean',
    unit: 'µs',
    better: 'less',
    group: 'latency',
    leastChange: 0.3,
  }),
  metric({
    id: 'retransmits',
    title: 'TCP retransmits of the stream',
    unit: '',
    better: 'less',
    compare: 'difference',
    leastChange: 1000,
    group: 'retransmits',
  }),
];

interface Effort {
  readonly length: readonly string[];
  readonly packets: number;
}

const efforts: Readonly<Record<Size, Effort>> = {
  smoke: { length: ['-n', '20M'], packets: 5_000 },
  standard: { length: ['-t', '2'], packets: 100_000 },
  full: { length: ['-t', '10'], packets: 1_000_000 },
};

interface IperfAnswer {
  readonly error?: string;
  readonly start: { readonly connected: readonly { readonly local_host: string }[] };
  readonly end: {
    readonly streams: readonly { readonly sender?: { readonly mean_rtt?: number } }[];
    readonly sum_sent: { readonly retransmits?: number };
    readonly sum_received: { readonly bits_per_second: number };
    readonly sum: { readonly packets: number; readonly lost_packets: number; readonly seconds: number };
  };
}

interface Route {
  readonly id: string;
  readonly isOnHost: boolean;
  readonly isSameNode: boolean;
  readonly hasService: boolean;
}

const routes: readonly Route[] = [
  { id: 'node to node', isOnHost: true, isSameNode: false, hasService: false },
  { id: 'pod to pod', isOnHost: false, isSameNode: false, hasService: false },
  { id: 'pod to pod, same node', isOnHost: false, isSameNode: true, hasService: false },
  { id: 'pod to Service', isOnHost: false, isSameNode: false, hasService: true },
];

const separator = '=====';
/**
 * iperf3's server takes one client at a time and is busy for a moment after each; told in JSON, errors have exit code 0.
 * After a minute of them the last one is the answer.
 */
const untilAnswered = `answered() {
  n=0
  while :; do
    said=$("$@")
    case "$said" in *'"error":'* | '') ;; *) break ;; esac
    n=$((n + 1))
    [ $n -lt 120 ] || break
    sleep 0.5
  done
  printf '%s\\n' "$said"
}`;

class ClusterBed implements Bed {
  readonly #pods: ClusterPods;
  readonly #route: Route;
  readonly #nodes: readonly string[];
  readonly #effort: Effort;
  readonly #names: readonly [server: string, client: string];
  #target = '';
  #answers: readonly IperfAnswer[] = [];

  constructor(pods: ClusterPods, route: Route, nodes: readonly string[], size: Size, turn: number) {
    this.#pods = pods;
    this.#route = route;
    this.#nodes = nodes;
    this.#effort = efforts[size];
    this.#names = [`server-${turn}`, `client-${turn}`];
  }

  async open(): Promise<this> {
    const [server] = this.#names;
    const { isOnHost, isSameNode, hasService } = this.#route;
    const node = this.#nodes[isSameNode ? 0 : 1]!;
    await this.#pods.start({ name: server, node, isOnHost, script: `exec iperf3 -s -p ${iperfPort}` });
    const ip = await this.#pods.ready(server);
    this.#target = hasService ? await this.#pods.expose(server) : ip;
    return this;
  }

  /** One client does all of it, a short transfer first: that it ends well is the check. */
  async check(): Promise<readonly Check[]> {
    const { length, packets } = this.#effort;
    const iperf = (...argv: readonly string[]): string =>
      ['iperf3', '-c', this.#target, '-p', String(iperfPort), '-J', ...argv].join(' ');
    const runs = [
      iperf('-P', '1', ...length),
      iperf('-P', '8', ...length),
      iperf('-u', '-b', '0', '-l', '64', '-k', String(packets)),
    ];
    // A short one first: the Service, or the server itself, may need a moment.
    const script = [
      untilAnswered,
      `answered ${iperf('-n', '1M')} > /dev/null`,
      ...runs.map((run) => `answered ${run}; echo ${separator}`),
    ].join('\n');
    const [, client] = this.#names;
    await this.#pods.start({ name: client, node: this.#nodes[0]!, isOnHost: this.#route.isOnHost, script });
    const said = await this.#pods.finished(client);
    this.#answers = said
      .split(separator)
      .slice(0, runs.length)
      .map((text) => JSON.parse(text) as IperfAnswer);
    const errors = this.#answers.flatMap(({ error }) => (error === undefined ? [] : [error]));
    return [
      check(
        'iperf3 reaches its server',
        errors.length === 0 && this.#answers.length === runs.length,
        errors.join('; '),
      ),
    ];
  }

  async measure(record: Recorder): Promise<void> {
    const [one, eight, flood] = this.#answers as [IperfAnswer, IperfAnswer, IperfAnswer];
    record('tcp-1', one.end.sum_received.bits_per_second / 1e9);
    record('tcp-8', eight.end.sum_received.bits_per_second / 1e9);
    record('rtt', one.end.streams[0]?.sender?.mean_rtt ?? Number.NaN);
    record('retransmits', one.end.sum_sent.retransmits ?? 0);
    const { packets, lost_packets: lost, seconds } = flood.end.sum;
    record('udp-64', (packets - lost) / seconds);
  }

  facts(): Readonly<Record<string, Fact>> {
    return { from: this.#nodes[0] ?? '', to: this.#nodes[this.#route.isSameNode ? 0 : 1] ?? '' };
  }

  async close(): Promise<readonly string[]> {
    await this.#pods.remove([...this.#names], [this.#names[0]]);
    return this.#pods.left();
  }
}

export async function clusterSuite({ options, size }: SuiteContext): Promise<Suite> {
  const kubeconfig = options['cluster'] ?? '';
  const pods = new ClusterPods(await connect(kubeconfig), options['image'] ?? 'host');
  const nodes = await pods.nodes();
  if (nodes.length < 2) {
    await pods.close();
    throw new PintleError(
      'BENCH_INVALID',
      `the cluster of ${kubeconfig} has ${nodes.length} ready node(s), expected two or more`,
    );
  }
  let turn = 0;
  const cells = routes.map(({ id, isOnHost }): CellPlan => ({
    ...{ id, factors: { way: id }, isBaseline: isOnHost, contest: id },
    ...(isOnHost ? {} : { baseline: 'node to node' }),
  }));
  return {
    ...{ name: 'net', title: 'Network of a cluster', metrics, cells, options: { ...options }, versions: {} },
    summary:
      'iperf3 between pods on two nodes of a running cluster, as a share of the same between the nodes themselves ' +
      '(pods on the host network).',
    open: ({ id }) =>
      new ClusterBed(
        pods,
        routes.find((route) => route.id === id)!,
        nodes,
        size,
        (turn += 1),
      ).open(),
    close: () => pods.close(),
  };
}
