export interface TapResult {
  readonly passed: number;
  /** Titles of what passed. */
  readonly passes: readonly string[];
  /** Each failed test's line with the block that explains it. */
  readonly failures: readonly string[];
  /** Titles, with the reason where there is one. */
  readonly skips: readonly string[];
}

type Kind = 'passed' | 'failed' | 'skipped';
interface Result {
  readonly title: string;
  readonly lines: string[];
  kind: Kind;
}

/**
 * Counts the results of a TAP stream (testanything.org, version 13) as AVA writes it. The plan line is not believed. A test
 * that finds out while it runs that this host cannot do it says `t.log('skipped: <reason>')`: that is no pass.
 */
export function countTap(tap: string): TapResult {
  const results: Result[] = [];
  for (const line of tap.split('\n')) {
    const parsed = /^(not ok|ok)\b(?: \d+)?(?: - )?(.*)$/.exec(line);
    const last = results.at(-1);
    if (parsed !== null) {
      const [, verdict, title = ''] = parsed;
      const kind = /# (skip|todo)\b/i.test(title) ? 'skipped' : verdict === 'ok' ? 'passed' : 'failed';
      results.push({ title, lines: [line], kind });
    } else if (last !== undefined && /^(\s|# {3})/.test(line)) {
      // what a test logged, and why it failed, is indented below its line
      last.lines.push(line);
      const reason = /^# {3}skipped: (.*)$/.exec(line)?.[1];
      if (reason !== undefined && last.kind === 'passed') last.kind = 'skipped';
    }
  }
  const of = (kind: Kind): readonly Result[] => results.filter((result) => result.kind === kind);
  return {
    passed: of('passed').length,
    passes: of('passed').map(({ title }) => title),
    failures: of('failed').map(({ lines }) => lines.join('\n').trimEnd()),
    skips: of('skipped').map(({ title, lines }) => [title, ...lines.slice(1)].join('\n').trimEnd()),
  };
}
