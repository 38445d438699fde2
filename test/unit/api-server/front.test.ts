/** What the HTTP front decides itself: identity, limits, forms of errors and deletes. Against a small fake cluster. */
import { request as httpRequest, type IncomingMessage } from 'node:http';
import { connect as connectTls } from 'node:tls';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import test from 'ava';
import { PintleError } from '../../../kernel/contract/index.ts';
import { resources } from '../../../kernel/machinery/resources.ts';
import { startApi } from './api-harness.ts';
import { fakeCluster } from './fake-cluster.ts';
import { apiUrl, identityOf, overHttp1, overHttp2 } from './tls-client.ts';

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;

const maps = '/api/v1/namespaces/default/configmaps';

test('who is who: client certificate, unix socket, nobody', async (t) => {
  const cluster = fakeCluster();
  await using api = await startApi({ cluster, config: { nodes: ['n1'] } });
  const url = await apiUrl(api);
  const whoami = async (): Promise<unknown> => (cluster.calls.at(-1)!.options as { user: unknown }).user;
  const [nobody, admin, node] = [
    await identityOf(api, undefined),
    await identityOf(api, 'admin'),
    await identityOf(api, 'nodes/n1'),
  ];
  for (const call of [overHttp1, overHttp2]) {
    const refused = await call(url, maps, nobody);
    t.is(refused.status, 401);
    t.like(refused.json, { kind: 'Status', reason: 'Unauthorized', code: 401 });
    for (const path of ['/livez', '/readyz', '/healthz', '/version'])
      t.is((await call(url, path, nobody)).status, 200, path);
    for (const path of ['/metrics', '/api', '/apis', '/openapi/v3', '/'])
      t.is((await call(url, path, nobody)).status, 401, path);
    t.is((await call(url, maps, admin)).status, 200);
    t.deepEqual(await whoami(), { name: 'pintle-admin', groups: ['system:masters', 'system:authenticated'] });
    t.is((await call(url, maps, node)).status, 200);
    t.deepEqual(await whoami(), { name: 'system:node:n1', groups: ['system:nodes', 'system:authenticated'] });
  }
  t.is((await api.call('GET', maps)).status, 200);
  t.deepEqual(await whoami(), { name: 'system:unix', groups: ['system:masters', 'system:authenticated'] });
});

test('a certificate of another CA is nobody', async (t) => {
  const cluster = fakeCluster();
  await using api = await startApi({ cluster });
  await using other = await startApi({ cluster: fakeCluster() });
  const { ca } = await identityOf(api, undefined);
  const { cert, key } = await identityOf(other, 'admin');
  t.is((await overHttp2(await apiUrl(api), maps, { ca, cert: cert ?? '', key: key ?? '' })).status, 401);
  t.is(cluster.calls.length, 0);
});

test('a forged identity in headers changes nothing', async (t) => {
  const cluster = fakeCluster();
  await using api = await startApi({ cluster });
  const { ca } = await identityOf(api, undefined);
  const url = new URL(await apiUrl(api));
  const text = await new Promise<string>((resolve, reject) => {
    const socket = connectTls({ host: url.hostname, port: Number(url.port), ca }, () =>
      socket.write(
        `GET ${maps} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Remote-User: pintle-admin\r\nX-Remote-Group: system:masters\r\nImpersonate-User: pintle-admin\r\nAuthorization: Bearer x\r\n\r\n`,
      ),
    );
    let all = '';
    socket.on('data', (chunk) => (all += String(chunk)));
    socket.once('end', () => resolve(all));
    socket.once('error', reject);
  });
  t.regex(text, /^HTTP\/1\.1 401 /);
});

test('an upgrade without an identity is refused before anything is looked at', async (t) => {
  const cluster = fakeCluster();
  await using api = await startApi({ cluster });
  const { ca } = await identityOf(api, undefined);
  const url = new URL(await apiUrl(api));
  for (const path of [
    '/api/v1/namespaces/default/pods/p/exec?command=ls&stdout=1',
    '/apis/pintle.dev/v1/nodes/n1/tunnel',
    '/readyz',
  ]) {
    const text = await new Promise<string>((resolve, reject) => {
      const socket = connectTls({ host: url.hostname, port: Number(url.port), ca }, () =>
        socket.write(`POST ${path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: pintle-tunnel\r\n\r\n`),
      );
      let all = '';
      socket.on('data', (chunk) => (all += String(chunk)));
      socket.once('end', () => resolve(all));
      socket.once('error', reject);
    });
    t.regex(text, /^HTTP\/1\.1 401 /, path);
  }
  t.is(cluster.calls.length, 0);
  t.is(cluster.nodes.size, 0);
});

const errors = [
  [
    new PintleError('NOT_FOUND', 'm', { details: { resource: 'pods', name: 'x' } }),
    404,
    'NotFound',
    { kind: 'pods', name: 'x' },
  ],
  [
    new PintleError('INVALID', 'm', {
      details: {
        kind: 'Pod',
        name: 'x',
        causes: [{ reason: 'FieldValueRequired', message: 'Required value', field: 'spec' }],
      },
    }),
    422,
    'Invalid',
    { kind: 'Pod', name: 'x', causes: [{ reason: 'FieldValueRequired', message: 'Required value', field: 'spec' }] },
  ],
  [new PintleError('CONFLICT', 'm'), 409, 'Conflict', undefined],
  [new PintleError('EXPIRED', 'm'), 410, 'Expired', undefined],
  [new PintleError('COMPACTED', 'm'), 410, 'Expired', undefined],
  [new PintleError('STORE_READ_ONLY', 'm'), 503, 'ServiceUnavailable', undefined],
  [
    new PintleError('TOO_MANY_REQUESTS', 'm', { details: { retryAfterSeconds: 7 } }),
    429,
    'TooManyRequests',
    { retryAfterSeconds: 7 },
  ],
  [
    new PintleError('TOO_MANY_REQUESTS', 'm', { details: { retryAfterSeconds: 0 } }),
    429,
    'TooManyRequests',
    { retryAfterSeconds: 0 },
  ],
] as const;

test('errors of the cluster become Status', async (t) => {
  const cluster = fakeCluster();
  await using api = await startApi({ cluster });
  for (const [error, code, reason, details] of errors) {
    cluster.fail = error;
    const reply = await api.call('GET', maps);
    t.is(reply.status, code);
    t.deepEqual(reply.json, {
      kind: 'Status',
      apiVersion: 'v1',
      metadata: {},
      status: 'Failure',
      message: 'm',
      reason,
      ...(details === undefined ? {} : { details }),
      code,
    });
    const { retryAfterSeconds = 0 } = (details ?? {}) as { readonly retryAfterSeconds?: number };
    t.is(reply.headers['retry-after'], retryAfterSeconds > 0 ? String(retryAfterSeconds) : undefined);
  }
});

test('an error that nobody expected tells the client nothing of the inside, and the log everything', async (t) => {
  const cluster = fakeCluster();
  const lines: string[] = [];
  const log = {
    debug: () => undefined,
    info: () => undefined,
    warn: () => undefined,
    error: (line: string) => void lines.push(line),
  };
  await using api = await startApi({ cluster, log });
  cluster.fail = new TypeError('secret inside');
  const reply = await api.call('GET', maps);
  t.is(reply.status, 500);
  t.is(reply.json.reason, 'InternalError');
  t.false(reply.text.includes('secret inside'));
  t.true(lines.some((line) => line.includes('secret inside')));
});

test('readers and writers beyond the limits get 429, health checks and watches do not', async (t) => {
  const cluster = fakeCluster();
  let release: () => void = () => undefined;
  const gate = new Promise<void>((resolve) => (release = resolve));
  const list = cluster.list.bind(cluster);
  const create = cluster.create.bind(cluster);
  Object.assign(cluster, {
    list: async (...call: Parameters<typeof list>) => gate.then(() => list(...call)),
    create: async (...call: Parameters<typeof create>) => gate.then(() => create(...call)),
  });
  await using api = await startApi({ cluster, config: { maxReads: 2, maxWrites: 1, maxWaiting: 0 } });
  const slow = [api.call('GET', maps), api.call('GET', maps), api.call('POST', maps, { metadata: { name: 'a' } })];
  const isFull = async (): Promise<boolean> => {
    const { text } = await api.call('GET', '/metrics');
    return /request_kind="readOnly"\} 2/.test(text) && /request_kind="mutating"\} 1/.test(text);
  };
  while (!(await isFull()));
  const refused = await api.call('GET', maps);
  t.is(refused.status, 429);
  t.is(refused.headers['retry-after'], '1');
  t.like(refused.json, { kind: 'Status', reason: 'TooManyRequests', details: { retryAfterSeconds: 1 } });
  t.is((await api.call('POST', maps, { metadata: { name: 'b' } })).status, 429);
  t.is((await api.call('GET', '/readyz')).status, 200);
  const watch = await new Promise<IncomingMessage>((resolve) =>
    httpRequest({ socketPath: api.socket, path: `${maps}?watch=1`, agent: false }, resolve).end(),
  );
  t.is(watch.statusCode, 200);
  watch.destroy();
  release();
  t.deepEqual(
    (await Promise.all(slow)).map((reply) => reply.status),
    [200, 200, 201],
  );
  t.is((await api.call('GET', maps)).status, 200);
});

test('requests beyond the limits wait for their turn, in order of arrival', async (t) => {
  const cluster = fakeCluster();
  const releases: (() => void)[] = [];
  const order: string[] = [];
  const create = cluster.create.bind(cluster);
  Object.assign(cluster, {
    create: async (...call: Parameters<typeof create>) => {
      order.push(call[1].metadata.name ?? '');
      await new Promise<void>((resolve) => releases.push(resolve));
      return create(...call);
    },
  });
  await using api = await startApi({ cluster, config: { maxWrites: 1, maxWaiting: 2 } });
  const post = (name: string) => api.call('POST', maps, { metadata: { name } });
  const first = post('a');
  while (releases.length === 0) await new Promise(setImmediate);
  const others = [post('b'), post('c'), post('d')];
  // Of the three one is too many: its answer is there while the first still holds the only place.
  const refused = await Promise.race(others);
  t.is(refused.status, 429);
  t.deepEqual(order, ['a']);
  for (let count = 0; count < 3; count += 1) {
    while (releases.length <= count) await new Promise(setImmediate);
    t.is(order.length, count + 1);
    releases[count]!();
  }
  const statuses = (await Promise.all([first, ...others])).map(({ status }) => status);
  t.deepEqual([...statuses].sort(), [201, 201, 201, 429]);
  t.is((await api.call('GET', maps)).status, 200);
});

test('apply: 201 for a new object, 200 for a known one, YAML or JSON alike', async (t) => {
  const cluster = fakeCluster();
  await using api = await startApi({ cluster });
  const headers = { 'content-type': 'application/apply-patch+yaml' };
  const path = `${maps}/a?fieldManager=m&force=true`;
  t.is(
    (await api.call('PATCH', path, 'metadata: {name: a, namespace: default}\ndata: {k: "0644"}\n', headers)).status,
    201,
  );
  t.is((await api.call('PATCH', path, { metadata: { name: 'a' }, data: { k: '2' } }, headers)).status, 200);
  t.like(cluster.calls.at(-1), {
    verb: 'patch',
    options: { fieldManager: 'm', patch: { kind: 'apply', force: true, body: { data: { k: '2' } } } },
  });
});

test('delete: a Status for most kinds, the object for some, and for who prefers it', async (t) => {
  const cluster = fakeCluster();
  await using api = await startApi({ cluster });
  cluster.seed(resources.configMaps, { metadata: { name: 'a', namespace: 'default' } });
  cluster.seed(resources.configMaps, { metadata: { name: 'b', namespace: 'default' } });
  cluster.seed(resources.services, { metadata: { name: 's', namespace: 'default' } });
  t.is((await api.call('DELETE', `${maps}/a`)).json.kind, 'Status');
  const preferred = await api.call('DELETE', `${maps}/b`, undefined, { prefer: 'return=representation' });
  t.is(preferred.json.kind, 'ConfigMap');
  t.is(preferred.headers['pintle-gone'], 'true');
  t.is((await api.call('DELETE', '/api/v1/namespaces/default/services/s')).json.kind, 'Service');
});

test('delete options come from the query and the body', async (t) => {
  const cluster = fakeCluster();
  await using api = await startApi({ cluster });
  cluster.seed(resources.configMaps, { metadata: { name: 'a', namespace: 'default' } });
  await api.call('DELETE', `${maps}/a?gracePeriodSeconds=5&propagationPolicy=Orphan`, {
    kind: 'DeleteOptions',
    apiVersion: 'v1',
    gracePeriodSeconds: 0,
    preconditions: { uid: 'u' },
    dryRun: ['All'],
  });
  t.like(cluster.calls.at(-1)?.options, {
    gracePeriodSeconds: 0,
    propagationPolicy: 'Orphan',
    preconditions: { uid: 'u' },
    dryRun: true,
  });
});

test('a failing check fails readyz and livez, and can be excluded', async (t) => {
  const cluster = fakeCluster();
  await using api = await startApi({ cluster });
  cluster.checks[0] = { name: 'store', failure: 'disk full' };
  const failed = await api.call('GET', '/readyz');
  t.is(failed.status, 500);
  t.regex(failed.text, /\[-\]store failed: disk full\n/);
  t.regex(failed.text, /readyz check failed/);
  t.is((await api.call('GET', '/readyz?exclude=store')).status, 200);
  t.is((await api.call('GET', '/readyz/store')).status, 500);
});

test('a watcher that does not read is not fed without end, and others go on', async (t) => {
  const cluster = fakeCluster();
  await using api = await startApi({ cluster });
  const stuck = await new Promise<IncomingMessage>((resolve) =>
    httpRequest({ socketPath: api.socket, path: `${maps}?watch=1`, agent: false }, resolve).end(),
  );
  stuck.pause();
  const held = (): number => {
    collectGarbage();
    return process.memoryUsage().arrayBuffers;
  };
  const before = held();
  const data = { a: 'x'.repeat(500_000) };
  for (let index = 0; index < 400; index++) {
    cluster.seed(resources.configMaps, { metadata: { name: 'big', namespace: 'default' }, data });
    await new Promise((resolve) => setImmediate(resolve));
  }
  // 200 MB of events; what waits for this client stays near one write.
  t.true(held() - before < 60_000_000);
  t.is((await api.call('GET', `${maps}/big`)).status, 200);
  stuck.destroy();
});

test('stopping ends watches with an end of stream, and lets go of port and socket', async (t) => {
  const cluster = fakeCluster();
  const api = await startApi({ cluster });
  const watch = await new Promise<IncomingMessage>((resolve) =>
    httpRequest({ socketPath: api.socket, path: `${maps}?watch=1`, agent: false }, resolve).end(),
  );
  const ended = new Promise<void>((resolve, reject) => watch.once('end', resolve).once('error', reject).resume());
  const stopped = api[Symbol.asyncDispose]();
  await ended;
  await stopped;
  await t.throwsAsync(api.call('GET', '/readyz'), { code: 'ENOENT' });
});
