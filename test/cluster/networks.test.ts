/** A whole cluster on attachment ptp and overlay host-gw: the demo's Service, and host ports, with a stock kubectl. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { kubectls, TestCluster } from './support/cluster.ts';

const folder = mkdtempSync(join(tmpdir(), 'pintle-networks-'));
const config = join(folder, 'cluster.yaml');
writeFileSync(
  config,
  `apiVersion: pintle.dev/v1
kind: ClusterConfiguration
plugins: { use: { attachment: ptp, overlay: host-gw } }
`,
);
let cluster: TestCluster | undefined;
test.before(async () => {
  cluster = await TestCluster.start({ nodes: 2, flags: ['--demo', '--config', config] });
});
test.after.always(async () => {
  await cluster?.stop();
  rmSync(folder, { recursive: true, force: true });
});

const server = `require('http').createServer((q, r) => r.end(require('os').hostname())).listen(8080)`;
const pod = (name: string): string => `
apiVersion: v1
kind: Pod
metadata: { name: ${name}, labels: { app: ${name} } }
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: web
    image: host
    command: ${JSON.stringify([process.execPath, '-e', server])}
    ports: [{ containerPort: 8080, hostPort: 18080 }]
    readinessProbe: { httpGet: { path: /, port: 8080 }, periodSeconds: 1 }
---
`;

test.serial('it runs the plugins that the config names, and the demo answers', (t) => {
  t.regex(cluster!.printed(), /attachment +ptp /);
  t.regex(cluster!.printed(), /overlay +host-gw /);
  t.regex(cluster!.printed(), /12 requests from pod demo-client/);
});

test.serial('a host port is its pod on its node alone, and is gone with the pod', async (t) => {
  const [binary] = kubectls();
  if (binary === undefined) return t.fail('kubectl is missing');
  const ok = async (argv: readonly string[], input?: string): Promise<string> => {
    const { code, stdout, stderr } = await cluster!.kubectl(binary, argv, input);
    t.is(code, 0, `kubectl ${argv.join(' ')}: ${stderr}${stdout}`);
    return stdout.trim();
  };
  await ok(['apply', '-f', '-'], pod('one') + pod('two'));
  await ok(['wait', '--for=condition=Ready', 'pod/one', 'pod/two', '--timeout=60s']);
  const hostOf = (name: string): Promise<string> => ok(['get', 'pod', name, '-o', 'jsonpath={.status.hostIP}']);
  const hosts = { one: await hostOf('one'), two: await hostOf('two') };
  t.not(hosts.one, hosts.two, 'two of one port are on two nodes');
  const ask = async (from: string, host: string): Promise<string> => {
    const code = `fetch('http://${host}:18080').then((r) => r.text()).then(console.log, (e) => console.log(e.cause.code))`;
    return ok(['exec', from, '--', process.execPath, '-e', code]);
  };
  for (const from of ['one', 'two'])
    for (const [name, host] of Object.entries(hosts)) t.is(await ask(from, host), name, `${from} to ${host}`);
  await ok(['delete', 'pod', 'two']);
  t.is(await ask('one', hosts.two), 'ECONNREFUSED');
  t.is(await ask('one', hosts.one), 'one');
});
