/** A whole cluster on attachment cni and overlay host-gw: the demo's Service, host ports, an executable that refuses. */
import { chmodSync, existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { kubectls, TestCluster } from './support/cluster.ts';
import { eventually } from './support/pods.ts';

const folder = mkdtempSync(join(tmpdir(), 'pintle-networks-'));
const config = join(folder, 'cluster.yaml');
const hasCni = existsSync('/usr/lib/cni/ptp');
if (!hasCni) test.skip('attachment cni in a cluster: apt-get install containernetworking-plugins', () => undefined);

/** Passes on what the plugin before it answered, but for one pod. */
writeFileSync(
  join(folder, 'picky'),
  `#!/bin/sh
input=$(cat)
case $CNI_COMMAND:$CNI_ARGS in
  VERSION:*) echo '{"cniVersion":"1.0.0","supportedVersions":["1.0.0"]}' ;;
  ADD:*K8S_POD_NAME=refused\\;*) echo '{"code":103,"msg":"not this one","details":"by rule"}'; exit 1 ;;
  ADD:*) echo "$input" | ${process.execPath} -e 'let s = ""; process.stdin.on("data", (d) => (s += d)).on("end", () => console.log(JSON.stringify(JSON.parse(s).prevResult)))' ;;
esac
`,
);
chmodSync(join(folder, 'picky'), 0o755);
const cni = `
      name: cni
      config:
        binDir: [${folder}, /usr/lib/cni]
        list:
          cniVersion: 1.0.0
          name: pods
          plugins:
            - { type: ptp, capabilities: { ipRanges: true }, ipam: { type: host-local, routes: [{ dst: 0.0.0.0/0 }] } }
            - { type: portmap, capabilities: { portMappings: true } }
            - { type: picky }`;
writeFileSync(
  config,
  `apiVersion: pintle.dev/v1
kind: ClusterConfiguration
plugins:
  use:
    attachment:${hasCni ? cni : ' ptp'}
    overlay: host-gw
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
    readinessProbe: { httpGet: { path: /, port: 8080 }, periodSeconds: 1, timeoutSeconds: 30 }
---
`;

test.serial('it runs the plugins that the config names, and the demo answers', (t) => {
  t.regex(cluster!.printed(), hasCni ? /attachment +cni / : /attachment +ptp /);
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
  await ok(['wait', '--for=condition=Ready', 'pod/one', 'pod/two', '--timeout=150s']);
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

if (hasCni)
  test.serial('what an executable says against a pod is its event', async (t) => {
    const [binary] = kubectls();
    if (binary === undefined) return t.fail('kubectl is missing');
    const { code, stderr } = await cluster!.kubectl(binary, ['apply', '-f', '-'], pod('refused'));
    t.is(code, 0, stderr);
    const said = await eventually(async () => {
      const { stdout } = await cluster!.kubectl(binary, [
        ...['get', 'events', '--field-selector=involvedObject.name=refused,reason=FailedCreatePodSandBox'],
        ...['-o', 'jsonpath={.items[0].message}'],
      ]);
      return stdout === '' ? undefined : stdout;
    });
    t.is(said, 'Failed to create pod sandbox: CNI plugin picky ADD: not this one: by rule (CNI error 103)');
    const gone = await cluster!.kubectl(binary, ['delete', 'pod', 'refused', '--timeout=150s']);
    t.is(gone.code, 0, gone.stderr);
  });
