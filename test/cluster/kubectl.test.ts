/** A stock kubectl does its everyday work on a three-node cluster. */
import { basename } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { kubectls, TestCluster } from './support/cluster.ts';

/** Pods have a /tmp of their own: a Node that lies there is not theirs. */
const podNode = process.execPath.startsWith('/tmp/') ? 'node' : process.execPath;

let cluster: TestCluster;
test.before(async () => {
  cluster = await TestCluster.start();
});
test.after.always(() => cluster?.stop());

const server = `require('http').createServer((q, r) => r.end(process.env.ANSWER + ' ' + require('os').hostname() + '\\n')).listen(8080)`;

const manifest = (namespace: string, answer: string) => `
apiVersion: apps/v1
kind: Deployment
metadata: { name: web, namespace: ${namespace} }
spec:
  replicas: 3
  selector: { matchLabels: { app: web } }
  template:
    metadata: { labels: { app: web } }
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: web
        image: host
        command: ${JSON.stringify([podNode, '-e', server])}
        env: [{ name: ANSWER, value: ${answer} }]
        ports: [{ containerPort: 8080 }]
        readinessProbe: { httpGet: { path: /, port: 8080 }, periodSeconds: 1 }
---
apiVersion: v1
kind: Service
metadata: { name: web, namespace: ${namespace} }
spec: { selector: { app: web }, ports: [{ port: 80, targetPort: 8080 }] }
`;

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

for (const [index, binary] of kubectls().entries()) {
  const namespace = `everyday-${index}`;
  const title = `${basename(binary)} (${index})`;

  test.serial(`${title}: deploys, reads, changes and rolls back`, async (t) => {
    const { ok } = tools(t, binary, namespace);
    t.log((await ok(['version'])).trim());
    await ok(['create', 'namespace', namespace]);
    await ok(['apply', '-f', '-'], manifest(namespace, 'one'));
    t.regex(await ok(['rollout', 'status', 'deployment/web', '--timeout=60s']), /successfully rolled out/);

    const wide = await ok(['get', 'pods', '-o', 'wide']);
    t.regex(wide, /NAME\s+READY\s+STATUS\s+RESTARTS\s+AGE\s+IP\s+NODE/);
    t.is(wide.match(/1\/1\s+Running/g)?.length, 3);
    t.is(new Set(wide.match(/node-\d/g)).size, 3, 'one pod a node');
    t.is(
      (JSON.parse(await ok(['get', 'deployment', 'web', '-o', 'json'])) as { status: { readyReplicas: number } }).status
        .readyReplicas,
      3,
    );
    t.regex(await ok(['describe', 'deployment', 'web']), /ScalingReplicaSet/);
    t.regex(await ok(['describe', 'pods']), /Started container web/);
    t.regex(await ok(['describe', 'node', 'node-1']), /Ready\s+True/);
    t.regex(await ok(['get', 'events']), /Scheduled/);

    await ok(['scale', 'deployment', 'web', '--replicas=4']);
    await ok(['rollout', 'status', 'deployment/web', '--timeout=60s']);
    await ok(['set', 'env', 'deployment/web', 'ANSWER=two']);
    await ok(['rollout', 'status', 'deployment/web', '--timeout=90s']);
    t.regex(await ok(['rollout', 'history', 'deployment/web']), /1 .*\n2 /);
    await ok(['rollout', 'undo', 'deployment/web']);
    await ok(['rollout', 'status', 'deployment/web', '--timeout=90s']);
    const [env] = (
      JSON.parse(await ok(['get', 'deployment', 'web', '-o', 'json'])) as {
        spec: { template: { spec: { containers: { env: { value: string }[] }[] } } };
      }
    ).spec.template.spec.containers[0]!.env;
    t.is(env!.value, 'one');
    t.regex(await ok(['rollout', 'history', 'deployment/web']), /2 .*\n3 /);
    await ok(['apply', '-f', '-'], manifest(namespace, 'three'));
    await ok(['rollout', 'status', 'deployment/web', '--timeout=90s']);
  });

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

  test.serial(`${title}: exec, logs, labels, expose, run, wait, cordon, explain`, async (t) => {
    const { ok, raw } = tools(t, binary, namespace);
    const loop = 'i=0; while :; do i=$((i+1)); echo line $i; sleep 0.1; done';
    await ok(['run', 'talker', '--image=host', '--restart=Never', '--', 'sh', '-c', loop]);
    await ok(['wait', '--for=condition=Ready', 'pod/talker', '--timeout=60s']);
    t.is((await ok(['exec', '-i', 'talker', '--', 'tr', 'a-z', 'A-Z'], 'abc')).trim(), 'ABC');
    t.is((await raw(['exec', 'talker', '--', 'sh', '-c', 'exit 7'])).code, 7);
    t.regex(await ok(['logs', 'talker', '--tail=2']), /^line \d+\nline \d+\n$/);
    const followed = await cluster.kubectl(
      binary,
      ['-n', namespace, 'logs', '-f', 'talker', '--tail=1'],
      undefined,
      1500,
    );
    t.true(followed.stdout.split('\n').length > 4, followed.stdout);
    await ok(['label', 'pod', 'talker', 'team=a']);
    await ok(['annotate', 'pod', 'talker', 'note=b']);
    t.regex(await ok(['get', 'pod', 'talker', '--show-labels']), /team=a/);
    await ok(['expose', 'deployment', 'web', '--name=web2', '--port=81', '--target-port=8080']);
    t.regex(await ok(['get', 'service', 'web2']), /81\/TCP/);
    await ok(['cordon', 'node-1']);
    t.regex(await ok(['get', 'node', 'node-1']), /SchedulingDisabled/);
    await ok(['uncordon', 'node-1']);
    t.regex(await ok(['explain', 'deployment.spec.replicas']), /integer/);
    t.regex(await ok(['api-resources']), /deployments\s+deploy\s+apps\/v1\s+true\s+Deployment/);
    t.not((await raw(['get', 'pod', 'none'])).code, 0);
    t.regex((await raw(['get', 'pod', 'none'])).stderr, /Error from server \(NotFound\): pods "none" not found/);
    t.regex(
      (
        await raw(
          ['create', '-f', '-'],
          'apiVersion: v1\nkind: Pod\nmetadata: {name: Bad_Name}\nspec: {containers: [{name: c, image: host}]}',
        )
      ).stderr,
      /Invalid value: "Bad_Name"/,
    );
    await ok(['delete', 'pod', 'talker', '--grace-period=1']);
  });

  test.serial(`${title}: a deleted namespace takes everything with it`, async (t) => {
    const { raw } = tools(t, binary, 'default');
    const { code, stderr } = await raw(['delete', 'namespace', namespace, '--timeout=80s']);
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
