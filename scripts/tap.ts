export interface TapResult {
  readonly passed: number;
  /** Each failed test's line with the block that explains it. */
  readonly failures: readonly string[];
  /** Titles, with the reason where there is one. */
  readonly skips: readonly string[];
}

/** Counts the results of a TAP stream (testanything.org, version 13) as AVA writes it. The plan line is not believed. */
export function countTap(tap: string): TapResult {
  let passed = 0;
  const failures: string[][] = [];
  const skips: string[] = [];
  let open: string[] | undefined;
  for (const line of tap.split('\n')) {
    const result = /^(not ok|ok)\b(?: \d+)?(?: - )?(.*)$/.exec(line);
    if (result === null) {
      // what belongs to a failure is indented, up to the next result or comment
      if (/^\s/.test(line)) open?.push(line);
      else open = undefined;
      continue;
    }
    const [, verdict, text = ''] = result;
    const directive = /# (skip|todo)\b.*$/i.exec(text);
    open = undefined;
    if (directive !== null) skips.push(text);
    else if (verdict === 'ok') passed += 1;
    else failures.push((open = [line]));
  }
  return { passed, failures: failures.map((lines) => lines.join('\n')), skips };
}
