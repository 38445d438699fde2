/**
 * Records the protobuf bodies that a real kubectl (1.32 or newer) sends, as fixtures for the decoder's tests.
 *
 *     node out/scripts/record-kubectl.js KUBECTL KUBECTL-1.31 OUT.json
 *
 * Expected is what the same kubectl prints with `--dry-run=client -o json`; for commands without a dry run, the JSON
 * body of kubectl 1.31, the last one that sent JSON. Talks to a server of its own on loopback only.
 */
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { AddressInfo } from 'node:net';

const commands: readonly { readonly name: string; readonly args: readonly string[]; readonly dryRun: boolean }[] = [
  ['deployment', 'create deployment web --image=nginx:1.27 --replicas=3 --port=80'],
  ['deployment-two-containers', 'create deployment web --image=nginx --image=redis'],
  ['deployment-zero', 'create deployment web --image=nginx --replicas=0'],
  ['deployment-command', 'create deployment web --image=busybox -- date -u'],
  ['configmap', 'create configmap settings --from-literal=a=1 --from-literal=empty= --append-hash'],
  ['secret', 'create secret generic keys --from-literal=a=b --from-literal=c=ÄÖ'],
  ['secret-docker', 'create secret docker-registry pull --docker-server=s --docker-username=u --docker-password=p'],
  ['namespace', 'create namespace team'],
  ['service-account', 'create serviceaccount robot'],
  ['service-clusterip', 'create service clusterip web --tcp=80:8080 --tcp=443'],
  ['service-headless', 'create service clusterip web --clusterip=None'],
  ['service-nodeport', 'create service nodeport web --tcp=80:http --node-port=30080'],
  ['service-loadbalancer', 'create service loadbalancer web --tcp=53:53'],
  ['service-externalname', 'create service externalname web --external-name=example.com'],
  ['job', 'create job once --image=busybox -- sh -c exit'],
  ['cronjob', 'create cronjob hourly --image=busybox --schedule=@hourly --restart=Never'],
  ['role', 'create role reader --verb=get --verb=list --resource=pods,deployments.apps/scale --resource-name=x'],
  ['clusterrole-urls', 'create clusterrole urls --verb=get --non-resource-url=/healthz/*'],
  ['clusterrole-aggregated', 'create clusterrole all --aggregation-rule=a=b,c=d'],
  ['rolebinding', 'create rolebinding bind --role=reader --user=ann --group=dev --serviceaccount=default:robot'],
  ['clusterrolebinding', 'create clusterrolebinding bind --clusterrole=admin --user=ann'],
  ['quota', 'create quota limits --hard=cpu=1500m,memory=1.5Gi,pods=10 --scopes=BestEffort'],
  ['pdb-min', 'create poddisruptionbudget web --selector=app=web --min-available=1'],
  ['pdb-percent', 'create poddisruptionbudget web --selector=app=web --max-unavailable=50%'],
  [
    'ingress',
    'create ingress web --class=nginx --rule=a.example/x*=web:80,tls=cert --rule=/=web:http --default-backend=web:80',
  ],
  ['priorityclass', 'create priorityclass high --value=1000 --preemption-policy=Never --description=d'],
  ['priorityclass-zero', 'create priorityclass none --value=0 --global-default=true'],
  ['token', 'create token robot --duration=10m --audience=a', 'live'],
  ['access-review', 'auth can-i create pods', 'live'],
  ['access-review-url', 'auth can-i get /healthz', 'live'],
  ['rules-review', 'auth can-i --list', 'live'],
  ['whoami', 'auth whoami', 'live'],
].map(([name, line, live]) => ({ name: name!, args: line!.split(' '), dryRun: live === undefined }));

interface Body {
  readonly type: string;
  readonly bytes: Buffer;
}

const [kubectl, jsonKubectl, target] = process.argv.slice(2);
if (!kubectl || !jsonKubectl || !target) {
  console.error('usage: record-kubectl KUBECTL KUBECTL-1.31 OUT.json');
  process.exit(2);
}
const home = mkdtempSync(join(tmpdir(), 'record-kubectl-'));
let bodies: Body[] = [];

const pods = {
  kind: 'APIResourceList',
  groupVersion: 'v1',
  resources: [{ name: 'pods', singularName: 'pod', namespaced: true, kind: 'Pod', verbs: ['get', 'list', 'create'] }],
};
const apps = {
  kind: 'APIResourceList',
  groupVersion: 'apps/v1',
  resources: [
    { name: 'deployments', singularName: 'deployment', namespaced: true, kind: 'Deployment', verbs: ['get', 'list'] },
    { name: 'deployments/scale', singularName: '', namespaced: true, kind: 'Scale', verbs: ['get'] },
  ],
};
const answers: Readonly<Record<string, unknown>> = {
  '/api': { kind: 'APIVersions', versions: ['v1'] },
  '/apis': {
    kind: 'APIGroupList',
    groups: [
      {
        name: 'apps',
        versions: [{ groupVersion: 'apps/v1', version: 'v1' }],
        preferredVersion: { groupVersion: 'apps/v1', version: 'v1' },
      },
    ],
  },
  '/api/v1': pods,
  '/apis/apps/v1': apps,
};

const server = createServer((request, response) => {
  const chunks: Buffer[] = [];
  request.on('data', (chunk: Buffer) => chunks.push(chunk));
  request.on('end', () => {
    if (request.method !== 'GET')
      bodies.push({ type: request.headers['content-type'] ?? '', bytes: Buffer.concat(chunks) });
    const answer = answers[request.url!.split('?')[0]!];
    const refusal = {
      kind: 'Status',
      apiVersion: 'v1',
      status: 'Failure',
      reason: 'Forbidden',
      code: 403,
      message: 'recorded',
    };
    response.writeHead(answer ? 200 : 403, { 'content-type': 'application/json' });
    response.end(JSON.stringify(answer ?? refusal));
  });
});

function run(program: string, args: readonly string[], port: number): Promise<string> {
  const all = [...args];
  const at = all.indexOf('--');
  all.splice(at < 0 ? all.length : at, 0, `--server=http://127.0.0.1:${port}`);
  const env = { HOME: home, KUBECONFIG: '/dev/null', PATH: process.env['PATH'] };
  return new Promise((resolve) =>
    execFile(program, all, { env, timeout: 60_000 }, (_error, stdout) => resolve(stdout)),
  );
}

async function record(program: string, args: readonly string[], port: number): Promise<Body | undefined> {
  bodies = [];
  await run(program, args, port);
  return bodies[0];
}

await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
const { port } = server.address() as AddressInfo;
const fixtures: unknown[] = [];
for (const { name, args, dryRun } of commands) {
  const sent = await record(kubectl, args, port);
  if (sent?.type !== 'application/vnd.kubernetes.protobuf') {
    console.error(`${name}: no protobuf was sent (${sent?.type})`);
    continue;
  }
  const flags = [...args];
  flags.splice(args.includes('--') ? args.indexOf('--') : args.length, 0, '--dry-run=client', '--output=json');
  const text = dryRun
    ? await run(kubectl, flags, port)
    : (await record(jsonKubectl, args, port))?.bytes.toString('utf8');
  fixtures.push({
    name,
    command: `kubectl ${args.join(' ')}`,
    base64: sent.bytes.toString('base64'),
    expected: JSON.parse(text ?? 'null') as unknown,
  });
}
server.close();
rmSync(home, { recursive: true, force: true });
writeFileSync(target, `${JSON.stringify(fixtures, undefined, 1)}\n`);
console.log(`${fixtures.length} of ${commands.length} recorded`);
