import test from 'ava';
import { countTap } from '../../../scripts/tap.ts';

const stream = `TAP version 13
ok 1 - quantity › 1Ki is 1024
#   what it logged
not ok 2 - watch › a gap
#   seed 42
  ---
    name: AssertionError
    message: 'not ok 9 - quoted inside'
    values:
      'Difference (- actual, + expected):': |-
        - 1
        + 2
  ...
ok 3 - lab › ipvs # SKIP no ip_vs module
ok 4 - later # TODO
not ok 5 - broken.test.js exited with a non-zero exit code: 1
ok 6 - a title with # in it
ok 7 - ordinary user
#   skipped: needs root, to become another user
not ok 8 - says skipped but fails
#   skipped: this is no excuse

1..8
# tests 5
# pass 2
# fail 2
`;

test('passes, failures with their explanation, and skips are counted from the results alone', (t) => {
  const { passed, passes, failures, skips } = countTap(stream);
  t.is(passed, 2);
  t.deepEqual(passes, ['quantity › 1Ki is 1024', 'a title with # in it']);
  t.is(failures.length, 3);
  t.regex(failures[0]!, /^not ok 2 - watch › a gap\n# {3}seed 42\n {2}---\n[\s\S]*\+ 2\n {2}\.\.\.$/);
  t.is(failures[1], 'not ok 5 - broken.test.js exited with a non-zero exit code: 1');
  t.regex(failures[2]!, /^not ok 8 - says skipped but fails\n/);
  t.deepEqual(skips, [
    'lab › ipvs # SKIP no ip_vs module',
    'later # TODO',
    'ordinary user\n#   skipped: needs root, to become another user',
  ]);
});

test('a stream without results counts nothing, whatever its plan says', (t) => {
  t.deepEqual(countTap('TAP version 13\n1..40\n# pass 40\n'), { passed: 0, passes: [], failures: [], skips: [] });
  t.deepEqual(countTap(''), { passed: 0, passes: [], failures: [], skips: [] });
});

test('words that begin with ok are no results', (t) => {
  t.is(countTap('okay then\nokra\n').passed, 0);
});
