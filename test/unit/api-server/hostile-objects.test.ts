/**
 * Bad manifests and bad changes against the whole stack: each is answered by a Status with the right code, nothing of it
 * is stored, and another client's reads, writes and watch go on meanwhile. (Bad requests: hostile-requests.test.ts.)
 */
import anyTest, { type TestFn } from 'ava';
import { openWatch, startApi, type Api, type Reply } from './api-harness.ts';

interface Bystander {
  readonly writes: number;
  readonly seen: readonly string[];
  readonly failures: readonly string[];
}
const test = anyTest as TestFn<{ api: Api; stop: () => Promise<Bystander> }>;

const maps = '/api/v1/namespaces/default/configmaps';
const deployments = '/apis/apps/v1/namespaces/default/deployments';
const revisions = '/apis/apps/v1/namespaces/default/controllerrevisions';
const types = {
  json: 'application/json-patch+json',
  merge: 'application/merge-patch+json',
  strategic: 'application/strategic-merge-patch+json',
  apply: 'application/apply-patch+yaml',
} as const;
const typed = (type: keyof typeof types) => ({ 'content-type': types[type] });

const deployment = (name: string, spec: object = {}): object => ({
  apiVersion: 'apps/v1',
  kind: 'Deployment',
  metadata: { name },
  spec: {
    selector: { matchLabels: { app: name } },
    template: { metadata: { labels: { app: name } }, spec: { containers: [{ name: 'c', image: 'host' }] } },
    ...spec,
  },
});

const fixtures: readonly [path: string, object: object][] = [
  [deployments, deployment('d')],
  [maps, { metadata: { name: 'target' }, data: { a: 'b' } }],
  [maps, { metadata: { name: 'sealed' }, data: { a: 'b' }, immutable: true }],
  ['/api/v1/namespaces/default/secrets', { metadata: { name: 's' }, type: 'Opaque' }],
  ['/api/v1/namespaces/default/services', { metadata: { name: 'svc' }, spec: { ports: [{ port: 80 }] } }],
  [
    '/api/v1/namespaces/default/pods',
    { metadata: { name: 'p' }, spec: { containers: [{ name: 'c', image: 'host' }] } },
  ],
  [
    '/apis/batch/v1/namespaces/default/jobs',
    {
      metadata: { name: 'j' },
      spec: { template: { spec: { restartPolicy: 'Never', containers: [{ name: 'c', image: 'host' }] } } },
    },
  ],
  ['/apis/storage.k8s.io/v1/storageclasses', { metadata: { name: 'fast' }, provisioner: 'example.com/a' }],
  ['/apis/scheduling.k8s.io/v1/priorityclasses', { metadata: { name: 'high' }, value: 1 }],
  [
    '/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings',
    { metadata: { name: 'rb' }, roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'Role', name: 'r' } },
  ],
];

test.before(async (t) => {
  const api = await startApi();
  for (const [path, object] of fixtures) {
    const made = await api.call('POST', path, object);
    if (made.status !== 201) throw new Error(made.text);
  }
  await api.call('POST', maps, { metadata: { name: 'bystander' }, data: { n: '0' } });
  const watch = await openWatch(api.socket, `${maps}?watch=1&fieldSelector=metadata.name%3Dbystander`);
  const facts = { writes: 0, seen: [] as string[], failures: [] as string[] };
  let isStopping = false;
  const writing = (async () => {
    while (!isStopping) {
      const body = { data: { n: String(facts.writes + 1) } };
      const reply = await api.call('PATCH', `${maps}/bystander`, body, typed('merge')).catch(String);
      if (typeof reply === 'string' || reply.status !== 200)
        facts.failures.push(typeof reply === 'string' ? reply : reply.text);
      else facts.writes++;
    }
  })();
  const watching = (async () => {
    for (;;) {
      const event = await watch.next();
      if (event === undefined) break;
      if (event.type === 'ERROR') facts.failures.push(JSON.stringify(event));
      facts.seen.push(event.object.data?.n);
      if (event.object.data?.n === 'last') break;
    }
  })();
  t.context = {
    api,
    async stop() {
      isStopping = true;
      await writing;
      await api.call('PATCH', `${maps}/bystander`, { data: { n: 'last' } }, typed('merge'));
      await watching;
      watch.close();
      return facts;
    },
  };
});

test.after.always(async (t) => {
  const { writes, seen, failures } = await t.context.stop();
  await t.context.api[Symbol.asyncDispose]();
  const expected = [...Array.from({ length: writes + 1 }, (_, index) => String(index)), 'last'];
  if (failures.length > 0 || writes === 0 || seen.join() !== expected.join())
    throw new Error(`the bystander was harmed: ${JSON.stringify({ writes, failures, seen: seen.length })}`);
});

function fault(reply: Reply, code: number, reason: string): string | undefined {
  const status = reply.json;
  if (reply.status !== code) return `HTTP ${reply.status} instead of ${code}: ${reply.text.slice(0, 300)}`;
  const isWhole = status?.kind === 'Status' && status.apiVersion === 'v1' && status.status === 'Failure';
  if (!isWhole || status.code !== code || status.reason !== reason || !status.message)
    return `not the right Status: ${reply.text.slice(0, 300)}`;
  return undefined;
}

const reasons: Readonly<Record<number, string>> = {
  400: 'BadRequest',
  409: 'Conflict',
  413: 'RequestEntityTooLarge',
  422: 'Invalid',
};

interface Case {
  readonly name: string;
  readonly method?: string;
  readonly path: string;
  readonly body: unknown;
  readonly headers?: Record<string, string>;
  readonly code: number;
  /** In the message. */
  readonly says: RegExp;
}

const nested = (levels: number): string => '{"a":'.repeat(levels) + '1' + '}'.repeat(levels);
const raw = (name: string, data: string): string => `{"metadata":{"name":"${name}"},"revision":1,"data":${data}}`;
const patch = (
  kind: keyof typeof types,
  path: string,
  body: unknown,
  code: number,
  says: RegExp,
  name = `${kind} ${path.split('/').slice(-2).join('/')} ${JSON.stringify(body).slice(0, 60)}`,
): Case => {
  const query = kind === 'apply' ? '?fieldManager=x&force=true' : '';
  return { name, method: 'PATCH', path: `${path}${query}`, body, headers: typed(kind), code, says };
};

/** One change of one field in each of the ways that there are. */
function changes(path: string, field: string, value: unknown, says: RegExp, code = 422): readonly Case[] {
  const keys = field.split('.');
  const body = keys.reduceRight<unknown>((inner, key) => ({ [key]: inner }), value);
  return [
    patch('json', path, [{ op: 'replace', path: `/${keys.join('/')}`, value }], code, says),
    patch('merge', path, body, code, says),
    patch('strategic', path, body, code, says),
    patch('apply', path, body, code, says),
  ];
}

const immutable = /field is immutable|may not|immutable|forbidden|cannot change/i;

const cases: readonly Case[] = [
  // Malformed
  {
    name: 'an object cut short',
    path: deployments,
    body: JSON.stringify(deployment('x')).slice(0, -5),
    code: 400,
    says: /json parse error/,
  },
  {
    name: 'replicas that are a word',
    path: deployments,
    body: deployment('x', { replicas: 'two' }),
    code: 400,
    says: /spec\.replicas/,
  },
  {
    name: 'replicas beyond all numbers',
    path: deployments,
    body: deployment('x', { replicas: 1e30 }),
    code: 400,
    says: /spec\.replicas/,
  },
  {
    name: 'a quantity that is none',
    path: deployments,
    body: deployment('x', {
      template: {
        metadata: { labels: { app: 'x' } },
        spec: { containers: [{ name: 'c', image: 'i', resources: { limits: { cpu: 'much' } } }] },
      },
    }),
    code: 400,
    says: /quantit/,
  },
  {
    name: 'containers that are an object',
    path: '/api/v1/namespaces/default/pods',
    body: { metadata: { name: 'x' }, spec: { containers: {} } },
    code: 400,
    says: /spec\.containers/,
  },
  // Too large, too deep
  {
    name: 'a manifest of 3 MiB and a byte',
    path: revisions,
    body: raw('big', '{}').padEnd(3 * 1024 * 1024 + 1),
    code: 413,
    says: /limit is 3145728/,
  },
  {
    name: 'an object that would grow beyond 3 MiB',
    path: revisions,
    body: raw('big', JSON.stringify({ x: 'x'.repeat(3 * 1024 * 1024 - 100) })),
    code: 413,
    says: /limit is 3145728/,
  },
  {
    name: 'a ConfigMap of more than 1 MiB',
    path: maps,
    body: { metadata: { name: 'big' }, data: { a: 'x'.repeat(1024 * 1024 + 1) } },
    code: 422,
    says: /may not be more than 1048576 bytes/,
  },
  {
    name: 'annotations of more than 256 KiB',
    path: maps,
    body: { metadata: { name: 'big', annotations: { a: 'x'.repeat(256 * 1024) } } },
    code: 422,
    says: /may not be more than 262144 bytes/,
  },
  {
    name: 'an object deeper than can be kept',
    path: revisions,
    body: raw('deep', nested(300)),
    code: 400,
    says: /levels|deep/,
  },
  {
    name: 'an object deeper than anything',
    path: revisions,
    body: raw('deep', nested(100_000)),
    code: 400,
    says: /levels|deep/,
  },
  patch('merge', `${maps}/target`, JSON.parse(nested(400)), 400, /levels|deep/),
  patch('apply', `${revisions}/deep`, { data: JSON.parse(nested(400)) }, 400, /levels|deep/),
  {
    name: 'apply with a YAML bomb',
    method: 'PATCH',
    path: `${maps}/bomb?fieldManager=x`,
    body: [
      'a: &a [x,x,x,x,x,x,x,x,x]',
      ...'bcdefghi'
        .split('')
        .map((key, index) => `${key}: &${key} [${Array(9).fill(`*${'abcdefghi'[index]}`).join(',')}]`),
    ].join('\n'),
    headers: typed('apply'),
    code: 400,
    says: /alias/i,
  },
  // Wrong kind, unknown fields, invalid names
  {
    name: 'a Pod to Deployments',
    path: deployments,
    body: { ...deployment('x'), kind: 'Pod' },
    code: 400,
    says: /Pod/,
  },
  {
    name: 'an old version',
    path: deployments,
    body: { ...deployment('x'), apiVersion: 'apps/v1beta1' },
    code: 400,
    says: /apps\/v1beta1/,
  },
  patch('apply', `${deployments}/d`, { ...deployment('d'), kind: 'ReplicaSet' }, 400, /ReplicaSet/),
  patch('merge', `${deployments}/d`, { kind: 'ReplicaSet' }, 400, /ReplicaSet/),
  patch('json', `${deployments}/d`, [{ op: 'replace', path: '/apiVersion', value: 'v1' }], 400, /v1/),
  {
    name: 'an unknown field, strict',
    path: `${deployments}?fieldValidation=Strict`,
    body: deployment('x', { replica: 1 }),
    code: 400,
    says: /strict decoding error: unknown field "spec\.replica"/,
  },
  {
    ...patch('merge', `${deployments}/d`, { spec: { replica: 1 } }, 400, /unknown field "spec\.replica"/),
    path: `${deployments}/d?fieldValidation=Strict`,
  },
  ...['UPPER', 'a_b', '-a', 'a..b', 'ä', ' ', 'a'.repeat(254), '__proto__'].map((name): Case => ({
    name: `the name ${JSON.stringify(name).slice(0, 20)}`,
    path: deployments,
    body: deployment(name, {
      selector: { matchLabels: { app: 'x' } },
      template: { metadata: { labels: { app: 'x' } }, spec: { containers: [{ name: 'c', image: 'i' }] } },
    }),
    code: 422,
    says: /metadata\.name: Invalid value/,
  })),
  {
    name: 'a Service named like a domain',
    path: '/api/v1/namespaces/default/services',
    body: { metadata: { name: 'a.b' }, spec: { ports: [{ port: 80 }] } },
    code: 422,
    says: /metadata\.name/,
  },
  {
    name: 'a label that is none',
    path: maps,
    body: { metadata: { name: 'x', labels: { 'a b': 'c' } } },
    code: 422,
    says: /metadata\.labels/,
  },
  // What may not change
  ...changes(`${deployments}/d`, 'spec.selector', { matchLabels: { app: 'other' } }, /selector/),
  ...changes(`${maps}/sealed`, 'data.a', 'changed', immutable),
  ...changes(`${maps}/sealed`, 'immutable', false, immutable),
  ...changes('/api/v1/namespaces/default/secrets/s', 'type', 'other', immutable),
  ...changes('/api/v1/namespaces/default/services/svc', 'spec.clusterIP', '10.96.77.77', /first value must match/),
  ...changes('/api/v1/namespaces/default/pods/p', 'spec.nodeName', 'n', immutable).slice(1, 2),
  ...changes('/api/v1/namespaces/default/pods/p', 'spec.restartPolicy', 'Never', immutable),
  ...changes('/apis/batch/v1/namespaces/default/jobs/j', 'spec.completionMode', 'Indexed', immutable),
  ...changes('/apis/storage.k8s.io/v1/storageclasses/fast', 'provisioner', 'example.com/b', immutable),
  ...changes('/apis/scheduling.k8s.io/v1/priorityclasses/high', 'value', 2, immutable),
  ...changes(
    '/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings/rb',
    'roleRef',
    { apiGroup: 'rbac.authorization.k8s.io', kind: 'Role', name: 'q' },
    /cannot change roleRef/,
  ),
  {
    name: 'another selector by PUT',
    method: 'PUT',
    path: `${deployments}/d`,
    body: deployment('d', {
      selector: { matchLabels: { app: 'other' } },
      template: { metadata: { labels: { app: 'other' } }, spec: { containers: [{ name: 'c', image: 'i' }] } },
    }),
    code: 422,
    says: /spec\.selector.*immutable/,
  },
  // Stale
  ...changes(`${maps}/target`, 'metadata.resourceVersion', '1', /the object has been modified/, 409),
  ...changes(`${maps}/target`, 'metadata.uid', 'other', /UID/, 409),
  {
    name: 'a stale revision by PUT',
    method: 'PUT',
    path: `${maps}/target`,
    body: { metadata: { name: 'target', resourceVersion: '1' } },
    code: 409,
    says: /the object has been modified/,
  },
  {
    name: 'a revision of a new object',
    path: maps,
    body: { metadata: { name: 'x', resourceVersion: '1' } },
    code: 400,
    says: /resourceVersion should not be set/,
  },
  ...changes(`${maps}/target`, 'metadata.name', 'other', /does not match the name on the URL/, 400),
  ...changes(`${maps}/target`, 'metadata.namespace', 'kube-system', /does not match the namespace/, 400),
  // Patches
  patch(
    'json',
    `${maps}/target`,
    Array.from({ length: 10_001 }, () => ({ op: 'test', path: '/data/a', value: 'b' })),
    413,
    /10000, got 10001/,
    '10,001 operations',
  ),
  patch('json', `${maps}/target`, [{ op: 'test', path: '/data/a', value: 'c' }], 422, /testing value/),
  patch('json', `${maps}/target`, [{ op: 'remove', path: '' }], 422, /leaves no object/),
  patch(
    'json',
    `${maps}/target`,
    [{ op: 'add', path: '/constructor/prototype/polluted', value: 1 }],
    422,
    /does not exist/,
  ),
  patch(
    'json',
    `${maps}/target`,
    Array.from({ length: 60 }, (_, index) => ({ op: 'copy', from: '', path: `/x${index}` })),
    413,
    /copies more than/,
    'a copy bomb',
  ),
  patch(
    'strategic',
    `${deployments}/d`,
    { spec: { template: { spec: { containers: [{ image: 'no name' }] } } } },
    422,
    /name/,
  ),
  patch('strategic', `${deployments}/d`, { spec: { template: { $patch: 'explode' } } }, 400, /\$patch|patch type/i),
  patch(
    'apply',
    `${deployments}/d`,
    { spec: { template: { spec: { containers: [{ image: 'no name' }] } } } },
    400,
    /name/,
  ),
];

for (const { name, method = 'POST', path, body, headers, code, says } of cases) {
  test(name, async (t) => {
    const { api } = t.context;
    const own = path.split('?')[0]!;
    const before = method === 'POST' ? undefined : await api.call('GET', own);
    const reply = await api.call(method, path, body, headers);
    t.is(fault(reply, code, reasons[code]!), undefined);
    t.regex(reply.json.message, says);
    t.true(reply.text.length < 20_000, `an answer of ${reply.text.length} bytes`);
    if (before !== undefined) t.is((await api.call('GET', own)).text, before.text, 'nothing was changed');
  });
}

test('just small enough', async (t) => {
  const { api } = t.context;
  for (const [name, bytes] of [
    ['one-less', 3 * 1024 * 1024 - 1],
    ['exact', 3 * 1024 * 1024],
  ] as const) {
    const reply = await api.call('POST', revisions, raw(name, '{}').padEnd(bytes));
    t.is(reply.status, 201, reply.text.slice(0, 300));
  }
  const deep = await api.call('POST', revisions, raw('deep-enough', nested(200)));
  t.is(deep.status, 201, deep.text.slice(0, 300));
  const operations = Array.from({ length: 10_000 }, () => ({ op: 'test', path: '/metadata/name', value: 'target' }));
  t.is((await api.call('PATCH', `${maps}/target`, operations, typed('json'))).status, 200);
});

test('__proto__ and its friends are data in each kind of patch', async (t) => {
  const { api } = t.context;
  await api.call('POST', maps, { metadata: { name: 'proto' } });
  const body = (value: string): string =>
    `{"data":{"__proto__":"${value}","constructor":"${value}","toString":"${value}"},"__proto__":{"polluted":"1"}}`;
  const applied = `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"proto"},"data":{"__proto__":"apply","constructor":"apply","toString":"apply"}}`;
  const json = ['__proto__', 'constructor', 'toString'].map((key) => ({
    op: 'add',
    path: `/data/${key}`,
    value: 'json',
  }));
  const patches: [keyof typeof types, unknown][] = [
    ['merge', body('merge')],
    ['strategic', body('strategic')],
    ['json', json],
    ['apply', applied],
  ];
  for (const [kind, document] of patches) {
    const query = kind === 'apply' ? '?fieldManager=x&force=true' : '';
    const reply = await api.call('PATCH', `${maps}/proto${query}`, document, typed(kind));
    t.is(reply.status, 200, reply.text);
    const got = (await api.call('GET', `${maps}/proto`)).text;
    t.true(got.includes(`"data":{"__proto__":"${kind}","constructor":"${kind}","toString":"${kind}"}`), got);
    t.false(got.includes('polluted'));
  }
  const removal = '{"data":{"__proto__":null}}';
  t.false((await api.call('PATCH', `${maps}/proto`, removal, typed('merge'))).text.includes('"data":{"__proto__"'));
  t.is(({} as Record<string, unknown>)['polluted'], undefined);
  t.deepEqual(Object.keys(Object.prototype), []);
});
