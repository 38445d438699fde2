import test from 'ava';
import { failedFiles, isSameTest, reportedFiles } from '../../../scripts/failed-files.ts';

const files = [
  'out/test/cluster/node-agent.test.js',
  'out/test/cluster/agent.test.js',
  'out/test/cluster/switch.test.js',
];

test('failures name their files, each once', (t) => {
  const failures = [
    'not ok 3 - agent › one › two\n  ---\n    name: AssertionError',
    'not ok 4 - node-agent › a title',
    'not ok 9 - agent › another',
  ];
  t.deepEqual(failedFiles(failures, files), [files[1]!, files[0]!]);
  t.deepEqual(failedFiles([], files), []);
});

test('a file that died is named too', (t) => {
  t.deepEqual(failedFiles(['not ok 4 - out/test/cluster/switch.test.js exited due to SIGKILL'], files), [files[2]!]);
});

test('files of several folders are named by their folders, a lane of one file by nothing', (t) => {
  const pure = [
    'out/test/unit/access.test.js',
    'out/test/unit/api-server/access.test.js',
    'out/test/unit/controllers/faults.test.js',
    'out/test/conformance/store-lmdb.test.js',
  ];
  const failures = [
    'not ok 3 - unit › api-server › access › what › nobody may\n  ---',
    'not ok 4 - unit › controllers › faults › seed 1',
    'not ok 5 - out/test/unit/access.test.js exited due to SIGSEGV',
  ];
  t.deepEqual(failedFiles(failures, pure), [pure[1]!, pure[2]!, pure[0]!]);
  t.is(failedFiles(['not ok 4 - unit › controllers › other › seed 1'], pure), undefined);
  t.deepEqual(failedFiles(['not ok 1 - any title'], files.slice(0, 1)), files.slice(0, 1));
  t.is(failedFiles(['not ok - switch: ran no test'], files.slice(0, 1)), undefined);
});

test('a failure without a file cannot be cleared, whatever the others are', (t) => {
  const known = 'not ok 3 - agent › one';
  t.is(failedFiles([known, 'not ok - cluster: ended before its last test (exit code 1)'], files), undefined);
  t.is(failedFiles([known, 'not ok 4 - elsewhere › title'], files), undefined);
  t.is(failedFiles(['not ok - cluster: ran no test'], files), undefined);
});

test('what nobody caught belongs to the file that exits next', (t) => {
  const uncaught = 'not ok 3 - Error: listen EADDRINUSE: address already in use 127.0.0.1:80';
  const exit = 'not ok 5 - out/test/cluster/agent.test.js exited with a non-zero exit code: 1\nits last words';
  t.deepEqual(failedFiles([uncaught, 'not ok 4 - switch › one', exit], files), [files[2]!, files[1]!]);
  t.is(failedFiles([exit, uncaught], files), undefined);
  t.deepEqual(failedFiles(['not ok 1 - No tests found in out/test/cluster/switch.test.js'], files), [files[2]!]);
  t.deepEqual(failedFiles(['not ok - out/test/cluster/switch.test.js ended without a result'], files), [files[2]!]);
});

test('the files that say something, the last one last', (t) => {
  const output = 'ok 1 - switch › a\nok 2 - agent › b # SKIP\n#   ok 3 - node-agent › c\nnot ok 3 - switch › d\n';
  t.deepEqual([...reportedFiles(output, files)], [files[1]!, files[2]!]);
});

test('a test that fails again alone is the same, another of its file is not', (t) => {
  const beside = 'not ok 607 - runtime › process: a killed agent loses no line\n  ---\n    message: lines are missing';
  t.true(isSameTest(beside, 'not ok 73 - process: a killed agent loses no line\n  ---'));
  t.true(isSameTest(beside, beside));
  t.false(isSameTest(beside, 'not ok 73 - no line'));
  t.false(isSameTest(beside, 'not ok 74 - process: containers see each other\n  ---\n    message: lines are missing'));
  t.false(isSameTest('', ''));
});
