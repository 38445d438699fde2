/** Results made by hand for tests of what is said about them. */
import type { Metric, Result, SuiteResult } from '../../../bench/method/result.ts';

export const speed: Metric = {
  ...{ id: 'speed', title: 'speed', unit: 'Gb/s', better: 'more', compare: 'ratio', leastChange: 0.1 },
  ...{ group: 'speed', headline: true },
};
export const delay: Metric = { ...speed, id: 'delay', title: 'delay', unit: 'µs', better: 'less', group: 'delay' };
export const loss: Metric = { ...delay, id: 'loss', title: 'loss', unit: '%', compare: 'difference', leastChange: 0.3 };

export type Cells = Readonly<Record<string, Readonly<Record<string, readonly number[]>>>>;

/** The first cell is the baseline of the others. */
export function suiteOf(cells: Cells): SuiteResult {
  const [baseline] = Object.keys(cells);
  return {
    ...{ name: 'net', title: 'Networks', summary: '', rounds: 5, size: 'standard', options: {}, seconds: 1 },
    metrics: [speed, delay, loss],
    cells: Object.entries(cells).map(([id, samples]) => ({
      ...{ id, factors: { overlay: id }, isBaseline: id === baseline, contest: '', state: 'measured' as const },
      ...(id === baseline ? {} : { baseline }),
      ...{ checks: [], facts: {}, leftBehind: [] },
      samples: Object.fromEntries(
        Object.entries(samples).map(([metric, values]) => [
          metric,
          values.map((value, index) => ({ round: index + 1, value })),
        ]),
      ),
    })),
  };
}

export const resultOf = (...suites: readonly SuiteResult[]): Result => ({
  ...{ format: 'pintle.dev/bench/v1', startedAt: '2026-11-21T00:00:00.000Z', finishedAt: '2026-11-21T00:10:00.000Z' },
  ...{ complete: true, command: ['pintle', 'bench'], machine: { cores: 2 }, versions: { pintle: '0.1.0' } },
  ...{ loadBefore: [0, 0, 0], loadAfter: [0, 0, 0] },
  suites: [...suites],
});
