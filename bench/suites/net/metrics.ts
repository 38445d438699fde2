import type { Metric } from '../../method/result.ts';
import type { Size } from '../../method/suite.ts';

type Fields = Partial<Metric> & Pick<Metric, 'id' | 'title' | 'unit' | 'better' | 'group'>;

export const metric = (fields: Fields): Metric => ({
  ...{ compare: 'ratio', leastChange: 0.1, headline: false },
  ...fields,
});

const throughput = (id: string, title: string, headline = false): Metric =>
  metric({ id, title, unit: 'Gb/s', better: 'more', group: 'throughput', headline });

export const percentileTitles = { p50: 'p50', p90: 'p90', p99: 'p99', p999: 'p99.9' } as const;

/** Tails are noisier than medians: more change is asked of them. */
export const latencies = (id: string, title: string, group: string, headline: boolean): readonly Metric[] =>
  (Object.keys(percentileTitles) as (keyof typeof percentileTitles)[]).map((percentile) =>
    metric({
      ...{
        id: `${id}-${percentile}`,
        title: `${title}, ${percentileTitles[percentile]}`,
        unit: 'µs',
        better: 'less',
        group,
      },
      leastChange: { p50: 0.1, p90: 0.2, p99: 0.5, p999: 1 }[percentile],
      headline: headline && percentile === 'p50',
    }),
  );

/** With every metric of every size: what was not measured has no samples, and is not shown. */
export function netMetrics(size: Size): readonly Metric[] {
  return [
    throughput('tcp-1', 'TCP, 1 stream, across nodes', true),
    throughput('tcp-8', 'TCP, 8 streams, across nodes'),
    throughput('tcp-1-cut', 'TCP, 1 stream, without transmit offloads'),
    throughput('tcp-1-same', 'TCP, 1 stream, same node'),
    ...[64, 512, 1400].flatMap((bytes) => [
      metric({
        ...{ id: `udp-${bytes}`, title: `UDP received of a flood, ${bytes} bytes`, unit: 'packets/s', better: 'more' },
        ...{ group: 'packets', leastChange: 0.2, headline: bytes === 64 },
      }),
      metric({
        ...{ id: `udp-${bytes}-free`, title: `UDP without loss, ${bytes} bytes`, unit: 'packets/s', better: 'more' },
        ...{ group: 'packets', leastChange: 0.3 },
      }),
    ]),
    ...latencies('rr', 'request/response', 'latency', true),
    ...latencies('rr-same', 'request/response, same node', 'latency same node', false),
    ...latencies('crr', 'connect/request/response', 'connections', true),
    metric({ id: 'connect-p50', title: 'SYN to SYN-ACK, p50', unit: 'µs', better: 'less', group: 'connections' }),
    ...(size === 'full' ? latencies('rr-sockperf', 'request/response (sockperf)', 'latency (sockperf)', false) : []),
    metric({ id: 'ping', title: 'ping, median', unit: 'µs', better: 'less', group: 'ping', leastChange: 0.2 }),
    metric({
      ...{ id: 'loss', title: 'lost of a steady probe', unit: '%', better: 'less', group: 'loss' },
      ...{ compare: 'difference', leastChange: 0.3, headline: true },
    }),
    metric({
      ...{ id: 'retransmits', title: 'TCP retransmits a GB', unit: '', better: 'less', group: 'retransmits' },
      ...{ compare: 'difference', leastChange: 1000 },
    }),
    metric({
      ...{ id: 'cpu-gb', title: 'CPU of all processes a GB', unit: 's/GB', better: 'less', group: 'cpu' },
      ...{ leastChange: 0.2, headline: true },
    }),
    metric({
      ...{
        id: 'cpu-gb-cut',
        title: 'CPU of all processes a GB, without transmit offloads',
        unit: 's/GB',
        better: 'less',
      },
      ...{ group: 'cpu', leastChange: 0.2 },
    }),
    metric({
      ...{ id: 'machine-gb', title: 'CPU of the whole machine a GB', unit: 's/GB', better: 'less', group: 'cpu' },
      leastChange: 0.3,
    }),
    metric({
      ...{
        id: 'cpu-packets',
        title: 'CPU of all processes a million packets',
        unit: 's',
        better: 'less',
        group: 'cpu-packets',
      },
      leastChange: 0.3,
    }),
    metric({
      ...{
        id: 'agent-cpu',
        title: 'CPU of the two agents under load',
        unit: '% of a core',
        better: 'less',
        group: 'agents',
      },
      ...{ compare: 'difference', leastChange: 10 },
    }),
    metric({
      ...{
        id: 'agent-idle-cpu',
        title: 'CPU of the two agents at rest',
        unit: '% of a core',
        better: 'less',
        group: 'agents',
      },
      ...{ compare: 'difference', leastChange: 10 },
    }),
    metric({
      ...{
        id: 'agent-memory',
        title: "memory of a node's agent and its data path",
        unit: 'MiB',
        better: 'less',
        group: 'memory',
      },
      leastChange: 0.15,
    }),
    metric({
      ...{ id: 'recovery-kill', title: 'nothing came through after kill -9 of the agent', unit: 'ms', better: 'less' },
      ...{ group: 'recovery', compare: 'difference', leastChange: 200 },
    }),
    metric({
      ...{ id: 'recovery-device', title: 'nothing came through after its device or route was deleted', unit: 'ms' },
      ...{ better: 'less', group: 'recovery', compare: 'difference', leastChange: 500 },
    }),
  ];
}
