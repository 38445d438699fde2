/** Traffic tools of Debian, run in pods' namespaces: iperf3 (throughput, packet rates), sockperf (round trips). */
import { PintleError } from '../../kernel/contract/errors.ts';
import { hostFacts } from '../../kernel/host/host-facts.ts';
import type { Place } from './place.ts';

export const tools = { iperf3: 'iperf3', sockperf: 'sockperf', ping: 'iputils-ping' } as const;
export type Tool = keyof typeof tools;

export const hasTool = (tool: string): boolean => hostFacts().command(tool) !== undefined;

export const installHint = (missing: readonly Tool[]): string =>
  `apt-get install ${missing.map((tool) => tools[tool]).join(' ')}`;

export interface Stream {
  readonly bitsPerSecond: number;
  readonly bytes: number;
  readonly retransmits: number;
}

export interface Datagrams {
  readonly sent: number;
  readonly lost: number;
  readonly seconds: number;
  readonly perSecond: number;
}

interface IperfEnd {
  readonly error?: string;
  readonly end: {
    readonly sum_sent: { readonly retransmits?: number };
    readonly sum_received: { readonly bits_per_second: number; readonly bytes: number };
    readonly sum: { readonly packets: number; readonly lost_packets: number; readonly seconds: number };
  };
}

const iperfPort = 5201;
const sockperfPort = 11_111;

export async function startServers(place: Place, withSockperf = true): Promise<void> {
  if (hasTool('iperf3')) await listening(place, 'iperf3', ['-s', '-p', String(iperfPort)], iperfPort);
  if (withSockperf && hasTool('sockperf'))
    await listening(place, 'sockperf', ['server', '--tcp', '-i', '0.0.0.0', '-p', String(sockperfPort)], sockperfPort);
}

/** By the namespace's table of sockets, so that the server sees no connection before the first real one. */
async function listening(place: Place, command: string, argv: readonly string[], port: number): Promise<void> {
  const child = place.spawn(command, argv);
  child.stdout?.resume();
  child.stderr?.resume();
  const hex = port.toString(16).toUpperCase().padStart(4, '0');
  const isListening = new RegExp(`^\\s*\\d+: [0-9A-F]+:${hex} [0-9A-F]+:0000 0A `, 'm');
  for (let tries = 0; tries < 500; tries += 1) {
    const tables = ['tcp', 'tcp6'].map((name) => place.runNow('cat', [`/proc/net/${name}`]).stdout).join('');
    if (isListening.test(tables)) return;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  throw new PintleError('BENCH_FAILED', `${command} does not listen on port ${port} of ${place.name}`);
}

async function iperf(
  place: Place,
  host: string,
  argv: readonly string[],
  signal: AbortSignal,
): Promise<IperfEnd['end']> {
  const command = ['-c', host, '-p', String(iperfPort), '-J', '--connect-timeout', '3000', ...argv];
  for (let tries = 1; ; tries += 1) {
    const { end, error } = JSON.parse(await place.run('iperf3', command, signal)) as IperfEnd;
    if (error === undefined) return end;
    // iperf3 takes a late answer on its UDP set-up for a failure (EAGAIN); its server is busy for a moment after a client,
    // and does not listen for another one.
    if (tries === 10 || !/temporarily unavailable|busy|refused/.test(error))
      throw new PintleError('BENCH_FAILED', `iperf3 ${argv.join(' ')}: ${error}`);
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
}

export async function tcpStream(
  place: Place,
  host: string,
  options: { readonly streams: number; readonly seconds?: number; readonly bytes?: number },
  signal: AbortSignal,
): Promise<Stream> {
  const length = options.seconds === undefined ? ['-n', String(options.bytes)] : ['-t', String(options.seconds)];
  const { sum_received, sum_sent } = await iperf(place, host, ['-P', String(options.streams), ...length], signal);
  return {
    bitsPerSecond: sum_received.bits_per_second,
    bytes: sum_received.bytes,
    retransmits: sum_sent.retransmits ?? 0,
  };
}

/** `packetsPerSecond` undefined: as fast as the sender can. */
export async function udpStream(
  place: Place,
  host: string,
  options: { readonly bytes: number; readonly packets: number; readonly packetsPerSecond?: number | undefined },
  signal: AbortSignal,
): Promise<Datagrams> {
  const { bytes, packets, packetsPerSecond } = options;
  const rate = packetsPerSecond === undefined ? '0' : String(Math.round(packetsPerSecond * bytes * 8));
  const { sum } = await iperf(place, host, ['-u', '-l', String(bytes), '-k', String(packets), '-b', rate], signal);
  return { sent: sum.packets, lost: sum.lost_packets, seconds: sum.seconds, perSecond: sum.packets / sum.seconds };
}

export interface RoundTrips {
  /** Microseconds, by percentile. */
  readonly p50: number;
  readonly p90: number;
  readonly p99: number;
  readonly p999: number;
}

/** TCP, messages of 14 bytes (sockperf's least), one at a time. */
export async function roundTrips(
  place: Place,
  host: string,
  seconds: number,
  signal: AbortSignal,
): Promise<RoundTrips> {
  const argv = ['ping-pong', '--tcp', '-i', host, '-p', String(sockperfPort), '-t', String(seconds), '--full-rtt'];
  const output = await place.run('sockperf', argv, signal);
  const at = (percentile: string): number =>
    Number(new RegExp(`percentile ${percentile}\\s*=\\s*([\\d.]+)`).exec(output)?.[1] ?? Number.NaN);
  return { p50: at('50.000'), p90: at('90.000'), p99: at('99.000'), p999: at('99.900') };
}

/** ICMP, the least interval that needs no patience. Microseconds. */
export async function pings(
  place: Place,
  host: string,
  count: number,
  signal: AbortSignal,
): Promise<{ readonly median: number; readonly lost: number }> {
  const output = await place.run('ping', ['-n', '-c', String(count), '-i', '0.002', host], signal);
  const times = [...output.matchAll(/time=([\d.]+) ms/g)].map((match) => Number(match[1]) * 1000).sort((a, b) => a - b);
  return { median: times[times.length >> 1] ?? Number.NaN, lost: count - times.length };
}
