import { countTap, type TapResult } from './tap.ts';

export interface LaneRun {
  readonly output: string;
  readonly errorOutput: string;
  readonly exitCode: number;
}

/**
 * A tool that reports by its exit code is one check. A lane of tests is its TAP; beyond that it must not have ended with
 * another code than its results explain, and must have run something.
 */
export function judgeLane(name: string, isTool: boolean, { output, errorOutput, exitCode }: LaneRun): TapResult {
  const failure = (what: string): string => `not ok - ${name}: ${what}\n${output}${errorOutput}`.trimEnd();
  if (isTool) {
    const failures = exitCode === 0 ? [] : [failure(`exit code ${exitCode}`)];
    return { passed: 1 - failures.length, failures, skips: [] };
  }
  const result = countTap(output);
  if (result.failures.length > 0) {
    // The plan comes last: without it some tests never ran, whatever the others say.
    if (/^1\.\.\d+$/m.test(output)) return result;
    const cut =
      `not ok - ${name}: ended before its last test (exit code ${exitCode})\n${errorOutput.slice(-2000)}`.trimEnd();
    return { ...result, failures: [...result.failures, cut] };
  }
  if (exitCode !== 0) return { ...result, failures: [failure(`exit code ${exitCode} without a failed test`)] };
  if (result.passed === 0) return { ...result, failures: [failure('ran no test')] };
  return result;
}

export const summary = ({ passed, failures, skips }: TapResult): string =>
  `${passed} passed, ${failures.length} failed, ${skips.length} skipped`;
