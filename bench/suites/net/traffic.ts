/** The figures of one pair of pods: what is measured between them, and how long. */
import { systemClock } from '../../../kernel/machinery/clock.ts';
import { labCpuSeconds, cpuSecondsOf, machineCpuSeconds, processesIn } from '../../bed/processes.ts';
import type { Place } from '../../bed/place.ts';
import type { Pod } from '../../bed/pod.ts';
import { hasTool, pings, roundTrips, startServers, tcpStream, udpStream, type Tool } from '../../bed/tools.ts';
import type { Recorder, Size } from '../../method/suite.ts';

export const echoPort = 7001;

export interface Pair {
  readonly client: Pod;
  readonly server: Pod;
  /** Of the server, in the family that is measured. */
  readonly host: string;
  readonly isSix: boolean;
}

export interface Effort {
  /** The same stream once more with packets cut by the sender, as on a card without transmit offloads. */
  readonly hasCutStream: boolean;
  /** Of a TCP stream: seconds, or bytes when it is only to be shown that it works. */
  readonly stream: { readonly seconds: number } | { readonly bytes: number };
  readonly packets: number;
  readonly latencyMs: number;
  readonly probeMs: number;
  readonly udpSizes: readonly number[];
  readonly isSearchingLossFree: boolean;
  readonly hasSockperf: boolean;
  readonly hasEightStreams: boolean;
}

export const efforts: Readonly<Record<Size, Effort>> = {
  smoke: {
    ...{ stream: { bytes: 20_000_000 }, packets: 5_000, latencyMs: 100, probeMs: 200, udpSizes: [64] },
    ...{ isSearchingLossFree: false, hasSockperf: false, hasEightStreams: false, hasCutStream: true },
  },
  standard: {
    ...{ stream: { seconds: 1 }, packets: 50_000, latencyMs: 300, probeMs: 500, udpSizes: [64] },
    ...{ isSearchingLossFree: false, hasSockperf: false, hasEightStreams: false, hasCutStream: true },
  },
  full: {
    ...{ stream: { seconds: 3 }, packets: 200_000, latencyMs: 1_500, probeMs: 2_000, udpSizes: [64, 512, 1400] },
    ...{ isSearchingLossFree: true, hasSockperf: true, hasEightStreams: true, hasCutStream: true },
  },
};

export const warmUpMs = 100;
const probesPerSecond = 2_000;
/** Processors are accounted for in ticks of 10 ms. */
const restMs = 500;
const gigabyte = 1e9;

export const netTools: readonly Tool[] = ['iperf3'];

export async function measureAcross(
  pair: Pair,
  agents: readonly Place[],
  effort: Effort,
  record: Recorder,
  signal: AbortSignal,
): Promise<void> {
  const { client, server, host, isSix } = pair;
  await startServers(server.place, effort.hasSockperf);
  signal.throwIfAborted();
  const target = { host, port: echoPort };
  const load = { ...target, durationMs: effort.latencyMs, warmUpMs };

  if (agents.length > 0) record('agent-idle-cpu', await agentShare(agents, () => pause(restMs, signal)));
  // Warm-up: caches of neighbours and routes, the JIT of the pods.
  await tcpStream(client.place, host, { streams: 1, bytes: 5_000_000 }, signal);

  const [cpuBefore, machineBefore] = [labCpuSeconds(), machineCpuSeconds()];
  let stream = { bitsPerSecond: 0, bytes: 0, retransmits: 0 };
  const share = await agentShare(agents, async () => {
    stream = await tcpStream(client.place, host, { streams: 1, ...effort.stream }, signal);
  });
  const gigabytes = stream.bytes / gigabyte;
  record('cpu-gb', (labCpuSeconds() - cpuBefore) / gigabytes);
  record('machine-gb', (machineCpuSeconds() - machineBefore) / gigabytes);
  record('tcp-1', stream.bitsPerSecond / 1e9);
  record('retransmits', stream.retransmits / gigabytes);
  if (agents.length > 0) record('agent-cpu', share);
  if (effort.hasEightStreams) {
    const eight = await tcpStream(client.place, host, { streams: 8, ...effort.stream }, signal);
    record('tcp-8', eight.bitsPerSecond / 1e9);
  }
  for (const bytes of effort.udpSizes) await measurePackets(pair, bytes, effort, record, signal);

  const trips = await client.requests({ ...load, width: 1 });
  record('rr-p50', trips.p50);
  record('rr-p90', trips.p90);
  record('rr-p99', trips.p99);
  record('rr-p999', trips.p999);
  const made = await client.connections({ ...load, width: 1 });
  record('crr-p50', made.p50);
  record('crr-p90', made.p90);
  record('crr-p99', made.p99);
  record('crr-p999', made.p999);
  record('connect-p50', made.connectP50);
  signal.throwIfAborted();
  if (effort.hasSockperf && hasTool('sockperf') && !isSix) {
    const measured = await roundTrips(client.place, host, 2, signal);
    record('rr-sockperf-p50', measured.p50);
    record('rr-sockperf-p90', measured.p90);
    record('rr-sockperf-p99', measured.p99);
    record('rr-sockperf-p999', measured.p999);
  }
  if (hasTool('ping')) record('ping', (await pings(client.place, host, 50, signal)).median);

  await client.startProbe(target, probesPerSecond, 64);
  await pause(effort.probeMs, signal);
  const { sent, received } = await client.stopProbe();
  record('loss', ((sent - received) / sent) * 100);
}

/** The same node: one stream, round trips. */
export async function measureSame(pair: Pair, effort: Effort, record: Recorder, signal: AbortSignal): Promise<void> {
  const { client, server, host } = pair;
  await startServers(server.place, false);
  await tcpStream(client.place, host, { streams: 1, bytes: 5_000_000 }, signal);
  const stream = await tcpStream(client.place, host, { streams: 1, ...effort.stream }, signal);
  record('tcp-1-same', stream.bitsPerSecond / 1e9);
  const load = { host, port: echoPort, durationMs: effort.latencyMs, warmUpMs, width: 1 };
  const trips = await client.requests(load);
  record('rr-same-p50', trips.p50);
  record('rr-same-p90', trips.p90);
  record('rr-same-p99', trips.p99);
  record('rr-same-p999', trips.p999);
}

/** After `cut`, which turns the transmit offloads off for good. */
export async function measureCut(
  { client, host }: Pair,
  effort: Effort,
  record: Recorder,
  signal: AbortSignal,
  cut: () => void,
): Promise<void> {
  cut();
  const before = labCpuSeconds();
  const stream = await tcpStream(client.place, host, { streams: 1, ...effort.stream }, signal);
  record('tcp-1-cut', stream.bitsPerSecond / 1e9);
  record('cpu-gb-cut', (labCpuSeconds() - before) / (stream.bytes / gigabyte));
}

/** A tenth of a percent: what a receiver's own scheduling costs now and then. */
const lossFree = 0.001;

async function measurePackets(
  { client, host }: Pair,
  bytes: number,
  { packets, isSearchingLossFree }: Effort,
  record: Recorder,
  signal: AbortSignal,
): Promise<void> {
  const cpuBefore = labCpuSeconds();
  const flood = await udpStream(client.place, host, { bytes, packets }, signal);
  if (bytes === 64) record('cpu-packets', ((labCpuSeconds() - cpuBefore) / flood.sent) * 1e6);
  const received = ((flood.sent - flood.lost) / flood.sent) * flood.perSecond;
  record(`udp-${bytes}`, received);
  if (!isSearchingLossFree) return;
  const isFree = async (packetsPerSecond: number): Promise<boolean> => {
    // Of a second or two also where packets are slow.
    const few = Math.round(Math.min(packets / 4, Math.max(2_000, packetsPerSecond * 1.5)));
    const run = await udpStream(client.place, host, { bytes, packets: few, packetsPerSecond }, signal);
    return run.lost / run.sent <= lossFree;
  };
  let [free, lossy] = [0, received * 1.2];
  for (let step = 0; step < 6; step += 1) {
    const rate = free === 0 ? lossy * 0.7 : (free + lossy) / 2;
    if (await isFree(rate)) free = rate;
    else lossy = rate;
  }
  if (free > 0) record(`udp-${bytes}-free`, free);
}

/** Of all processes of these nodes. */
async function agentShare(nodes: readonly Place[], work: () => Promise<unknown>): Promise<number> {
  const cpu = (): number =>
    nodes.flatMap(({ netns }) => processesIn(netns)).reduce((sum, pid) => sum + cpuSecondsOf(pid), 0);
  const [cpuBefore, began] = [cpu(), performance.now()];
  await work();
  return ((cpu() - cpuBefore) / ((performance.now() - began) / 1000)) * 100;
}

export function pause(ms: number, signal: AbortSignal): Promise<void> {
  return systemClock.sleep(ms, signal);
}
