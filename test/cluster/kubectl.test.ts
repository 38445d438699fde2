/** Stock kubectls, the oldest and the newest at hand, do their everyday work on one three-node cluster, and agree. */
import { spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { createInterface } from 'node:readline';
import 'reflect-metadata';
import test, { type ExecutionContext } from 'ava';
import { kubectls, TestCluster, type Output } from './support/cluster.ts';
import { forward } from './support/forward.ts';
import { normalised, scenario } from './support/scenario.ts';

/** Pods have a /tmp of their own: a Node that lies there is not theirs. */
const podNode = process.execPath.startsWith('/tmp/') ? 'node' : process.execPath;

let cluster: TestCluster;
test.before(async () => {
  cluster = await TestCluster.start();
});
test.after.always(() => cluster?.stop());

function tools(t: ExecutionContext, binary: string, namespace: string) {
  const raw = (argv: readonly string[], input?: string) => cluster.kubectl(binary, ['-n', namespace, ...argv], input);
  /** Runs kubectl, which must succeed; answers what it printed. */
  const ok = async (argv: readonly string[], input?: string): Promise<string> => {
    const { code, stdout, stderr } = await raw(argv, input);
    t.is(code, 0, `kubectl ${argv.join(' ')}: ${stderr}${stdout}`);
    return stdout;
  };
  return { raw, ok };
}

interface Told {
  readonly minor: number;
  /** By the number of the step; undefined where this kubectl has no such command. */
  readonly outputs: readonly (string | undefined)[];
  /** Steps that did not go as they say. */
  readonly problems: readonly string[];
}

const namespaceOf = (index: number): string => `everyday-${index}`;

/** For a client certificate, as base64 of PEM. */
async function certificateRequest(): Promise<string> {
  const { Pkcs10CertificateRequestGenerator } = await import('@peculiar/x509');
  const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
  const keys = await crypto.subtle.generateKey(algorithm, false, ['sign', 'verify']);
  const request = await Pkcs10CertificateRequestGenerator.create({
    name: 'CN=someone',
    keys,
    signingAlgorithm: algorithm,
  });
  return Buffer.from(request.toString('pem')).toString('base64');
}

/** Takes every step of the scenario. */
async function take(t: ExecutionContext, binary: string, index: number): Promise<Told> {
  const { raw, ok } = tools(t, binary, namespaceOf(index));
  const client = JSON.parse(await ok(['version', '--client', '-o', 'json'])) as { clientVersion: { minor: string } };
  const minor = Number.parseInt(client.clientVersion.minor, 10);
  const file = join(cluster.folder, '..', `said-${index}`);
  writeFileSync(file, 'of a file\n');
  const names = { csr: await certificateRequest(), file, ns: namespaceOf(index), node: `node-${(index % 3) + 1}` };
  const throughPort = async ([, target, port]: readonly string[]): Promise<Output> => {
    const way = await forward(cluster, target!, Number(port), { binary, namespace: names.ns });
    const stdout = await (await fetch(way.url)).text().finally(() => way.close());
    return { code: 0, stdout, stderr: '' };
  };
  const filled = (word: string) =>
    word.replaceAll(/\{(ns|node|file|csr)\}/g, (_, name: keyof typeof names) => names[name]);
  await ok(['create', 'namespace', names.ns]);
  const outputs: (string | undefined)[] = [];
  const problems: string[] = [];
  for (const { line, input, expect, code = 0, until, lastLine, forwards, since = 0 } of scenario(podNode)) {
    const argv = line.split(' ').map((word) => filled(word.replaceAll('~', ' ')));
    let said = '';
    const limit = Date.now() + 120_000;
    for (let isDone = since > minor; !isDone;) {
      const output = forwards ? await throughPort(argv) : await raw(argv, input && filled(input));
      // Of what succeeds, hints and warnings are each version's own.
      said = output.code === 0 ? output.stdout : output.stdout + output.stderr;
      const isAsExpected = output.code === code && (expect === undefined || expect.test(said));
      isDone = isAsExpected || until !== true || Date.now() > limit;
      if (isDone && !isAsExpected)
        problems.push(`kubectl 1.${minor} ${argv.join(' ')}: ${output.code}\n${output.stdout}${output.stderr}`);
      if (!isDone) await new Promise((resolve) => setTimeout(resolve, 100));
    }
    const plain = normalised(said, { file, ns: names.ns }).split('\n');
    outputs.push(since > minor ? undefined : lastLine ? plain.at(-1) : plain.join('\n'));
  }
  return { minor, outputs, problems };
}

test.serial('every kubectl takes the same steps and is told the same', async (t) => {
  t.timeout(600_000);
  const told = await Promise.all(kubectls().map((binary, index) => take(t, binary, index)));
  const [oldest, ...later] = told.toSorted((one, other) => one.minor - other.minor);
  t.log(`versions 1.${told.map(({ minor }) => minor).join(', 1.')}`);
  const problems = told.flatMap((one) => one.problems);
  for (const { minor, outputs } of later)
    for (const [number, { line, differs }] of scenario(podNode).entries()) {
      const [one, other] = [oldest!.outputs[number], outputs[number]];
      if (one === undefined || other === undefined) continue;
      const where = `1.${oldest!.minor} and 1.${minor}: ${line}`;
      const isToDiffer = differs !== undefined && oldest!.minor === 20 && minor >= 27;
      if (one !== other && differs === undefined) problems.push(`${where}\n${one}\n---\n${other}`);
      if (one === other && isToDiffer) problems.push(`${where}: the same, though ${differs}`);
    }
  t.deepEqual(problems, []);
});

for (const [index, binary] of kubectls().entries()) {
  const namespace = namespaceOf(index);
  const title = `${basename(binary)} (${index})`;

  test.serial(`${title}: the Service answers from every pod, by name, across nodes`, async (t) => {
    const { ok } = tools(t, binary, namespace);
    const pods = JSON.parse(await ok(['get', 'pods', '-l', 'app=web', '-o', 'json'])) as {
      items: { metadata: { name: string; deletionTimestamp?: string } }[];
    };
    const live = pods.items.filter((pod) => !pod.metadata.deletionTimestamp).map((pod) => pod.metadata.name);
    const ask = `const http = require('http'); (async () => { for (let i = 0; i < 40; i += 1) await new Promise((ok, no) => http.get({ host: 'web.${namespace}.svc.cluster.local', agent: false }, (r) => { let t = ''; r.on('data', (c) => (t += c)); r.on('end', () => { process.stdout.write(t); ok(); }); }).on('error', no)); })()`;
    const expected = live.map((name) => `three ${name}`).sort();
    // A pod that has just become ready is behind the Service a moment later; no request may fail meanwhile.
    for (;;) {
      const answers = (await ok(['exec', live[0]!, '--', podNode, '-e', ask])).trim().split('\n');
      t.is(answers.length, 40);
      const seen = [...new Set(answers)].sort();
      if (seen.join() === expected.join()) break;
      t.true(
        seen.every((answer) => answer.startsWith('three web-')),
        seen.join(),
      );
    }
    t.pass();
  });

  test.serial(`${title}: follows a log`, async (t) => {
    const { ok } = tools(t, binary, namespace);
    const loop = 'i=0; while :; do i=$((i+1)); echo line $i; sleep 0.1; done';
    await ok(['run', 'follower', '--image=host', '--restart=Never', '--', 'sh', '-c', loop]);
    await ok(['wait', '--for=condition=Ready', 'pod/follower', '--timeout=150s']);
    const env = { PATH: process.env['PATH'], HOME: cluster.folder, KUBECONFIG: cluster.kubeconfig };
    const following = spawn(binary, ['-n', namespace, 'logs', '-f', 'follower', '--tail=1'], { env });
    t.teardown(() => following.kill('SIGKILL'));
    const numbers: number[] = [];
    for await (const line of createInterface(following.stdout)) {
      numbers.push(Number(/^line (\d+)$/.exec(line)?.[1]));
      if (numbers.length === 5) break;
    }
    t.deepEqual(
      numbers,
      numbers.map((_, index) => numbers[0]! + index),
    );
    t.is(numbers.length, 5);
    await ok(['delete', 'pod', 'follower', '--grace-period=1']);
  });

  test.serial(`${title}: a deleted namespace takes everything with it`, async (t) => {
    const { raw } = tools(t, binary, 'default');
    const { code, stderr } = await raw(['delete', 'namespace', namespace, '--timeout=150s']);
    t.is(code, 0, stderr);
    t.regex((await raw(['get', 'namespace', namespace])).stderr, /NotFound/);
    t.is((await cluster.kubectl(binary, ['get', 'pods,services,endpointslices', '-n', namespace])).stdout, '');
  });
}

test('there is a kubectl to test with', (t) => {
  t.true(
    kubectls().length > 0,
    'no kubectl found: apt-get install kubernetes-client, or name one with PINTLE_TEST_KUBECTL',
  );
});
