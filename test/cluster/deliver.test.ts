/** `pintle deliver` as the last step of a CI job uses it: again and again, with code that works and code that does not. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { eventually } from './support/pods.ts';
import { kubectls, program, run, TestCluster, type Output } from './support/cluster.ts';

let cluster: TestCluster;
let code: string;
test.before(async () => {
  cluster = await TestCluster.start({ nodes: 2 });
  code = join(cluster.folder, '..', 'code');
  mkdirSync(join(code, 'lib'), { recursive: true });
  writeFileSync(
    join(code, 'server.js'),
    `const text = require('./lib/text.js');
     require('http').createServer((request, response) => response.end(text)).listen(8080);
     process.on('SIGTERM', () => process.exit(0));`,
  );
});
test.after.always(() => cluster?.stop());

const version = (text: string) => writeFileSync(join(code, 'lib', 'text.js'), text);
const pintle = (...argv: readonly string[]): Promise<Output> =>
  run(process.execPath, [program, 'deliver', ...argv], { env: { ...process.env, KUBECONFIG: cluster.kubeconfig } });
const deliver = (...flags: readonly string[]) =>
  pintle('shop', '--dir', code, '--timeout', '150', ...flags, '--', process.execPath, 'server.js');
const kubectl = async (...argv: readonly string[]) => {
  const { code: exitCode, stdout, stderr } = await cluster.kubectl(kubectls()[0]!, argv);
  return exitCode === 0 ? stdout.trim() : `failed: ${stderr}`;
};
/** What the Service answers to one of its own pods, when that is no error: kubectl may choose one that goes just then. */
const answer = () =>
  eventually(async () => {
    const text = await kubectl(
      ...['exec', 'deploy/shop', '--', process.execPath, '-e'],
      'require("http").get("http://shop:8080", (answer) => answer.pipe(process.stdout))',
    );
    return text.startsWith('failed:') ? undefined : text;
  });
/** Pods that a roll-out removed may answer for a moment. */
const answersNow = (text: string) => eventually(async () => ((await answer()) === text ? true : undefined));

test('a job is made, left alone, rolled, rolled back when it fails, undone and removed', async (t) => {
  version('module.exports = "one"');
  const made = await deliver('--port', '8080', '--replicas', '2', '--expose');
  t.is(made.code, 0, made.stderr);
  t.regex(made.stderr, /shop: created/);
  t.regex(made.stdout, /shop +1 +2\/2 +host +[0-9a-f]{12} +10\.\d+\.\d+\.\d+:8080, \S+:3\d{4}/);
  t.is(await answer(), 'one');

  const pods = () => kubectl('get', 'pods', '-l', 'pintle.dev/job=shop', '-o', 'name', '--sort-by=.metadata.name');
  const before = await pods();
  t.regex((await deliver()).stderr, /shop: unchanged/);
  t.is(await pods(), before, 'the same again changes nothing, what was not said again included');

  version('module.exports = "two"');
  t.regex((await deliver()).stderr, /shop: updated/);
  await answersNow('two');

  version('module.exports = missing.thing');
  const failed = await deliver();
  t.is(failed.code, 1);
  t.regex(failed.stderr, /\| ReferenceError: missing is not defined/, 'the log says why');
  t.regex(failed.stderr, /it stands as before/);
  t.regex(failed.stderr, /error \[INVALID\] shop was not delivered: pod shop-\S+: CrashLoopBackOff, last exit code 1/);
  t.is(await answer(), 'two');

  const history = JSON.parse((await pintle('shop', '--history', '-o', 'json')).stdout) as { stood: boolean }[];
  t.deepEqual(
    history.map((each) => each.stood),
    [true, false, true],
  );
  const undone = await pintle('shop', '--undo');
  t.is(undone.code, 0, undone.stderr);
  // the last before that stood, not the one that failed
  await answersNow('one');
  t.regex((await pintle('shop', '--undo', '99')).stderr, /has no revision 99; there are/);
  t.like(JSON.parse((await pintle('ls', '-o', 'json')).stdout), [{ job: 'shop', ready: 2, replicas: 2 }]);

  t.is((await pintle('shop', '--delete')).code, 0);
  t.is(await kubectl('get', 'deployments,configmaps,services', '-l', 'pintle.dev/job=shop', '-o', 'name'), '');
  t.regex((await pintle('shop', '--status')).stderr, /no job shop is delivered in namespace default/);
});

test('a new job that fails leaves nothing, and one of somebody else is left alone', async (t) => {
  const failed = await pintle('lost', '--image', 'not-there', '--timeout', '150');
  t.is(failed.code, 1);
  t.regex(failed.stderr, /it was new: it is removed again/);
  t.regex(failed.stderr, /not-there/);
  t.is(await kubectl('get', 'deployments,services', '-l', 'pintle.dev/job=lost', '-o', 'name'), '');

  await kubectl('create', 'deployment', 'theirs', '--image=host', '--', 'sleep', 'infinity');
  const refused = await pintle('theirs', '--image', 'host', '--', 'sleep', '1');
  t.is(refused.code, 1);
  t.regex(refused.stderr, /Deployment theirs in namespace default was not made by pintle deliver/);
  t.regex((await pintle('theirs', '--delete')).stderr, /was not made by pintle deliver/);
  t.is(await kubectl('get', 'deployment', 'theirs', '-o', 'name'), 'deployment.apps/theirs');

  const nothing = await pintle('x');
  t.is(nothing.code, 1);
  t.regex(nothing.stderr, /nothing to deliver for x: say --image IMAGE or --dir FOLDER/);
  t.is((await pintle('x', '--status', '--image', 'a')).code, 2);
});
