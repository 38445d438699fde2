/** How long a run still takes: by what its cells took, and what they are expected to take beside each other. */

interface Known {
  readonly weight: number;
  /** Rounds that are to come. */
  left: number;
  count: number;
  ms: number;
}

export interface Progress {
  readonly done: number;
  readonly left: number;
  /** Undefined while nothing has been run. */
  readonly secondsLeft: number | undefined;
}

/** Suites are apart: of those not begun, the mean of all that ran is expected. */
export class StepClock {
  readonly #suites: readonly ReadonlyMap<string, Known>[];
  readonly #now: () => number;
  #done = 0;
  #began = 0;

  constructor(
    suites: readonly {
      readonly rounds: number;
      readonly cells: readonly { id: string; weight?: number | undefined }[];
    }[],
    now: () => number = () => performance.now(),
  ) {
    this.#now = now;
    this.#suites = suites.map(
      ({ rounds, cells }) =>
        new Map(cells.map(({ id, weight = 1 }) => [id, { weight, left: rounds, count: 0, ms: 0 }] as const)),
    );
  }

  begin(): Progress {
    this.#began = this.#now();
    const all = this.#suites.flatMap((cells) => [...cells.values()]);
    const overall = rateOf(all);
    const ms = this.#suites.reduce((sum, cells) => {
      const own = rateOf([...cells.values()]);
      return sum + [...cells.values()].reduce((part, cell) => part + msOf(cell, own ?? overall), 0);
    }, 0);
    const left = all.reduce((sum, cell) => sum + cell.left, 0);
    return { done: this.#done, left, secondsLeft: overall === undefined ? undefined : Math.round(ms / 1000) };
  }

  /** `rounds`: so many of this cell are over by it; more than one when it is out. */
  end(suite: number, id: string, rounds = 1): void {
    const cell = this.#suites[suite]?.get(id);
    if (cell === undefined) return;
    cell.count += 1;
    cell.ms += this.#now() - this.#began;
    cell.left = Math.max(0, cell.left - rounds);
    this.#done += 1;
  }
}

/** Milliseconds for a weight of 1. */
function rateOf(cells: readonly Known[]): number | undefined {
  const weight = cells.reduce((sum, { weight: one, count }) => sum + one * count, 0);
  return weight === 0 ? undefined : cells.reduce((sum, { ms }) => sum + ms, 0) / weight;
}

const msOf = ({ count, ms, left, weight }: Known, rate = 0): number =>
  left * (count === 0 ? rate * weight : ms / count);
