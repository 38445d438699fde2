/** What overlay flannel-udp is measured by, and whether a run reached it. Pure. */
import type { Condition, Mode, StopTimes } from './two-nodes.ts';

export interface Sample {
  readonly gigabits: number;
  /** Processor time of sender, receiver and data paths for a gigabyte. */
  readonly msPerGigabyte: number;
  /** Of the whole machine, with threads of the kernel's own, and with what others do on it. */
  readonly machineMsPerGigabyte: number;
  readonly p50: number;
  readonly p99: number;
}

export interface Measured {
  /** By condition and mode, one of each round. */
  readonly samples: Map<string, Sample[]>;
  /** By mode: processor time of the data paths in a second without traffic. */
  readonly idleMs: Map<string, number>;
  readonly stopMs: Map<string, StopTimes[]>;
  readonly content: Map<string, string>;
}

const sorted = (values: readonly number[]): number[] => [...values].sort((a, b) => a - b);
const median = (values: readonly number[]): number => sorted(values)[Math.floor(values.length / 2)] ?? Number.NaN;

export function spread(values: readonly number[], digits: number): string {
  const all = sorted(values);
  return `${median(values).toFixed(digits)} (${all[0]?.toFixed(digits)}-${all.at(-1)?.toFixed(digits)})`;
}

/** The ratios of each round. */
export function ratios(
  { samples }: Pick<Measured, 'samples'>,
  condition: Condition,
  [mode, base]: readonly [Mode, Mode],
  pick: (sample: Sample) => number,
): readonly number[] {
  const others = samples.get(`${condition} ${base}`) ?? [];
  const own = samples.get(`${condition} ${mode}`) ?? [];
  return own.flatMap((sample, round) => (others[round] === undefined ? [] : [pick(sample) / pick(others[round])]));
}

const throughput = ({ gigabits }: Sample): number => gigabits;
const latency = ({ p50 }: Sample): number => p50;

interface Aim {
  readonly what: string;
  readonly values: (measured: Measured) => readonly number[];
  readonly atLeast?: number;
  readonly atMost?: number;
}

/** Mode kernel is what path offload does where both nodes can. */
const fast = ['kernel', 'super'] as const;

const aims: readonly Aim[] = [
  ...(['kernel', 'offload'] as const).flatMap((mode): Aim[] => [
    {
      what: `${mode}: TCP, of one packet a system call`,
      values: (measured) => ratios(measured, 'veth', [mode, 'one-packet'], throughput),
      atLeast: 10,
    },
    {
      what: `${mode}: TCP, of VXLAN`,
      values: (measured) => ratios(measured, 'veth', [mode, 'vxlan'], throughput),
      atLeast: 0.8,
    },
  ]),
  ...fast.flatMap((mode): Aim[] => [
    {
      what: `${mode}: TCP, of VXLAN`,
      values: (measured) => ratios(measured, 'veth', [mode, 'vxlan'], throughput),
      atLeast: 1,
    },
    {
      what: `${mode}: TCP, of VXLAN, segmented by the sender`,
      values: (measured) => ratios(measured, 'wire', [mode, 'vxlan'], throughput),
      atLeast: 1,
    },
    {
      what: `${mode}: TCP, of VXLAN, transmit offloads off`,
      values: (measured) => ratios(measured, 'off', [mode, 'vxlan'], throughput),
      atLeast: 1,
    },
    {
      what: `${mode}: TCP, of VXLAN, one datagram in a thousand lost, no GRO`,
      values: (measured) => ratios(measured, 'lossy', [mode, 'vxlan'], throughput),
      atLeast: 1,
    },
  ]),
  ...(['kernel', 'offload'] as const).map((mode): Aim => ({
    what: `${mode}: p50 of a byte there and back, of VXLAN`,
    values: (measured) => ratios(measured, 'veth', [mode, 'vxlan'], latency),
    atMost: 1.3,
  })),
  ...(['kernel', 'offload'] as const).flatMap((mode): Aim[] => [
    {
      what: `${mode}: idle, ms of processor a second`,
      values: ({ idleMs }) => [idleMs.get(mode) ?? Number.NaN],
      atMost: 0.1,
    },
    {
      what: `${mode}: stop, ms until no packet is carried any more`,
      values: ({ stopMs }) => stopMs.get(mode)?.map(({ packetsMs }) => packetsMs) ?? [],
      atMost: 10,
    },
  ]),
];

/** One line an aim: the median decides. */
export function judgeAims(measured: Measured): readonly string[] {
  return aims.map(({ what, values, atLeast, atMost }) => {
    const got = values(measured);
    if (got.length === 0) return `not measured  ${what}`;
    const middle = median(got);
    const isReached = middle >= (atLeast ?? -Infinity) && middle <= (atMost ?? Infinity);
    const aim = atLeast === undefined ? `at most ${atMost}` : `at least ${atLeast}`;
    return `${isReached ? 'reached    ' : 'NOT reached'}  ${what}: ${spread(got, 2)}, aim ${aim}`;
  });
}
