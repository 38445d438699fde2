/**
 * Stock kubectl against the server: each version that this machine has. Found as PINTLE_TEST_KUBECTL (paths with colons
 * between), as the versioned binaries of the Google Cloud CLI, or as `kubectl` on PATH.
 */
import { execFile, spawn } from 'node:child_process';
import { accessSync, constants, readdirSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { connect } from 'node:net';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { startApi, type Api } from './api-harness.ts';
import { processNode } from './process-node.ts';

const cloudFolder = '/usr/lib/google-cloud-sdk/bin';

function isProgram(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

function kubectls(): readonly string[] {
  const named = (process.env['PINTLE_TEST_KUBECTL'] ?? '').split(':').filter(isProgram);
  if (named.length > 0) return named;
  try {
    const versioned = readdirSync(cloudFolder).filter((name) => /^kubectl\.1\.\d+$/.test(name));
    if (versioned.length > 0) return versioned.map((name) => join(cloudFolder, name));
  } catch {
    // Not installed; PATH may have one.
  }
  return (process.env['PATH'] ?? '')
    .split(':')
    .map((folder) => join(folder, 'kubectl'))
    .filter(isProgram)
    .slice(0, 1);
}

interface Run {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

function runner(api: Api, program: string, cache: string): (line: string, input?: string) => Promise<Run> {
  return (line, input) =>
    new Promise((resolve) => {
      const args = ['--kubeconfig', api.kubeconfig, '--cache-dir', join(api.folder, cache), ...line.split(' ')];
      const child = execFile(
        program,
        args,
        { env: { HOME: api.folder, PATH: '/usr/bin:/bin' }, maxBuffer: 64 << 20 },
        (error, out, err) => resolve({ code: error === null ? 0 : Number(error.code ?? 1), out, err }),
      );
      child.stdin?.end(input ?? '');
    });
}

const manifest = (name: string): object => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name },
  spec: { nodeName: 'n1', containers: [{ name: 'c', image: 'host', command: ['sleep', '1000'] }] },
});

async function setStatus(api: Api, ns: string, name: string, status: object): Promise<void> {
  await api.call(
    'PATCH',
    `/api/v1/namespaces/${ns}/pods/${name}/status`,
    { status },
    { 'content-type': 'application/merge-patch+json' },
  );
}

async function commands(t: ExecutionContext, api: Api, program: string): Promise<void> {
  const { out: client } = await runner(api, program, 'default')('version --client');
  const minor = Number(/v1\.(\d+)\./.exec(client)?.[1]);
  const ns = `k${minor}`;
  const k = runner(api, program, ns);
  const ok = async (line: string, input?: string): Promise<string> => {
    const run = await k(`-n ${ns} ${line}`, input);
    t.is(run.code, 0, `${line}: ${run.err}${run.out}`);
    return run.out;
  };
  t.regex(await ok('version'), /Server Version: .*v1\.36/);
  await ok(`create namespace ${ns}`);
  t.regex(await ok('create deployment web --image=host --replicas=2'), /deployment.apps\/web created/);
  t.regex(await ok('get deployments'), /NAME +READY +UP-TO-DATE +AVAILABLE +AGE\nweb +0\/2 +0 +0 +\d/);
  t.regex(await ok('get deployments -o wide'), /SELECTOR\nweb .* host +app=web/);
  await ok('scale deployment web --replicas=3');
  await ok('set image deployment/web host=other');
  t.is(await ok('get deployment web -o jsonpath={.spec.replicas}{.spec.template.spec.containers[0].image}'), '3other');
  await ok('expose deployment web --port=80');
  t.regex(await ok('get services'), /web +ClusterIP +10\.\S+ +<none> +80\/TCP/);
  await ok('label deployment web a=b');
  await ok('annotate deployment web c=d');
  await ok('create configmap m --from-literal=a=b');
  await ok('create secret generic s --from-literal=a=b');
  await ok('create job j --image=host');
  // Older ones want batch/v1beta1.
  if (minor >= 21) await ok('create cronjob cj --image=host --schedule=@hourly');
  await ok('create quota q --hard=pods=10');
  await ok('create role r --verb=get --resource=pods');
  await ok('create rolebinding rb --role=r --user=u');
  t.regex(await ok('auth can-i create pods'), /^yes/);
  t.regex(await ok('api-resources'), /deployments +deploy +apps\/v1 +true +Deployment/);
  t.regex(await ok('get all'), /deployment\.apps\/web[^]*job\.batch\/j/);
  await ok('apply -f -', JSON.stringify(manifest('p')));
  t.regex(await ok('apply -f -', JSON.stringify(manifest('p'))), /unchanged/);
  t.regex(
    await ok('apply -f -', JSON.stringify({ ...manifest('p'), metadata: { name: 'p', labels: { x: 'y' } } })),
    /configured/,
  );
  t.regex(await ok('explain pods.spec.containers'), /KIND: +Pod/);
  const unknown = await k(`-n ${ns} apply -f -`, JSON.stringify({ ...manifest('q'), nope: 1 }));
  t.is(unknown.code, 1);
  t.regex(unknown.err, /unknown field "nope"/);
  t.regex((await k(`-n ${ns} get pod absent`)).err, /Error from server \(NotFound\): pods "absent" not found/);
  t.regex((await k(`-n ${ns} create configmap m`)).err, /\(AlreadyExists\)|already exists/);
  t.is(await ok('logs p --tail=1'), 'last\n');
  const exec = await k(
    `-n ${ns} exec -i p -- sh -c cat;echo${'\u00a0'}err>&2;exit${'\u00a0'}7`.replaceAll('\u00a0', '${IFS}'),
    'to stdin\n',
  );
  t.is(exec.code, 7, exec.err);
  t.is(exec.out, 'to stdin\n');
  t.regex(exec.err, /^err\n[^]*exit code 7/);
  await setStatus(api, ns, 'p', { phase: 'Running' });
  await forward(t, api, program, ns);
  t.regex(await ok('describe pod p'), /Name: +p\n/);
  t.regex(await ok('delete pod p --grace-period=0 --force'), /deleted/);
  t.regex(await ok('delete deployment web'), /deleted/);
  t.regex(await ok('delete configmap m --wait=true'), /deleted/);
}

async function forward(t: ExecutionContext, api: Api, program: string, ns: string): Promise<void> {
  const echo = createServer((socket) => socket.pipe(socket));
  await new Promise<void>((resolve) => echo.listen(0, '127.0.0.1', resolve));
  const { port } = echo.address() as AddressInfo;
  const child = spawn(
    program,
    ['--kubeconfig', api.kubeconfig, '--cache-dir', join(api.folder, ns), '-n', ns, 'port-forward', 'p', `:${port}`],
    {
      env: { HOME: api.folder, PATH: '/usr/bin:/bin' },
      stdio: ['ignore', 'pipe', 'inherit'],
    },
  );
  try {
    const local = await new Promise<number>((resolve, reject) => {
      child.stdout.on('data', (text) => {
        const match = /127\.0\.0\.1:(\d+)/.exec(String(text));
        if (match !== null) resolve(Number(match[1]));
      });
      child.once('exit', () => reject(new Error('kubectl port-forward ended')));
    });
    for (const text of ['first', 'second', 'x'.repeat(500_000)]) {
      const answer = await new Promise<string>((resolve, reject) => {
        const socket = connect({ host: '127.0.0.1', port: local });
        let all = '';
        socket.on('data', (chunk) => (all += String(chunk)));
        socket.once('end', () => resolve(all));
        socket.once('error', reject);
        socket.end(text);
      });
      t.true(answer === text, `${answer.length} bytes of ${text.length} came back`);
    }
  } finally {
    child.kill();
    echo.close();
  }
}

const programs = kubectls();
if (programs.length === 0) {
  test('stock kubectl', (t) => {
    t.log('skipped: no kubectl on this machine; install one or name it with PINTLE_TEST_KUBECTL');
    t.pass();
  });
}

for (const program of programs) {
  // One after another: each is a process of its own, and the machine may be small.
  test.serial(`stock kubectl: ${program}`, async (t) => {
    t.timeout(170_000);
    await using api = await startApi();
    const node = processNode();
    node.log('first');
    node.log('last');
    const stop = new AbortController();
    void api.cluster.serveNode('n1', node, stop.signal);
    await commands(t, api, program);
    stop.abort();
  });
}

const newest = programs.at(-1);
if (newest !== undefined)
  test.serial('kubectl get -w prints changes as rows', async (t) => {
    await using api = await startApi();
    const file = join(api.folder, 'pod.json');
    await writeFile(file, JSON.stringify(manifest('w')));
    const k = runner(api, newest, 'watch');
    t.is((await k(`create -f ${file}`)).code, 0);
    const child = spawn(
      newest,
      ['--kubeconfig', api.kubeconfig, '--cache-dir', join(api.folder, 'watch'), 'get', 'pods', '-w'],
      {
        env: { HOME: api.folder, PATH: '/usr/bin:/bin' },
        stdio: ['ignore', 'pipe', 'inherit'],
      },
    );
    let out = '';
    const until = (pattern: RegExp): Promise<void> =>
      new Promise((resolve) => {
        const look = (): void => (pattern.test(out) ? resolve() : undefined);
        child.stdout.on('data', look);
        look();
      });
    child.stdout.on('data', (text) => (out += String(text)));
    await until(/NAME +READY +STATUS +RESTARTS +AGE\nw +0\/1 +Pending +0/);
    // The watch is open only a moment after the list is printed: the change is repeated until it is seen.
    let round = 0;
    while (!/w +0\/1 +Running/.test(out))
      await setStatus(api, 'default', 'w', { phase: 'Running', message: String(round++) });
    child.kill();
    t.pass();
  });
