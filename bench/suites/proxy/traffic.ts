/** What is measured of a proxy mode: by its Services' addresses, and for the baseline by the pods' own. */
import { readSysctl } from '../../../netplugins/linux/sysctl.ts';
import { cpuSecondsOf } from '../../bed/processes.ts';
import type { Pod } from '../../bed/pod.ts';
import type { Place } from '../../bed/place.ts';
import { hasTool, udpStream } from '../../bed/tools.ts';
import type { Recorder, Size } from '../../method/suite.ts';

export interface Effort {
  readonly latencyMs: number;
  readonly packets: number;
  readonly repeats: number;
  /** Repeated changes and roll-outs end early when they have taken so long: a mode may need seconds for one. */
  readonly patienceMs: number;
  readonly rollOutSteps: number;
  readonly requestsPerSecond: number;
}

export const efforts: Readonly<Record<Size, Effort>> = {
  smoke: { latencyMs: 100, packets: 5_000, repeats: 1, patienceMs: 1_000, rollOutSteps: 3, requestsPerSecond: 100 },
  standard: {
    latencyMs: 400,
    packets: 30_000,
    repeats: 3,
    patienceMs: 2_000,
    rollOutSteps: 6,
    requestsPerSecond: 500,
  },
  full: {
    latencyMs: 2_000,
    packets: 200_000,
    repeats: 10,
    patienceMs: 300_000,
    rollOutSteps: 100,
    requestsPerSecond: 1_000,
  },
};

const warmUpMs = 100;
const width = 8;

export interface Way {
  readonly client: Pod;
  readonly hosts: readonly string[];
  readonly port: number;
  /** Where iperf3 is reached; undefined: this mode does no UDP. */
  readonly iperfHost: string | undefined;
  /** Namespace whose connection tracking counts, and the agent; undefined for the baseline. */
  readonly node: Place | undefined;
  readonly agent: number | undefined;
}

export async function measureTraffic(way: Way, effort: Effort, record: Recorder, signal: AbortSignal): Promise<void> {
  const { client, hosts, port, node, agent, iperfHost } = way;
  const load = { host: hosts[0] ?? '', hosts, port, durationMs: effort.latencyMs, warmUpMs };
  const one = await client.connections({ ...load, width: 1 });
  record('connect-p50', one.connectP50);
  record('connect-p99', one.connectP99);
  record('crr-p50', one.p50);
  record('crr-p99', one.p99);
  signal.throwIfAborted();
  const [tracked, cpu, began] = [trackedOf(node), agent === undefined ? 0 : cpuSecondsOf(agent), performance.now()];
  const many = await client.connections({ ...load, warmUpMs: 0, width });
  record('connections', many.count / many.seconds);
  if (agent !== undefined) {
    record('agent-cpu', ((cpuSecondsOf(agent) - cpu) / ((performance.now() - began) / 1000)) * 100);
    const entries = trackedOf(node) - tracked;
    // Entries of earlier connections may expire meanwhile: a negative count says nothing.
    if (entries > 0 && many.count > 0) record('conntrack', entries / many.count);
  }
  const kept = await client.requests({ ...load, width });
  record('requests', kept.count / kept.seconds);
  const failed = [one, many, kept]
    .flatMap(({ errors }) => Object.values(errors))
    .reduce((sum, count) => sum + count, 0);
  record('failed', (failed / (one.count + many.count + kept.count + failed)) * 100);
  signal.throwIfAborted();
  if (iperfHost !== undefined && hasTool('iperf3')) {
    const flood = await udpStream(client.place, iperfHost, { bytes: 64, packets: effort.packets }, signal);
    record('udp-64', ((flood.sent - flood.lost) / flood.sent) * flood.perSecond);
  }
}

/** Connections that the kernel tracks in a namespace; NaN where it does not. */
const trackedOf = (node: Place | undefined): number =>
  node === undefined
    ? Number.NaN
    : Number(readSysctl('net.netfilter.nf_conntrack_count', { netns: node.netns }) ?? Number.NaN);
