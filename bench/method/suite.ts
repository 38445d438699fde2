/** What a suite is to the engine: a matrix of cells, and how to open one. Suites know nothing of rounds or statistics. */
import type { CellResult, Fact, Metric } from './result.ts';

export interface CellPlan {
  readonly id: string;
  readonly factors: Readonly<Record<string, string>>;
  readonly baseline?: string | undefined;
  readonly isBaseline: boolean;
  /** Cells that do the same work have the same one (as many Services, as many clients). Default: one for all. */
  readonly contest?: string | undefined;
  /** What is known of it beforehand; what its bed finds is added. */
  readonly facts?: Readonly<Record<string, Fact>> | undefined;
  /** How long it is expected to take beside others of its suite, until it has been run once. Default 1. */
  readonly weight?: number | undefined;
  /** Why this machine cannot run it: it is listed and not measured. */
  readonly skip?: string | undefined;
}

export type Check = CellResult['checks'][number];

/** Takes one figure of this round. */
export type Recorder = (metric: string, value: number) => void;

/** A cell set up once, for one round. */
export interface Bed {
  /** Short, and before any figure: a mode that does not do its work has none. */
  check(): Promise<readonly Check[]>;
  /** Warms up by itself. Stops early, with an error, when the signal aborts. */
  measure(record: Recorder, signal: AbortSignal): Promise<void>;
  facts(): Readonly<Record<string, Fact>>;
  /** Takes all down; resolves to what was left behind. */
  close(): Promise<readonly string[]>;
}

export interface Suite {
  readonly name: string;
  readonly title: string;
  readonly summary: string;
  readonly metrics: readonly Metric[];
  readonly cells: readonly CellPlan[];
  readonly options: Readonly<Record<string, Fact>>;
  /** Of this machine and of the tools that it uses. */
  readonly versions: Readonly<Record<string, string>>;
  open(cell: CellPlan): Promise<Bed>;
  /** After the last round: what all cells shared. */
  close?(): Promise<void>;
}

/** How long measurements last: smoke shows that they run, standard fits all suites into about 12 minutes. */
export const sizes = ['smoke', 'standard', 'full'] as const;
export type Size = (typeof sizes)[number];

export const check = (name: string, ok: boolean, detail = ''): Check => ({ name, ok, detail });
