/** A run, as plain data: made by the command line, carried out inside a laboratory. */
import type { Fact, SuiteResult } from '../method/result.ts';
import type { Size } from '../method/suite.ts';

export interface SuitePlan {
  readonly name: string;
  readonly rounds: number;
  readonly size: Size;
  readonly options: Readonly<Record<string, string>>;
}

export interface BenchPlan {
  readonly suites: readonly SuitePlan[];
  /** Modules of third-party plugins, and the folder from which they are looked up. */
  readonly modules: readonly string[];
  readonly directory: string;
  /** Config of plugins by "kind/name". */
  readonly configs: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  /** The command line program, for processes that run plugins. */
  readonly program: string;
  /** Where it runs: on the host as it is, its loopback is nobody's to touch. */
  readonly target: string;
  readonly pintleVersion: string;
}

/** What the laboratory tells, one JSON object a line. */
export type BenchEvent =
  /** First: the machine that is measured, which may be another than the one that asks. */
  | {
      readonly type: 'place';
      readonly machine: Readonly<Record<string, Fact>>;
      readonly versions: Readonly<Record<string, string>>;
    }
  | {
      readonly type: 'begin';
      readonly suite: string;
      readonly cell: string;
      readonly round: number;
      readonly rounds: number;
      readonly done: number;
      readonly left: number;
      readonly secondsLeft: number | undefined;
    }
  /** Now and then while one cell runs for long. */
  | {
      readonly type: 'still';
      readonly suite: string;
      readonly cell: string;
      readonly seconds: number;
      /** After so long it is given up. */
      readonly limitSeconds: number;
    }
  | {
      readonly type: 'again';
      readonly suite: string;
      readonly cell: string;
      readonly round: number;
      readonly reason: string;
    }
  | { readonly type: 'dropped'; readonly suite: string; readonly cell: string; readonly reason: string }
  | { readonly type: 'skipped'; readonly suite: string; readonly cell: string; readonly reason: string }
  /** The whole suite as far as it is measured: a later one takes the place of an earlier one. */
  | { readonly type: 'suite'; readonly result: SuiteResult }
  | { readonly type: 'suite-failed'; readonly suite: string; readonly reason: string };
