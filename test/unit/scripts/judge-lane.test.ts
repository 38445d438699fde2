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
    /ended before its last test \(exit code 137\)[\s\S]*Killed/,
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

const files = ['out/test/lab/a.test.js', 'out/test/lab/b.test.js', 'out/test/lab/c.test.js'];

test('a file of which nothing is heard, and one that ends before its tests, are failures of their own', (t) => {
  const output = 'ok 1 - a › x\nok 2 - b › y\n# 2 tests remaining in out/test/lab/b.test.js\n\n1..4\n';
  const { failures } = judgeLane('lab', false, run(1, output), files);
  t.deepEqual(failures, [
    'not ok - out/test/lab/c.test.js ended without a result',
    'not ok - out/test/lab/b.test.js ended with 2 of its tests unheard',
  ]);
  t.deepEqual(judgeLane('lab', false, run(0, `${output.replace(/^#.*\n/m, '')}ok 3 - c › z\n`), files).failures, []);
});

test('a file that is named once is not named again', (t) => {
  const hook = 'not ok 3 - b › before hook\n# 2 tests remaining in out/test/lab/b.test.js\n';
  const { failures } = judgeLane('lab', false, run(1, `ok 1 - a › x\nok 2 - c › y\n${hook}\n1..5\n`), files);
  t.deepEqual(failures, ['not ok 3 - b › before hook']);
});

test('a lane that is cut says where it was and what it has not come to', (t) => {
  const ran = run(1, 'ok 1 - a › x\nok 2 - b › y\n', 'ended after 11 minutes without a word\n');
  const { failures } = judgeLane('lab', false, ran, files);
  t.is(failures.length, 1);
  t.regex(failures[0]!, /^not ok - lab: ended before its last test \(exit code 1\)\n/);
  t.regex(failures[0]!, /the last result was of out\/test\/lab\/b\.test\.js\n/);
  t.regex(failures[0]!, /nothing was heard of out\/test\/lab\/c\.test\.js\nended after 11 minutes without a word$/);
});

test('of a file that died its last words are told', (t) => {
  const output =
    'ok 1 - a › x\nok 2 - b › y\nnot ok 3 - out/test/lab/c.test.js exited with a non-zero exit code: 1\n\n1..3\n';
  const { failures } = judgeLane('lab', false, run(1, output, 'still open are TCPSOCKETWRAP\n'), files);
  t.is(failures.length, 1);
  t.regex(failures[0]!, /^not ok 3 - .*exit code: 1\nstill open are TCPSOCKETWRAP$/);
});
