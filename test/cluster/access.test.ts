/**
 * The API as a pod sees it: found by its Service and its name, trusted by the CA, asked with the pod's own token, and
 * answered as far as roles allow. Beside it what admission and the scheduler decide: quotas, limits, preemption.
 */
import 'reflect-metadata';
import { writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { CoreV1Api, KubeConfig } from '@kubernetes/client-node';
import test from 'ava';
import { cpuMillis } from '../../kernel/machinery/quantity.ts';
import { kubectls, TestCluster, type Output } from './support/cluster.ts';

const [newest = 'kubectl'] = kubectls();
/** Pods have a /tmp of their own: what lies there is not theirs. */
const podNode = process.execPath.startsWith('/tmp/') ? 'node' : process.execPath;

let cluster: TestCluster;
let core: CoreV1Api;
test.before(async () => {
  cluster = await TestCluster.start({ nodes: 2 });
  const config = new KubeConfig();
  config.loadFromFile(cluster.kubeconfig);
  core = config.makeApiClient(CoreV1Api);
});
test.after.always(() => cluster?.stop());

async function ok(argv: readonly string[], input?: string, binary = newest): Promise<string> {
  const { code, stdout, stderr } = await cluster.kubectl(binary, argv, input);
  if (code !== 0) throw new Error(`kubectl ${argv.join(' ')}: ${stderr}${stdout}`);
  return stdout;
}

async function eventually<T>(what: string, look: () => Promise<T | undefined | false>): Promise<T> {
  for (const end = Date.now() + 150_000; ;) {
    const found = await look();
    if (found !== undefined && found !== false) return found;
    if (Date.now() > end) throw new Error(`it did not come to be: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

const phase = async (namespace: string, name: string) =>
  (await core.readNamespacedPod({ namespace, name }).catch(() => undefined))?.status?.phase;

/** Pods have a /tmp of their own, and the checkout may lie there: what they need of it is mounted. */
const mounts = [
  {
    name: 'modules',
    mountPath: '/srv/program/node_modules',
    path: fileURLToPath(new URL('../../../node_modules', import.meta.url)),
  },
  { name: 'tools', mountPath: '/srv/tools', path: dirname(newest) },
];

/**
 * Runs until it succeeds, and answers what it printed last. A cluster that has just come up may not answer the very first
 * question of a pod; a pod whose answers are wrong never succeeds.
 */
async function outcome(namespace: string, name: string, command: readonly string[], account: string): Promise<string> {
  const body = {
    metadata: { name },
    spec: {
      serviceAccountName: account,
      restartPolicy: 'OnFailure',
      volumes: mounts.map((mount) => ({ name: mount.name, hostPath: { path: mount.path } })),
      containers: [
        {
          name: 'c',
          image: 'host',
          command: [...command],
          volumeMounts: mounts.map((mount) => ({ name: mount.name, mountPath: mount.mountPath, readOnly: true })),
        },
      ],
    },
  };
  await core.createNamespacedPod({ namespace, body });
  await eventually(`${name} has ended`, async () => (await phase(namespace, name)) === 'Succeeded').catch(
    async (error: Error) => {
      throw new Error(`${error.message}: ${await ok(['-n', namespace, 'logs', name])}`, { cause: error });
    },
  );
  return ok(['-n', namespace, 'logs', name]);
}

const script = `
import { readFileSync } from 'node:fs';
import { request } from 'node:https';
import { CoreV1Api, KubeConfig } from '/srv/program/node_modules/@kubernetes/client-node/dist/index.js';
const config = new KubeConfig();
config.loadFromCluster();
const api = config.makeApiClient(CoreV1Api);
const folder = '/var/run/secrets/kubernetes.io/serviceaccount/';
const namespace = readFileSync(folder + 'namespace', 'utf8');
const { items } = await api.listNamespacedPod({ namespace });
const denied = await api.listNamespacedSecret({ namespace }).catch((error) => error.code);
const elsewhere = await api.listNamespacedPod({ namespace: 'kube-system' }).catch((error) => error.code);
const ask = (headers, options = {}) => new Promise((resolve, reject) => {
  const call = request('https://kubernetes.default.svc/api/v1/namespaces/' + namespace + '/pods', { headers, ca: readFileSync(folder + 'ca.crt'), ...options }, (answer) => {
    answer.resume();
    resolve(answer.statusCode);
  });
  call.on('error', reject);
  call.end();
});
const token = readFileSync(folder + 'token', 'utf8');
const byName = await ask({ authorization: 'Bearer ' + token });
const byNobody = await ask({});
const byForger = await ask({ authorization: 'Bearer ' + token.slice(0, -6) + 'AAAAAA' });
console.log(JSON.stringify({ namespace, pods: items.map((pod) => pod.metadata.name), denied, elsewhere, byName, byNobody, byForger }));
`;

test.serial('a program in a pod finds the API, proves who it is, and may what its roles say', async (t) => {
  await ok(['create', 'namespace', 'team']);
  await ok(['-n', 'team', 'create', 'serviceaccount', 'robot']);
  await ok(['-n', 'team', 'create', 'role', 'reader', '--verb=get,list,watch', '--resource=pods']);
  await ok(['-n', 'team', 'create', 'rolebinding', 'robot', '--role=reader', '--serviceaccount=team:robot']);
  const command = [podNode, '--input-type=module', '-e', script];
  const text = await outcome('team', 'program', command, 'robot');
  t.deepEqual(JSON.parse(text), {
    namespace: 'team',
    pods: ['program'],
    denied: 403,
    elsewhere: 403,
    byName: 200,
    byNobody: 401,
    byForger: 401,
  });
});

test.serial('kubectl in a pod needs no configuration', async (t) => {
  const command = [`/srv/tools/${basename(newest)}`, 'get', 'pods', '-o', 'name'];
  const text = await outcome('team', 'kubectl', command, 'robot');
  t.deepEqual(text.trim().split('\n').toSorted(), ['pod/kubectl', 'pod/program']);
});

test.serial('a token is worth nothing once its pod is gone', async (t) => {
  const name = 'holder';
  await core.createNamespacedPod({
    namespace: 'team',
    body: {
      metadata: { name },
      spec: {
        terminationGracePeriodSeconds: 1,
        containers: [{ name: 'c', image: 'host', command: ['sleep', 'infinity'] }],
      },
    },
  });
  await eventually('it runs', async () => (await phase('team', name)) === 'Running');
  const exec = ['-n', 'team', 'exec', name, '--', 'cat', '/var/run/secrets/kubernetes.io/serviceaccount/token'];
  const token = await ok(exec);
  const { url, certificate } = ((config) => {
    config.loadFromFile(cluster.kubeconfig);
    const { server, caData } = config.getCurrentCluster()!;
    return { url: server, certificate: caData };
  })(new KubeConfig());
  const config = new KubeConfig();
  config.loadFromOptions({
    clusters: [{ name: 'c', server: url, caData: certificate }],
    users: [{ name: 'u', token }],
    contexts: [{ name: 'x', cluster: 'c', user: 'u' }],
    currentContext: 'x',
  });
  const asPod = config.makeApiClient(CoreV1Api);
  const answer = () =>
    asPod.listNamespacedPod({ namespace: 'team' }).then(
      () => 200,
      (error: { code?: number }) => error.code,
    );
  t.is(await answer(), 403, 'known, but without a role');
  await ok(['-n', 'team', 'delete', 'pod', name]);
  t.is(await answer(), 401);
});

test.serial('a certificate that was asked for, approved and signed is worth what roles give its name', async (t) => {
  const { Pkcs10CertificateRequestGenerator } = await import('@peculiar/x509');
  const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
  const keys = await crypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
  const name = 'CN=ada,O=readers';
  const request = await Pkcs10CertificateRequestGenerator.create({ name, keys, signingAlgorithm: algorithm });
  const base64 = (text: string) => Buffer.from(text).toString('base64');
  const spec = {
    ...{ request: base64(request.toString('pem')), signerName: 'kubernetes.io/kube-apiserver-client' },
    ...{ usages: ['client auth'], expirationSeconds: 3600 },
  };
  const kind = { apiVersion: 'certificates.k8s.io/v1', kind: 'CertificateSigningRequest' };
  await ok(['create', '-f', '-'], JSON.stringify({ ...kind, metadata: { name: 'ada' }, spec }));
  await ok(['certificate', 'approve', 'ada']);
  const certificate = ['get', 'csr/ada', '-o=jsonpath={.status.certificate}'];
  const certData = await eventually('its certificate', async () => (await ok(certificate)) || undefined);
  t.regex(await ok(['get', 'csr/ada']), /Approved,Issued/);

  const key = Buffer.from(await crypto.subtle.exportKey('pkcs8', keys.privateKey)).toString('base64');
  const keyData = base64(`-----BEGIN PRIVATE KEY-----\n${key}\n-----END PRIVATE KEY-----\n`);
  const config = new KubeConfig();
  config.loadFromFile(cluster.kubeconfig);
  config.users = config.users.map((user) => ({ name: user.name, certData, keyData }));
  const file = join(cluster.folder, 'ada.kubeconfig');
  await writeFile(file, config.exportConfig(), { mode: 0o600 });
  const asAda = (...argv: readonly string[]) => cluster.kubectl(newest, ['--kubeconfig', file, ...argv]);
  t.regex((await asAda('get', 'pods')).stderr, /User "ada" cannot list resource "pods"/);
  await ok(['create', 'rolebinding', 'readers', '--clusterrole=view', '--group=readers']);
  const { code, stderr } = await asAda('get', 'pods');
  t.is(code, 0, stderr);
});

for (const [index, binary] of kubectls().entries())
  test.serial(`${basename(binary)} (${index}): roles, quotas and limits as its users know them`, async (t) => {
    const namespace = `rules-${index}`;
    const raw = (argv: readonly string[], input?: string): Promise<Output> =>
      cluster.kubectl(binary, ['-n', namespace, ...argv], input);
    const own = (argv: readonly string[], input?: string) => ok(['-n', namespace, ...argv], input, binary);
    await ok(['create', 'namespace', namespace], undefined, binary);
    t.is((await raw(['auth', 'can-i', 'create', 'pods', '--as=jane'])).stdout.trim(), 'no');
    const refused = await raw(['get', 'pods', '--as=jane']);
    t.regex(
      refused.stderr,
      /pods is forbidden: User "jane" cannot list resource "pods" in API group "" in the namespace/,
    );
    await own(['create', 'rolebinding', 'jane', '--clusterrole=edit', '--user=jane']);
    t.is((await own(['auth', 'can-i', 'create', 'pods', '--as=jane'])).trim(), 'yes');
    t.is((await raw(['auth', 'can-i', 'create', 'roles', '--as=jane'])).stdout.trim(), 'no');
    t.regex(await own(['auth', 'can-i', '--list', '--as=jane']), /pods\/exec/);
    await own(['get', 'pods', '--as=jane']);
    await own(['create', 'quota', 'small', '--hard=pods=1,configmaps=5']);
    await own(['run', 'one', '--image=host', '--restart=Never', '--', 'sleep', '600']);
    const second = await raw(['run', 'two', '--image=host', '--restart=Never', '--', 'sleep', '600']);
    t.regex(second.stderr, /exceeded quota: small, requested: pods=1, used: pods=1, limited: pods=1/);
    await eventually('the quota tells', async () => /pods\s+1\s+1/.test(await own(['describe', 'quota', 'small'])));
    t.regex(await own(['describe', 'quota', 'small']), /configmaps\s+1\s+5/);
    await own(
      ['apply', '-f', '-'],
      `{"apiVersion":"v1","kind":"LimitRange","metadata":{"name":"l"},"spec":{"limits":[{"type":"Container","max":{"cpu":"1"},"defaultRequest":{"cpu":"10m"}}]}}`,
    );
    t.regex(await own(['describe', 'limitrange', 'l']), /Container\s+cpu\s+-\s+1\s+10m\s+1/);
    await own(['create', 'cronjob', 'tick', '--image=host', '--schedule=0 0 1 1 *', '--', 'true']);
    await own(['create', 'pdb', 'b', '--selector=app=x', '--min-available=1']);
    t.regex(await own(['describe', 'pdb', 'b']), /Min available:\s+1/);
    await ok(['delete', 'namespace', namespace, '--wait=false'], undefined, binary);
  });

test.serial('a pod that matters more gets the place of one that matters less', async (t) => {
  await ok(['create', 'priorityclass', 'important', '--value=1000']);
  const { items: nodes } = await core.listNode();
  const most = Math.min(...nodes.map((node) => cpuMillis(node.status!.allocatable!['cpu']!)));
  const pod = (name: string, priorityClassName?: string) => ({
    metadata: { name },
    spec: {
      ...(priorityClassName && { priorityClassName }),
      terminationGracePeriodSeconds: 1,
      containers: [
        {
          name: 'c',
          image: 'host',
          command: ['sleep', 'infinity'],
          resources: { requests: { cpu: `${Math.floor(most * 0.7)}m` } },
        },
      ],
    },
  });
  const names = nodes.map((_, i) => `low-${i}`);
  for (const name of names) await core.createNamespacedPod({ namespace: 'default', body: pod(name) });
  for (const name of names) await eventually(`${name} runs`, async () => (await phase('default', name)) === 'Running');
  await core.createNamespacedPod({ namespace: 'default', body: pod('high', 'important') });
  await eventually('high runs', async () => (await phase('default', 'high')) === 'Running');
  const { items } = await core.listNamespacedPod({ namespace: 'default' });
  t.is(items.filter(({ metadata }) => metadata?.name?.startsWith('low-')).length, names.length - 1);
  const event = await eventually('the event', async () =>
    (await core.listNamespacedEvent({ namespace: 'default' })).items.find(({ reason }) => reason === 'Preempted'),
  );
  t.regex(event.message ?? '', /^Preempted by pod \S+ on node node-\d$/);
});
