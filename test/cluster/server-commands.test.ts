/**
 * One round of everyday kubectl commands against `pintle server` alone: memory store, scheduler, controllers, no node.
 * For each kubectl named in PINTLE_TEST_KUBECTL (paths with colons between them), else /usr/bin/kubectl.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { kubectls, program, run, type Output } from './support/cluster.ts';

const config = `apiVersion: pintle.dev/v1
kind: ClusterConfiguration
plugins: { use: { store: [{ name: memory }] } }
`;

interface Server {
  readonly folder: string;
  readonly child: ChildProcess;
}
let server: Server;

async function startServer(): Promise<Server> {
  const folder = mkdtempSync(join(tmpdir(), 'pintle-server-'));
  writeFileSync(join(folder, 'config.yaml'), config);
  const state = join(folder, 'state');
  const argv = [program, 'server', '--config', join(folder, 'config.yaml'), '--state-dir', state];
  const command = ['--pdeathsig', 'KILL', '--', process.execPath, ...argv, '--listen', '127.0.0.1:0'];
  const child = spawn('setpriv', command, { stdio: ['ignore', 'pipe', 'pipe'] });
  let text = '';
  await new Promise<void>((resolve, reject) => {
    const look = (chunk: Buffer): void => {
      text += String(chunk);
      if (text.includes('pintle server is ready')) resolve();
    };
    child.stdout.on('data', look);
    child.stderr.on('data', look);
    child.once('exit', (code) => reject(new Error(`pintle server ended with ${code}:\n${text}`)));
  });
  return { folder, child };
}

const binaries = kubectls();
test.before(async () => {
  if (binaries.length > 0) server = await startServer();
});
test.after.always(async () => {
  if (!server) return;
  const ended = new Promise((resolve) => server.child.once('exit', resolve));
  server.child.kill('SIGTERM');
  await ended;
  rmSync(server.folder, { recursive: true, force: true });
});

const deployment = (replicas: number, more = ''): string => `apiVersion: apps/v1
kind: Deployment
metadata: { name: app, labels: { app: app } }
spec:
  replicas: ${replicas}
  selector: { matchLabels: { app: app } }
  template:
    metadata: { labels: { app: app } }
    spec: { containers: [{ name: c, image: host${more} }] }
`;

const bigger = (seconds: number): string => `#!/bin/sh
sed -i 's/minReadySeconds: 4/minReadySeconds: ${seconds}/' "$1"
`;

/** Words with a blank in them are written with ~ in its place. */
const words = (line: string): string[] => line.split(' ').map((word) => word.replaceAll('~', ' '));

const configMap = (name: string, data: Record<string, string>): string =>
  JSON.stringify({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name }, data });

interface Round {
  /** 33 of kubectl v1.33: older ones have fewer commands and flags. */
  readonly minor: number;
  /** Must succeed, and print what matches. */
  ok(line: string, expected?: RegExp, input?: string): Promise<string>;
  /** Must fail with this exit code, and say what matches. */
  no(line: string, expected: RegExp, input?: string, code?: number): Promise<void>;
  /** Asked until it prints what matches: what controllers do takes a moment. */
  soon(line: string, expected: RegExp): Promise<string>;
  edit(line: string, script: string): Promise<Output>;
  watch(line: string): { readonly seen: (expected: RegExp) => Promise<void>; readonly stop: () => Promise<void> };
}

async function round(t: ExecutionContext, binary: string, namespace: string): Promise<Round> {
  const home = join(server.folder, namespace);
  const common = [
    ...['--kubeconfig', join(server.folder, 'state/component/api-server/admin.kubeconfig')],
    ...['--cache-dir', join(home, 'cache'), '-n', namespace],
  ];
  const env = { HOME: home, PATH: process.env['PATH'] };
  const kubectl = (line: string, input?: string, editor?: string): Promise<Output> =>
    run(binary, [...common, ...words(line)], { env: { ...env, KUBE_EDITOR: editor }, ...(input && { input }) });
  const told = (line: string, { stdout, stderr }: Output): string => `kubectl ${line}\n${stdout}${stderr}`;
  const version = JSON.parse((await kubectl('version --client -o json')).stdout) as {
    clientVersion: { minor: string };
  };
  return {
    minor: Number.parseInt(version.clientVersion.minor, 10),
    async ok(line, expected, input) {
      const output = await kubectl(line, input);
      t.is(output.code, 0, told(line, output));
      if (expected) t.regex(output.stdout, expected, told(line, output));
      return output.stdout;
    },
    async no(line, expected, input, code = 1) {
      const output = await kubectl(line, input);
      t.is(output.code, code, told(line, output));
      t.regex(`${output.stdout}${output.stderr}`, expected, told(line, output));
    },
    async soon(line, expected) {
      for (;;) {
        const { stdout } = await kubectl(line);
        if (expected.test(stdout)) return stdout;
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    },
    edit(line, script) {
      const editor = join(server.folder, `${namespace}-editor.sh`);
      writeFileSync(editor, script);
      chmodSync(editor, 0o755);
      return kubectl(line, undefined, editor);
    },
    watch(line) {
      const child = spawn(binary, [...common, ...words(line)], { env, stdio: ['ignore', 'pipe', 'ignore'] });
      const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
      let text = '';
      let look = (): void => undefined;
      child.stdout.on('data', (chunk: Buffer) => {
        text += String(chunk);
        look();
      });
      return {
        seen: (expected) =>
          new Promise((resolve) => {
            look = () => (expected.test(text) ? resolve() : undefined);
            look();
          }),
        stop: async () => {
          child.kill('SIGTERM');
          await ended;
        },
      };
    },
  };
}

async function createApplyReplace({ ok, no, edit, soon }: Round, folder: string): Promise<void> {
  await ok('create -f -', /deployment\.apps\/app created/, deployment(2));
  await no('create -f -', /\(AlreadyExists\).*deployments\.apps "app" already exists/, deployment(2));
  await ok('apply -f -', /deployment\.apps\/app configured/, deployment(2));
  await ok('apply -f -', /unchanged/, deployment(2));
  // What the controller writes of it between two looks would be a difference.
  await soon('get deployment app', /app +0\/2 +2 +0/);
  await ok('diff -f -', /^$/, deployment(2));
  await no('diff -f -', /-  replicas: 2\n\+  replicas: 3\n/, deployment(3));
  await ok('apply -f - --dry-run=server', /configured \(server dry run\)/, deployment(3));
  await ok('get deployment app -o jsonpath={.spec.replicas}', /^2$/);
  await ok('apply -f -', /configured/, deployment(3));
  // The controller has written for the last time: what follows counts on the revision.
  await soon('get deployment app', /app +0\/3 +3 +0/);
  await ok('patch deployment app -p {"spec":{"minReadySeconds":3}}', /patched/);
  await ok('patch deployment app --type=merge -p {"metadata":{"labels":{"m":"1"}}}', /patched/);
  await ok(
    'patch deployment app --type=json -p [{"op":"replace","path":"/spec/minReadySeconds","value":4}]',
    /patched/,
  );
  await no('patch deployment app --type=json -p [{"op":"test","path":"/metadata/name","value":"x"}]', /is invalid/);
  await no('patch deployment app --type=merge -p {"spec":{"replicas":-1}}', /spec\.replicas: Invalid value: -1/);
  await soon('get deployment app -o jsonpath={.metadata.generation}={.status.observedGeneration}', /^(\d+)=\1$/);
  const yaml = await ok('get deployment app -o yaml', /minReadySeconds: 4/);
  const file = join(folder, 'replace.yaml');
  writeFileSync(file, yaml.replace('minReadySeconds: 4', 'minReadySeconds: 5'));
  await ok(`replace -f ${file}`, /deployment\.apps\/app replaced/);
  await no(`replace -f ${file}`, /\(Conflict\).*the object has been modified/);
  await ok('patch deployment app --type=merge -p {"spec":{"minReadySeconds":4}}');
  const edited = await edit('edit deployment app', bigger(6));
  await ok('get deployment app -o jsonpath={.spec.minReadySeconds}', /^6$/);
  if (!edited.stdout.includes('edited')) throw new Error(edited.stdout + edited.stderr);
  const unchanged = await edit('edit deployment app', bigger(6));
  if (!/no changes made/.test(unchanged.stdout + unchanged.stderr)) throw new Error(unchanged.stdout);
}

async function serverSideApply({ ok, no, minor }: Round): Promise<void> {
  const map = (data: Record<string, string>): string => configMap('ssa', data);
  const applied = /configmap\/ssa serverside-applied/;
  await ok('apply --server-side -f -', applied, map({ a: '1', b: '1' }));
  await ok('apply --server-side -f -', applied, map({ a: '1', b: '1' }));
  await ok('diff --server-side -f -', /^$/, map({ a: '1', b: '1' }));
  await no('diff --server-side -f -', /-  b: "1"/, map({ a: '1' }));
  const other = 'apply --server-side --field-manager=other -f -';
  await no(other, /Apply failed with 1 conflict: conflict with "kubectl": \.data\.a\n/, map({ a: '2' }));
  await no(other, /2 conflicts: conflicts with "kubectl":\n- \.data\.a\n- \.data\.b\n/, map({ a: '2', b: '2' }));
  await ok(`${other} --force-conflicts`, applied, map({ a: '2' }));
  await no('apply --server-side -f -', /conflict with "other": \.data\.a/, map({ a: '1', b: '1' }));
  await ok('apply --server-side -f -', applied, map({ a: '2', c: '1' }));
  await ok('get configmap ssa -o jsonpath={.data}', /^\{"a":"2","c":"1"\}$/);
  if (minor >= 21) {
    const fields = await ok('get configmap ssa -o yaml --show-managed-fields', /manager: other\n +operation: Apply/);
    if (!/manager: kubectl\n/.test(fields)) throw new Error(fields);
    if ((await ok('get configmap ssa -o yaml')).includes('managedFields')) throw new Error('managedFields are shown');
  }
  // Client-side apply afterwards takes over, with a warning; then back, which kubectl does by rewriting managedFields.
  await ok('apply -f -', /configmap\/ssa configured/, map({ a: '3', c: '1' }));
  await ok('apply --server-side --force-conflicts -f -', applied, map({ a: '4' }));
  await ok('get configmap ssa -o jsonpath={.data}', /^\{"a":"4"\}$/);
}

async function migration({ ok }: Round): Promise<void> {
  const map = (data: Record<string, string>): string => configMap('csa', data);
  await ok('apply -f -', /created/, map({ a: '1', gone: '1' }));
  // No conflict with its own earlier self, and what it named then and does not now goes.
  await ok('apply --server-side -f -', /serverside-applied/, map({ a: '2' }));
  await ok('get configmap csa -o jsonpath={.data}', /^\{"a":"2"\}$/);
}

async function reading({ ok, no, soon, watch }: Round): Promise<void> {
  await ok('get deployments', /NAME +READY +UP-TO-DATE +AVAILABLE +AGE\napp +0\/3/);
  await soon('get replicasets,pods -o wide', /replicaset\.apps\/app-\S+ +3 +3 +0 [^]*pod\/app-\S+ +0\/1 +Pending/);
  await ok('get deployment app -o custom-columns=N:.metadata.name,R:.spec.replicas', /N +R\napp +3\n/);
  await ok('get pods -l app=app --sort-by=.metadata.creationTimestamp --chunk-size=1 -o name', /^(pod\/app-\S+\n){3}$/);
  await ok('get pods --field-selector=status.phase=Pending --no-headers', /^(app-.*Pending.*\n){3}$/);
  await ok('get pods --field-selector=status.phase=Running --no-headers', /^$/);
  await ok('get deployment app -o go-template={{.spec.replicas}}', /^3$/);
  await ok('get all', /pod\/app-[^]*deployment\.apps\/app[^]*replicaset\.apps\/app-/);
  await ok('get services -A', /default +kubernetes +ClusterIP +10\.96\.0\.1/);
  await no('get pod absent', /\(NotFound\): pods "absent" not found/);
  await no('get nonsense', /the server doesn't have a resource type "nonsense"/);
  await soon('describe deployment app', /Name: +app\n[^]*ScalingReplicaSet/);
  await soon('describe pods', /FailedScheduling +\S+ +default-scheduler +no nodes available/);
  await ok('explain deployment.spec.strategy.rollingUpdate', /maxSurge/);
  await ok('api-resources', /deployments +deploy +apps\/v1 +true +Deployment/);
  await ok('api-resources --namespaced=false --verbs=list -o name', /^nodes$/m);
  await ok('api-versions', /^apps\/v1$/m);
  await ok('auth can-i create pods', /^yes/);
  await ok('auth can-i --list', /\*\.\*/);
  await ok('version', /Server Version: .*v1\./);
  await ok('cluster-info', /control plane.* is running at/);
  await ok('config view', /certificate-authority-data: DATA/);
  await ok('get --raw /readyz', /^ok$/);
  const rows = watch('get configmaps -w');
  await rows.seen(/^NAME +DATA +AGE$/m);
  // The watch begins a moment after the list was printed: the change is made until it is seen.
  let isSeen = false;
  const seen = rows.seen(/^seen +1 /m).then(() => (isSeen = true));
  while (!isSeen) {
    await ok('create configmap seen --from-literal=a=b');
    await ok('delete configmap seen');
  }
  await seen;
  await rows.stop();
}

async function changing({ ok, no, soon, minor }: Round): Promise<void> {
  await ok('label deployment app tier=web', /labeled/);
  await no('label deployment app tier=db', /already has a value \(web\)/);
  await ok('label deployment app tier=db --overwrite', /labeled/);
  await ok('get deployments -l tier=db -L tier', /app .* db\n/);
  await ok('label deployment app tier-', /labeled/);
  await ok('annotate deployment app note=two~words', /annotate/);
  await ok('get deployment app -o jsonpath={.metadata.annotations.note}', /^two words$/);
  await ok('scale deployment app --replicas=4', /scaled/);
  await no('scale deployment app --current-replicas=9 --replicas=1', /Expected replicas to be 9, was 4/);
  await ok('autoscale deployment app --min=2 --max=5 --cpu-percent=80', /autoscaled/);
  await ok('get hpa', /app +Deployment\/app +\S*.*<unknown>\/80% +2 +5/);
  await ok(
    'get horizontalpodautoscalers.v1.autoscaling app -o jsonpath={.spec.targetCPUUtilizationPercentage}',
    /^80$/,
  );
  await ok('expose deployment app --port=80 --target-port=8080', /service\/app exposed/);
  await soon('get service,endpointslices', /service\/app +ClusterIP +10\.\S+ [^]*endpointslice\S*\/app-/);
  await ok('set image deployment/app c=two', /image updated/);
  await ok('set env deployment/app X=1', /env updated/);
  await ok('set resources deployment app --limits=cpu=2', /updated/);
  await soon('rollout history deployment app', /\n3 +<none>\n4 +<none>\n/);
  await no('rollout status deployment app --timeout=10s', /Waiting for deployment[^]*timed out/);
  await ok('rollout undo deployment app --to-revision=1', /rolled back/);
  await ok('get deployment app -o jsonpath={.spec.template.spec.containers[0].image}', /^host$/);
  for (const verb of ['restart', 'pause', 'resume'])
    await ok(`rollout ${verb} deployment app`, /deployment\.apps\/app/);
  await ok('run one --image=host --restart=Never -- sleep 1', /pod\/one created/);
  if (minor >= 23) await ok('wait --for=jsonpath={.status.phase}=Pending pod/one --timeout=90s', /condition met/);
  await no('wait --for=condition=Ready pod/one --timeout=1s', /timed out/);
  await no('exec one -- true', /pod one does not have a host assigned/);
  if (minor >= 26) await soon('events --for pod/one', /FailedScheduling/);
  await soon('get events --sort-by=.lastTimestamp', /ScalingReplicaSet/);
  await no('create configmap Bad_Name', /Invalid value: "Bad_Name"/);
  await no('apply -f -', /unknown field "(spec\.)?replica"/, deployment(1).replace('replicas:', 'replica:'));
  await no('patch deployment app -p {"spec":{"selector":{"matchLabels":{"a":"b"}}}}', /field is immutable/);
}

async function nodes({ ok, no, soon }: Round, name: string): Promise<void> {
  await ok('create -f -', /created/, `{"apiVersion":"v1","kind":"Node","metadata":{"name":"${name}"}}`);
  await soon(`get node ${name} -o jsonpath={.spec.podCIDR}`, /^10\.244\./);
  await ok(`cordon ${name}`, /cordoned/);
  await ok(`get node ${name}`, /SchedulingDisabled/);
  await ok(`taint nodes ${name} k=v:NoSchedule`, /tainted/);
  await no(`taint nodes ${name} k=v:NoSchedule`, /already has k taint/);
  await ok(`taint nodes ${name} k-`, /untainted/);
  await ok(`describe node ${name}`, /Unschedulable: +true/);
  await ok(`uncordon ${name}`, /uncordoned/);
  await ok(`drain ${name} --ignore-daemonsets --timeout=90s`, /drained/);
  await ok(`delete node ${name}`, /deleted/);
}

async function deleting({ ok, no, soon }: Round, namespace: string): Promise<void> {
  await ok('delete pod one --now', /deleted/);
  await ok('delete deployment app --cascade=orphan', /deleted/);
  await ok('get replicasets -o name', /replicaset\.apps\/app-/);
  await ok('delete replicasets --all', /deleted/);
  await soon('get pods -o name', /^$/);
  await ok('delete configmaps,services,hpa --all', /configmap "ssa" deleted[^]*service "app" deleted/);
  await ok('delete -f - --ignore-not-found', /^$/, deployment(1));
  await no('delete deployment app', /\(NotFound\)/);
  await ok(`delete namespace ${namespace} --timeout=90s`, /deleted/);
  await no(`get namespace ${namespace}`, /\(NotFound\)/);
}

if (binaries.length === 0)
  test.skip('everyday commands: no kubectl; name one in PINTLE_TEST_KUBECTL or install kubernetes-client', () =>
    undefined);

for (const [index, binary] of binaries.entries())
  test.serial(`everyday commands of ${binary}`, async (t) => {
    const namespace = `commands-${index}`;
    const all = await round(t, binary, namespace);
    await all.ok(`create namespace ${namespace}`, /created/);
    await createApplyReplace(all, server.folder);
    await serverSideApply(all);
    if (all.minor >= 26) await migration(all);
    await reading(all);
    await changing(all);
    await nodes(all, `node-${index}`);
    await deleting(all, namespace);
  });
