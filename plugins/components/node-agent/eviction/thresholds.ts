/** Eviction thresholds: below how much of what the node counts as in trouble, at once (hard) or after a grace (soft). */
import { byteCount, isQuantity } from '../../../../kernel/machinery/quantity.ts';

/** Signals that a config may name. `memory.available` also holds for what pods may use of the node (allocatable). */
export const signals = ['memory.available', 'nodefs.available', 'nodefs.inodesFree', 'pid.available'] as const;
export type ConfiguredSignal = (typeof signals)[number];
export type Signal = ConfiguredSignal | 'allocatableMemory.available';

export type PressureCondition = 'MemoryPressure' | 'DiskPressure' | 'PIDPressure';

export const conditionOf: Readonly<Record<Signal, PressureCondition>> = {
  'memory.available': 'MemoryPressure',
  'allocatableMemory.available': 'MemoryPressure',
  'nodefs.available': 'DiskPressure',
  'nodefs.inodesFree': 'DiskPressure',
  'pid.available': 'PIDPressure',
};

/** What the messages call it that is short. */
export const resourceOf: Readonly<Record<Signal, string>> = {
  'memory.available': 'memory',
  'allocatableMemory.available': 'memory',
  'nodefs.available': 'ephemeral-storage',
  'nodefs.inodesFree': 'inodes',
  'pid.available': 'pids',
};

/** A kubelet's on Linux. */
export const upstreamHard: Readonly<Partial<Record<ConfiguredSignal, string>>> = {
  'memory.available': '100Mi',
  'nodefs.available': '10%',
  'nodefs.inodesFree': '5%',
};

/**
 * For nodes that share one machine with each other and with all else that it is used for: a share of a large disk that is
 * nearly full by habit is no trouble of theirs, and evicting pods would not cure it.
 */
export const sharedHostHard: Readonly<Partial<Record<ConfiguredSignal, string>>> = {
  'memory.available': '100Mi',
  'nodefs.available': '100Mi',
};

export interface EvictionSettings {
  readonly hard: Readonly<Partial<Record<ConfiguredSignal, string>>>;
  readonly soft: Readonly<Partial<Record<ConfiguredSignal, string>>>;
  readonly softGraceSeconds: Readonly<Partial<Record<ConfiguredSignal, number>>>;
  readonly minimumReclaim: Readonly<Partial<Record<ConfiguredSignal, string>>>;
  readonly pressureTransitionSeconds: number;
  readonly maxPodGraceSeconds: number;
}

export interface Threshold {
  readonly signal: Signal;
  readonly isHard: boolean;
  readonly graceMs: number;
  /** Of so much in all, what must be left. */
  limit(capacity: number): number;
  /** What must be left again before the trouble counts as over, beyond the limit. */
  reclaim(capacity: number): number;
}

/** "100Mi", "10%". */
export function isThresholdValue(text: string): boolean {
  return /^(?:100|\d{1,2}(?:\.\d+)?)%$/.test(text) || (isQuantity(text) && byteCount(text) >= 0);
}

export function amountOf(text: string | undefined, capacity: number): number {
  if (text === undefined) return 0;
  return text.endsWith('%') ? (capacity * Number(text.slice(0, -1))) / 100 : byteCount(text);
}

/** A value of zero turns a threshold off. */
export function thresholdsOf(settings: EvictionSettings): readonly Threshold[] {
  const make = (signal: ConfiguredSignal, value: string, isHard: boolean): readonly Threshold[] => {
    if (amountOf(value, 100) === 0) return [];
    const graceMs = isHard ? 0 : (settings.softGraceSeconds[signal] ?? 0) * 1000;
    const limit = (capacity: number): number => amountOf(value, capacity);
    const reclaim = (capacity: number): number => amountOf(settings.minimumReclaim[signal], capacity);
    const own: Threshold = { signal, isHard, graceMs, limit, reclaim };
    // What pods may use together is bounded whether or not the machine has more.
    return signal === 'memory.available' && isHard ? [own, { ...own, signal: 'allocatableMemory.available' }] : [own];
  };
  return signals.flatMap((signal) => {
    const { [signal]: hard } = settings.hard;
    const { [signal]: soft } = settings.soft;
    return [
      ...(hard === undefined ? [] : make(signal, hard, true)),
      ...(soft === undefined ? [] : make(signal, soft, false)),
    ];
  });
}
