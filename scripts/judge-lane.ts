import { failedFiles, reportedFiles } from './failed-files.ts';
import { countTap, type TapResult } from './tap.ts';

export interface LaneRun {
  readonly output: string;
  readonly errorOutput: string;
  readonly exitCode: number;
}

/**
 * A tool that reports by its exit code is one check. A lane of tests is its TAP; beyond that it must not have ended with
 * another code than its results explain, must have run something, and each of its `files` must have said something.
 */
export function judgeLane(
  name: string,
  isTool: boolean,
  { output, errorOutput, exitCode }: LaneRun,
  files: readonly string[] = [],
): TapResult {
  const failure = (what: string, said: string): string => `not ok - ${name}: ${what}\n${said}`.trimEnd();
  if (isTool) {
    const failures = exitCode === 0 ? [] : [failure(`exit code ${exitCode}`, output + errorOutput)];
    return { passed: 1 - failures.length, passes: [], failures, skips: [] };
  }
  const lastWords = errorOutput.slice(-2000);
  const counted = countTap(output);
  const failures = counted.failures.map((one) => (isDeath(one) ? `${one}\n${lastWords}`.trimEnd() : one));
  const result = { ...counted, failures };
  const reported = reportedFiles(output, files);
  const silent = files.filter((file) => !reported.has(file));
  // The plan comes last: without it some tests never ran, whatever the others say.
  if (!/^1\.\.\d+$/m.test(output) && (failures.length > 0 || exitCode !== 0)) {
    const unheard = silent.length === 0 ? '' : `nothing was heard of ${someOf(silent)}\n`;
    const last = [...reported].at(-1);
    const where = last === undefined ? '' : `the last result was of ${last}\n`;
    const what = `ended before its last test (exit code ${exitCode})`;
    return { ...result, failures: [...failures, failure(what, where + unheard + lastWords)] };
  }
  const named = new Set(failures.flatMap((one) => failedFiles([one], files) ?? []));
  const unfinished = [
    ...silent.map((file) => `not ok - ${file} ended without a result`),
    ...[...output.matchAll(/^# (\d+) tests? remaining in (\S+\.test\.js)$/gm)]
      .filter(([, , file]) => !silent.includes(file!))
      .map(([, count, file]) => `not ok - ${file} ended with ${count} of its tests unheard`),
  ].filter((line) => !named.has(line.split(' ')[3]!));
  if (unfinished.length > 0) return { ...result, failures: [...failures, ...unfinished] };
  if (failures.length > 0) return result;
  if (exitCode !== 0)
    return { ...result, failures: [failure(`exit code ${exitCode} without a failed test`, output + errorOutput)] };
  if (result.passed === 0) return { ...result, failures: [failure('ran no test', output + errorOutput)] };
  return result;
}

/** Of a file that died TAP says only that; why is among what it wrote to stderr. */
const isDeath = (failure: string): boolean => / exited (?:with a non-zero exit code:|due to) /.test(failure);

const someOf = (files: readonly string[]): string =>
  `${files.slice(0, 20).join(' ')}${files.length > 20 ? ` and ${files.length - 20} more` : ''}`;

export const summary = ({ passed, failures, skips }: TapResult): string =>
  `${passed} passed, ${failures.length} failed, ${skips.length} skipped`;
