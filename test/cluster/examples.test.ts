/** The manifests under examples/, applied as they stand and checked from outside the pods. */
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import test from 'ava';
import { Agent } from './support/agents.ts';
import { kubectls, TestCluster } from './support/cluster.ts';
import { forward, startLoad, type Forward } from './support/forward.ts';
import { eventually } from './support/pods.ts';

const examples = fileURLToPath(new URL('../../../examples', import.meta.url));
let cluster: TestCluster;
test.before(async () => {
  cluster = await TestCluster.start({ nodes: 3 });
});
test.after.always(() => cluster?.stop());

async function kubectl(...argv: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await cluster.kubectl(kubectls()[0]!, argv, undefined, 170_000);
  if (code !== 0) throw new Error(`kubectl ${argv.join(' ')}: ${stderr}`);
  return stdout.trim();
}
const apply = (name: string) => kubectl('apply', '-f', join(examples, name));
const remove = (name: string) => kubectl('delete', '--wait=false', '-f', join(examples, name));
const rolledOut = (name: string) => kubectl('rollout', 'status', name, '--timeout=160s');

const read = async (url: string, init?: RequestInit) => {
  const answer = await fetch(url, { ...init, headers: { connection: 'close' } });
  return { status: answer.status, body: Buffer.from(await answer.arrayBuffer()) };
};
/** A Service that is new on a node answers there a moment later; from then on it does, each time. */
async function reached(from: string, url: string): Promise<void> {
  const { pid } = new Agent(cluster, from);
  await eventually(async () => {
    const answers = await startLoad(pid!, url, { rate: 50, seconds: 0.1 }).ended;
    const kinds = Object.keys(answers);
    return kinds.length > 0 && kinds.every((kind) => !/^(error|status)/.test(kind)) ? true : undefined;
  });
}
async function through<T>(target: string, port: number, work: (way: Forward) => Promise<T>): Promise<T> {
  const way = await forward(cluster, target, port);
  try {
    return await work(way);
  } finally {
    way.close();
  }
}

test.serial('guestbook: front end, back end and store find each other through Services', async (t) => {
  await apply('guestbook');
  for (const tier of ['store', 'backend', 'frontend']) await rolledOut(`deployment/guestbook-${tier}`);
  await through('service/guestbook-frontend', 80, async ({ url }) => {
    // Pods that are ready are behind their Services on each node a moment later.
    await eventually(async () => ((await read(url)).status === 200 ? true : undefined));
    t.is((await read(url, { method: 'POST', body: 'hello <world>' })).status, 200);
    t.is((await read(url, { method: 'POST', body: 'again' })).body.toString(), '2');
    t.is((await read(url, { method: 'POST', body: ' ' })).status, 400, 'the back end refuses it');
    t.regex((await read(url)).body.toString(), /<li>hello &#60;world&#62;<\/li><li>again<\/li>/);
  });
  const address = cluster.record().nodes[1]!.address;
  await reached('node-1', `http://${address}:30080/ready`);
  const load = startLoad(new Agent(cluster, 'node-1').pid!, `http://${address}:30080/ready`, { rate: 20, seconds: 2 });
  t.deepEqual(Object.keys(await load.ended), ['yes'], 'a port of every node answers too');
  await remove('guestbook');
});

test.serial('upload and resize: two containers of a pod share a volume', async (t) => {
  await apply('upload-resize');
  await kubectl('wait', '--for=condition=Ready', 'pod/upload-resize', '--timeout=160s');
  await through('service/upload-resize', 80, async ({ url }) => {
    const pixels = [
      [10, 20, 90, 90],
      [30, 40, 90, 90],
    ].flatMap((row) => row.flatMap((value) => [value, 0, 255]));
    const body = Buffer.concat([Buffer.from('P6\n4 2\n255\n'), Buffer.from(pixels)]);
    t.is((await read(`${url}/tiny`, { method: 'POST', body })).status, 202);
    const resized = await eventually(async () => {
      const answer = await read(`${url}/tiny`);
      return answer.status === 200 ? answer.body : undefined;
    });
    t.deepEqual(resized, Buffer.concat([Buffer.from('P6\n2 1\n255\n'), Buffer.from([25, 0, 255, 90, 0, 255])]));
    t.is((await read(`${url}/..%2fetc`, { method: 'POST', body })).status, 400);
  });
  t.regex(await kubectl('logs', 'upload-resize', '-c', 'resizer'), /resized tiny/);
  await remove('upload-resize');
});

test.serial('canary: one Service in front of two versions, in proportion to their pods', async (t) => {
  await apply('canary');
  for (const track of ['stable', 'canary']) await rolledOut(`deployment/shop-${track}`);
  const vip = await kubectl('get', 'service', 'shop', '-o', 'jsonpath={.spec.clusterIP}');
  const ask = () => startLoad(new Agent(cluster, 'node-1').pid!, `http://${vip}`, { rate: 100, seconds: 3 }).ended;
  await reached('node-1', `http://${vip}`);
  const answers = await ask();
  t.deepEqual(Object.keys(answers).sort(), ['canary', 'stable'], JSON.stringify(answers));
  const total = answers['canary']! + answers['stable']!;
  // A fourth of at least 100 draws is farther from these bounds than chance goes.
  t.true(total >= 100);
  t.true(answers['canary']! > total * 0.08 && answers['canary']! < total * 0.5, JSON.stringify(answers));
  await kubectl('delete', 'deployment', 'shop-canary');
  await eventually(async () => (Object.keys(await ask()).join() === 'stable' ? true : undefined));
  await remove('canary').catch(() => undefined);
  t.pass();
});

test.serial('rolling update and roll-back under 200 requests a second: none fails', async (t) => {
  await apply('rolling-update');
  await rolledOut('deployment/web');
  const address = cluster.record().nodes[1]!.address;
  await reached('node-1', `http://${address}:30081`);
  const load = startLoad(new Agent(cluster, 'node-1').pid!, `http://${address}:30081`, { rate: 200, seconds: 150 });
  t.teardown(() => load.kill());
  await kubectl('set', 'env', 'deployment/web', 'VERSION=v2');
  await rolledOut('deployment/web');
  await kubectl('rollout', 'undo', 'deployment/web');
  await rolledOut('deployment/web');
  load.finish();
  const answers = await load.ended;
  t.deepEqual(Object.keys(answers).sort(), ['v1', 'v2'], JSON.stringify(answers));
  t.true(answers['v1']! + answers['v2']! > 500, JSON.stringify(answers));
  await remove('rolling-update');
});

test.serial('stateful store: each pod keeps its name and its data, through the death of its node too', async (t) => {
  await apply('stateful-store');
  await rolledOut('statefulset/store');
  for (const index of [0, 1])
    await through(`pod/store-${index}`, 8080, ({ url }) => read(url, { method: 'POST', body: `of ${index}` }));
  const node = await kubectl('get', 'pod', 'store-0', '-o', 'jsonpath={.spec.nodeName}');
  const agent = new Agent(cluster, node);
  await agent.kill();
  await kubectl('wait', '--for=condition=Ready=Unknown', `node/${node}`, '--timeout=160s');
  // What an operator does with the pods of a dead node; the name may live again nowhere else, for its data is there.
  await kubectl('delete', 'pod', 'store-0', '--force', '--grace-period=0');
  await eventually(async () =>
    (await kubectl('get', 'pod', 'store-0', '-o', 'jsonpath={.status.phase}').catch(() => '')) === 'Pending'
      ? true
      : undefined,
  );
  agent.start();
  await kubectl('wait', '--for=condition=Ready', 'pod/store-0', '--timeout=160s');
  t.is(await kubectl('get', 'pod', 'store-0', '-o', 'jsonpath={.spec.nodeName}'), node);
  for (const index of [0, 1])
    await through(`pod/store-${index}`, 8080, async ({ url }) =>
      t.is((await read(url)).body.toString(), `of ${index}\n`, `store-${index}`),
    );
  await remove('stateful-store');
});

test.serial('batch job: 200 completions, each piece of work done once', async (t) => {
  await apply('batch-job');
  await kubectl('wait', '--for=condition=Complete', 'job/primes', '--timeout=165s');
  const status = JSON.parse(await kubectl('get', 'job', 'primes', '-o', 'json')) as {
    status: { succeeded: number; completedIndexes: string; failed?: number };
  };
  t.like(status.status, { succeeded: 200, completedIndexes: '0-199' });
  t.is(status.status.failed ?? 0, 0);
  const counts = await kubectl('logs', '-l', 'job-name=primes', '--tail=-1', '--max-log-requests=250');
  const total = counts.split('\n').reduce((sum, line) => sum + Number(line), 0);
  t.is(total, 303, 'there are 303 primes below 2000');
  await remove('batch-job');
});
