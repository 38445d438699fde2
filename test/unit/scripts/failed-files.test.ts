import test from 'ava';
import { failedFiles } from '../../../scripts/failed-files.ts';

const files = [
  'out/test/cluster/node-agent.test.js',
  'out/test/cluster/agent.test.js',
  'out/test/cluster/switch.test.js',
];

test('failures name their files, each once', (t) => {
  const failures = [
    'not ok 3 - agent › one › two\n  ---\n    name: AssertionError',
    'not ok - node-agent › a title',
    'not ok 9 - agent › another',
  ];
  t.deepEqual(failedFiles(failures, files), [files[1]!, files[0]!]);
  t.deepEqual(failedFiles([], files), []);
});

test('a file that died is named too', (t) => {
  t.deepEqual(failedFiles(['not ok 4 - out/test/cluster/switch.test.js exited due to SIGKILL'], files), [files[2]!]);
});

test('a failure without a file cannot be cleared, whatever the others are', (t) => {
  const known = 'not ok 3 - agent › one';
  t.is(failedFiles([known, 'not ok - cluster: ended before its last test (exit code 1)'], files), undefined);
  t.is(failedFiles([known, 'not ok 4 - elsewhere › title'], files), undefined);
  t.is(failedFiles(['not ok - cluster: ran no test'], files), undefined);
});
