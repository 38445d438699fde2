import test from 'ava';
import { judgeLane, summary } from '../../../scripts/judge-lane.ts';

const run = (exitCode: number, output: string, errorOutput = '') => ({ exitCode, output, errorOutput });

const cases: readonly (readonly [
  title: string,
  isTool: boolean,
  ran: ReturnType<typeof run>,
  expected: string,
  says: RegExp,
])[] = [
  ['a tool that succeeds', true, run(0, 'fine'), '1 passed, 0 failed, 0 skipped', /^$/],
  [
    'a tool that fails',
    true,
    run(1, 'a.ts is wrong', ''),
    '0 passed, 1 failed, 0 skipped',
    /exit code 1\na\.ts is wrong/,
  ],
  ['tests that pass', false, run(0, 'ok 1 - a\nok 2 - b\n'), '2 passed, 0 failed, 0 skipped', /^$/],
  [
    'tests that fail',
    false,
    run(1, 'ok 1 - a\nnot ok 2 - b\n1..2\n'),
    '1 passed, 1 failed, 0 skipped',
    /^not ok 2 - b$/,
  ],
  [
    'tests that fail and others that never ran',
    false,
    run(1, 'ok 1 - a\nnot ok 2 - b\n', 'TypeError'),
    '1 passed, 2 failed, 0 skipped',
    /ended before its last test \(exit code 1\)\nTypeError/,
  ],
  [
    'passed tests and a bad exit',
    false,
    run(137, 'ok 1 - a\n', 'Killed'),
    '1 passed, 1 failed, 0 skipped',
    /exit code 137 without a failed test[\s\S]*Killed/,
  ],
  ['no test at all', false, run(0, 'TAP version 13\n1..0\n'), '0 passed, 1 failed, 0 skipped', /ran no test/],
  ['nothing but skips', false, run(0, 'ok 1 - a # SKIP\n'), '0 passed, 1 failed, 1 skipped', /ran no test/],
  [
    'a runner that is not there',
    false,
    run(127, '', 'spawn unshare ENOENT'),
    '0 passed, 1 failed, 0 skipped',
    /ENOENT/,
  ],
];
for (const [title, isTool, ran, expected, says] of cases)
  test(`a lane of ${title}: ${expected}`, (t) => {
    const result = judgeLane('lane', isTool, ran);
    t.is(summary(result), expected);
    t.regex(result.failures.join('\n'), says);
  });
