/** Bad requests, each answered by a valid Status with the right code, while a bystander's requests go on working. */
import { connect } from 'node:net';
import { gzipSync } from 'node:zlib';
import anyTest, { type TestFn } from 'ava';
import { startApi, type Api, type Reply } from './api-harness.ts';

const test = anyTest as TestFn<{
  api: Api;
  hasty: Api;
  bystander: { stop: () => Promise<{ calls: number; failures: number }> };
}>;

test.before(async (t) => {
  const api = await startApi();
  // For what never ends, since the large bodies of the others may take long on a busy machine.
  const hasty = await startApi({ config: { bodyTimeoutSeconds: 5, headersTimeoutSeconds: 5 } });
  await api.call('POST', '/api/v1/namespaces/default/configmaps', { metadata: { name: 'bystander' } });
  let isStopping = false;
  const facts = { calls: 0, failures: 0 };
  const running = (async () => {
    while (!isStopping) {
      const reply = await api.call('GET', '/api/v1/namespaces/default/configmaps/bystander').catch(() => undefined);
      facts.calls++;
      if (reply?.status !== 200) facts.failures++;
    }
  })();
  t.context = {
    api,
    hasty,
    bystander: {
      async stop() {
        isStopping = true;
        await running;
        return facts;
      },
    },
  };
});

test.after.always(async (t) => {
  const facts = await t.context.bystander.stop();
  await t.context.api[Symbol.asyncDispose]();
  await t.context.hasty[Symbol.asyncDispose]();
  if (facts.failures > 0 || facts.calls === 0) throw new Error(`the bystander was harmed: ${JSON.stringify(facts)}`);
});

function isStatus(reply: Reply, code: number): string | undefined {
  const status = reply.json;
  if (reply.status !== code) return `HTTP ${reply.status} instead of ${code}: ${reply.text.slice(0, 300)}`;
  if (status?.kind !== 'Status' || status.apiVersion !== 'v1') return `no Status: ${reply.text.slice(0, 300)}`;
  if (
    status.status !== 'Failure' ||
    status.code !== code ||
    typeof status.reason !== 'string' ||
    typeof status.message !== 'string' ||
    status.message === ''
  )
    return `an incomplete Status: ${reply.text.slice(0, 300)}`;
  return undefined;
}

const maps = '/api/v1/namespaces/default/configmaps';
const named = (name: string): string => JSON.stringify({ metadata: { name } });
const sized = (bytes: number): string => {
  const empty = JSON.stringify({ metadata: { name: 'big' }, data: { a: '' } });
  return JSON.stringify({ metadata: { name: 'big' }, data: { a: 'x'.repeat(bytes - empty.length) } });
};
const yaml = { 'content-type': 'application/yaml' };
const bomb = [
  'a: &a ["x","x","x","x","x","x","x","x","x"]',
  ...'bcdefghi'.split('').map((key, index) => `${key}: &${key} [${Array(9).fill(`*${'abcdefghi'[index]}`).join(',')}]`),
].join('\n');

interface Case {
  readonly name: string;
  readonly method?: string;
  readonly path?: string;
  readonly body?: string | Buffer;
  readonly headers?: Record<string, string>;
  readonly code: number;
}

const cases: readonly Case[] = [
  // Bodies
  { name: 'empty body', body: '', code: 400 },
  { name: 'truncated JSON', body: '{"metadata":{"name":"x"', code: 400 },
  { name: 'JSON with a trailing comma', body: '{"metadata":{"name":"x"},}', code: 400 },
  { name: 'two JSON documents', body: '{"metadata":{"name":"x"}}{"a":1}', code: 400 },
  { name: 'JSON null', body: 'null', code: 400 },
  { name: 'JSON array', body: '[]', code: 400 },
  { name: 'JSON string', body: '"x"', code: 400 },
  { name: 'NaN', body: '{"metadata":{"name":"x"},"data":{"a":NaN}}', code: 400 },
  {
    name: 'bad UTF-8',
    body: Buffer.concat([
      Buffer.from('{"metadata":{"name":"x","annotations":{"a":"'),
      Buffer.from([0xff, 0xfe]),
      Buffer.from('"}}}'),
    ]),
    code: 400,
  },
  { name: 'NUL bytes', body: Buffer.alloc(64), code: 400 },
  {
    name: 'deep arrays',
    body: `{"metadata":{"name":"x"},"data":${'['.repeat(100_000)}${']'.repeat(100_000)}}`,
    code: 400,
  },
  { name: 'deep objects', body: '{"a":'.repeat(50_000) + '1' + '}'.repeat(50_000), code: 400 },
  { name: 'deep and never closed', body: '['.repeat(3_000_000), code: 400 },
  {
    name: 'duplicate key, strict',
    path: `${maps}?fieldValidation=Strict`,
    body: '{"metadata":{"name":"x","name":"y"}}',
    code: 400,
  },
  {
    name: 'duplicate key by escape, strict',
    path: `${maps}?fieldValidation=Strict`,
    body: '{"metadata":{"name":"x","n\\u0061me":"y"}}',
    code: 400,
  },
  {
    name: 'unknown field, strict',
    path: `${maps}?fieldValidation=Strict`,
    body: '{"metadata":{"name":"x"},"nope":1}',
    code: 400,
  },
  { name: 'wrong kind', body: '{"kind":"Pod","metadata":{"name":"x"}}', code: 400 },
  { name: 'wrong apiVersion', body: '{"apiVersion":"apps/v1","metadata":{"name":"x"}}', code: 400 },
  { name: 'kind that is no string', body: '{"kind":{},"metadata":{"name":"x"}}', code: 400 },
  { name: 'metadata that is a list', body: '{"metadata":[]}', code: 400 },
  { name: 'metadata that is a string', body: '{"metadata":"x"}', code: 400 },
  { name: 'name that is a number', body: '{"metadata":{"name":1}}', code: 400 },
  { name: 'other namespace than the path', body: '{"metadata":{"name":"x","namespace":"kube-system"}}', code: 400 },
  { name: 'other name than the path', method: 'PUT', path: `${maps}/a`, body: named('b'), code: 400 },
  { name: 'no name in a PUT', method: 'PUT', path: `${maps}/a`, body: '{"metadata":{}}', code: 400 },
  { name: 'no name at all', body: '{"metadata":{}}', code: 422 },
  { name: 'invalid name', body: named('UPPER_case'), code: 422 },
  { name: 'name with a slash', body: named('a/b'), code: 422 },
  { name: 'name of 254 characters', body: named('a'.repeat(254)), code: 422 },
  { name: 'name with a NUL', body: named('a\0b'), code: 422 },
  { name: 'data of a wrong type', body: '{"metadata":{"name":"x"},"data":[1]}', code: 400 },
  { name: 'value of a wrong type', body: '{"metadata":{"name":"x"},"data":{"a":1}}', code: 400 },
  { name: '3 MiB and one byte', body: sized(3 * 1024 * 1024 + 1), code: 413 },
  { name: '10 MiB', body: sized(10 * 1024 * 1024), code: 413 },
  { name: 'gzip bomb', body: gzipSync(Buffer.alloc(50_000_000)), headers: { 'content-encoding': 'gzip' }, code: 415 },
  { name: 'unknown content-encoding', body: '{}', headers: { 'content-encoding': 'x' }, code: 415 },
  { name: 'content type text/plain', body: named('x'), headers: { 'content-type': 'text/plain' }, code: 415 },
  {
    name: 'content type of a form',
    body: 'a=b',
    headers: { 'content-type': 'application/x-www-form-urlencoded' },
    code: 415,
  },
  {
    name: 'CBOR',
    body: Buffer.from([0xd9, 0xd9, 0xf7, 0xa0]),
    headers: { 'content-type': 'application/cbor' },
    code: 415,
  },
  {
    name: 'protobuf without its magic',
    body: 'hello',
    headers: { 'content-type': 'application/vnd.kubernetes.protobuf' },
    code: 400,
  },
  {
    name: 'protobuf with junk after its magic',
    body: Buffer.from('k8s\0\xff\xff\xff\xff\xff', 'latin1'),
    headers: { 'content-type': 'application/vnd.kubernetes.protobuf' },
    code: 400,
  },
  {
    name: 'empty protobuf',
    body: Buffer.from('k8s\0', 'latin1'),
    headers: { 'content-type': 'application/vnd.kubernetes.protobuf' },
    code: 400,
  },
  // YAML
  { name: 'YAML bomb', body: bomb, headers: yaml, code: 400 },
  { name: 'YAML that is no YAML', body: 'a: [', headers: yaml, code: 400 },
  { name: 'YAML with tabs', body: 'metadata:\n\tname: x', headers: yaml, code: 400 },
  {
    name: 'YAML with a code tag',
    body: 'metadata: {name: x}\ndata: {a: !!js/function "function(){}"}',
    headers: yaml,
    code: 400,
  },
  { name: 'YAML with two documents', body: 'metadata: {name: x}\n---\nmetadata: {name: y}', headers: yaml, code: 400 },
  { name: 'YAML scalar', body: 'hello', headers: yaml, code: 400 },
  { name: 'deep YAML', body: '['.repeat(20_000), headers: yaml, code: 400 },
  {
    name: 'YAML with a key twice, strict',
    path: `${maps}?fieldValidation=Strict`,
    body: 'metadata: {name: x}\ndata: {a: b, a: c}',
    headers: yaml,
    code: 400,
  },
  { name: 'YAML alias to itself', body: 'metadata: &m {name: x, annotations: *m}', headers: yaml, code: 400 },
  { name: 'large hostile YAML', body: '['.repeat(300_000), headers: yaml, code: 400 },
  { name: 'large YAML of dashes', body: '- '.repeat(150_000), headers: yaml, code: 400 },
  { name: 'shallow YAML with a deep tail', body: `a: ${'['.repeat(600)}${']'.repeat(600)}`, headers: yaml, code: 400 },
  // Paths
  { name: 'unknown path', method: 'GET', path: '/nope', code: 404 },
  { name: 'unknown group', method: 'GET', path: '/apis/nope.example/v1/things', code: 404 },
  { name: 'unknown resource', method: 'GET', path: '/api/v1/nopes', code: 404 },
  { name: 'unknown subresource', method: 'GET', path: `${maps}/a/nope`, code: 404 },
  { name: 'too long a path', method: 'GET', path: `${maps}/a/status/more`, code: 404 },
  { name: 'namespaced object without its namespace', method: 'GET', path: '/api/v1/configmaps/a', code: 404 },
  {
    name: 'cluster-scoped resource in a namespace',
    method: 'GET',
    path: '/api/v1/namespaces/default/nodes',
    code: 404,
  },
  { name: 'dot dot', method: 'GET', path: '/api/v1/namespaces/default/configmaps/..', code: 400 },
  { name: 'dot dot in the middle', method: 'GET', path: '/api/v1/namespaces/../secrets', code: 400 },
  { name: 'encoded dot dot', method: 'GET', path: '/api/v1/namespaces/%2e%2e/secrets', code: 400 },
  { name: 'encoded slash', method: 'GET', path: '/api/v1/namespaces/default%2Fsecrets', code: 400 },
  { name: 'encoded backslash', method: 'GET', path: `${maps}/a%5Cb`, code: 400 },
  { name: 'encoded NUL', method: 'GET', path: `${maps}/a%00b`, code: 400 },
  { name: 'encoded newline', method: 'GET', path: `${maps}/a%0d%0aSet-Cookie:x`, code: 400 },
  { name: 'broken percent', method: 'GET', path: `${maps}/%zz`, code: 400 },
  { name: 'bad UTF-8 in a path', method: 'GET', path: `${maps}/%ff`, code: 400 },
  { name: 'empty segment', method: 'GET', path: '/api/v1//configmaps', code: 404 },
  { name: 'empty namespace', method: 'GET', path: '/api/v1/namespaces//configmaps', code: 404 },
  { name: 'prototype as a resource', method: 'GET', path: '/api/v1/__proto__', code: 404 },
  { name: 'constructor as a group', method: 'GET', path: '/apis/constructor', code: 404 },
  { name: 'unknown OpenAPI group', method: 'GET', path: '/openapi/v3/apis/nope/v1', code: 404 },
  {
    name: 'OpenAPI v2 as JSON',
    method: 'GET',
    path: '/openapi/v2',
    headers: { accept: 'application/json' },
    code: 406,
  },
  { name: 'OpenAPI v2 below v3', method: 'GET', path: '/openapi/v3/v2', code: 404 },
  { name: 'OpenAPI of no version', method: 'GET', path: '/openapi/v4', code: 404 },
  // Verbs
  { name: 'OPTIONS', method: 'OPTIONS', path: maps, code: 405 },
  { name: 'HEAD on a collection is no verb; TRACE neither', method: 'TRACE', path: maps, code: 405 },
  { name: 'PROPFIND', method: 'PROPFIND', path: maps, code: 405 },
  { name: 'POST on an object', path: `${maps}/a`, body: named('a'), code: 405 },
  { name: 'PUT on a collection', method: 'PUT', path: maps, body: named('a'), code: 405 },
  {
    name: 'PATCH on a collection',
    method: 'PATCH',
    path: maps,
    body: '{}',
    headers: { 'content-type': 'application/merge-patch+json' },
    code: 405,
  },
  { name: 'create without a namespace', path: '/api/v1/configmaps', body: named('a'), code: 405 },
  { name: 'delete of everything', method: 'DELETE', path: '/api/v1/configmaps', code: 405 },
  { name: 'DELETE of a health check', method: 'DELETE', path: '/readyz', code: 405 },
  { name: 'POST to discovery', path: '/apis', body: '{}', code: 405 },
  { name: 'list of reviews', method: 'GET', path: '/apis/authorization.k8s.io/v1/subjectaccessreviews', code: 405 },
  // Query parameters
  { name: 'limit that is no number', method: 'GET', path: `${maps}?limit=abc`, code: 400 },
  { name: 'limit beyond all numbers', method: 'GET', path: `${maps}?limit=99999999999999999999`, code: 400 },
  { name: 'resourceVersion that is no number', method: 'GET', path: `${maps}?resourceVersion=abc`, code: 400 },
  { name: 'negative resourceVersion', method: 'GET', path: `${maps}?resourceVersion=-1`, code: 400 },
  {
    name: 'watch from a resourceVersion that is no number',
    method: 'GET',
    path: `${maps}?watch=1&resourceVersion=x`,
    code: 400,
  },
  { name: 'continue token that is junk', method: 'GET', path: `${maps}?continue=junk`, code: 400 },
  {
    name: 'resourceVersionMatch without a resourceVersion',
    method: 'GET',
    path: `${maps}?resourceVersionMatch=Exact`,
    code: 422,
  },
  {
    name: 'unknown resourceVersionMatch',
    method: 'GET',
    path: `${maps}?resourceVersion=1&resourceVersionMatch=Maybe`,
    code: 422,
  },
  { name: 'sendInitialEvents on a list', method: 'GET', path: `${maps}?sendInitialEvents=true`, code: 422 },
  {
    name: 'sendInitialEvents without a match',
    method: 'GET',
    path: `${maps}?watch=1&sendInitialEvents=true`,
    code: 422,
  },
  { name: 'label selector that is none', method: 'GET', path: `${maps}?labelSelector=a%3D%3D%3Db,,`, code: 400 },
  { name: 'label selector in a watch', method: 'GET', path: `${maps}?watch=1&labelSelector=%21%21`, code: 400 },
  { name: 'field selector that is not supported', method: 'GET', path: `${maps}?fieldSelector=data.a%3Db`, code: 400 },
  { name: 'unknown dryRun', path: `${maps}?dryRun=Some`, body: named('x'), code: 422 },
  { name: 'unknown fieldValidation', path: `${maps}?fieldValidation=Perhaps`, body: named('x'), code: 422 },
  { name: 'fieldManager too long', path: `${maps}?fieldManager=${'m'.repeat(129)}`, body: named('x'), code: 422 },
  { name: 'fieldManager with a control character', path: `${maps}?fieldManager=a%07b`, body: named('x'), code: 422 },
  {
    name: 'unknown includeObject',
    method: 'GET',
    path: `${maps}?includeObject=Some`,
    headers: { accept: 'application/json;as=Table;v=v1;g=meta.k8s.io' },
    code: 400,
  },
  { name: 'unknown propagationPolicy', method: 'DELETE', path: `${maps}/bystander?propagationPolicy=Never`, code: 422 },
  {
    name: 'grace period that is no number',
    method: 'DELETE',
    path: `${maps}/bystander?gracePeriodSeconds=x`,
    code: 400,
  },
  {
    name: 'delete with a body of another kind',
    method: 'DELETE',
    path: `${maps}/bystander`,
    body: '{"kind":"Pod"}',
    code: 400,
  },
  { name: 'delete with a body that is a list', method: 'DELETE', path: `${maps}/bystander`, body: '[]', code: 400 },
  {
    name: 'delete with a wrong uid',
    method: 'DELETE',
    path: `${maps}/bystander`,
    body: '{"preconditions":{"uid":"nope"}}',
    code: 409,
  },
  // Patches
  {
    name: 'patch of an unknown type',
    method: 'PATCH',
    path: `${maps}/bystander`,
    body: '{}',
    headers: { 'content-type': 'application/json' },
    code: 415,
  },
  {
    name: 'JSON patch that is an object',
    method: 'PATCH',
    path: `${maps}/bystander`,
    body: '{}',
    headers: { 'content-type': 'application/json-patch+json' },
    code: 400,
  },
  {
    name: 'merge patch that is a list',
    method: 'PATCH',
    path: `${maps}/bystander`,
    body: '[]',
    headers: { 'content-type': 'application/merge-patch+json' },
    code: 400,
  },
  {
    name: 'malformed merge patch',
    method: 'PATCH',
    path: `${maps}/bystander`,
    body: '{',
    headers: { 'content-type': 'application/merge-patch+json' },
    code: 400,
  },
  {
    name: 'force on a merge patch',
    method: 'PATCH',
    path: `${maps}/bystander?force=true`,
    body: '{}',
    headers: { 'content-type': 'application/merge-patch+json' },
    code: 422,
  },
  {
    name: 'apply without a manager',
    method: 'PATCH',
    path: `${maps}/bystander`,
    body: '{}',
    headers: { 'content-type': 'application/apply-patch+yaml' },
    code: 422,
  },
  {
    name: 'patch of nothing',
    method: 'PATCH',
    path: `${maps}/absent`,
    body: '{}',
    headers: { 'content-type': 'application/merge-patch+json' },
    code: 404,
  },
  {
    name: 'deep patch',
    method: 'PATCH',
    path: `${maps}/bystander`,
    body: '{"a":'.repeat(2000) + '1' + '}'.repeat(2000),
    headers: { 'content-type': 'application/merge-patch+json' },
    code: 400,
  },
  // Answers
  {
    name: 'only protobuf accepted',
    method: 'GET',
    path: maps,
    headers: { accept: 'application/vnd.kubernetes.protobuf' },
    code: 406,
  },
  { name: 'only HTML accepted', method: 'GET', path: maps, headers: { accept: 'text/html' }, code: 406 },
  {
    name: 'unknown transformation only',
    method: 'GET',
    path: maps,
    headers: { accept: 'application/json;as=Chart;v=v1;g=meta.k8s.io' },
    code: 406,
  },
  // Objects
  { name: 'absent object', method: 'GET', path: `${maps}/absent`, code: 404 },
  { name: 'create twice', body: named('bystander'), code: 409 },
  { name: 'create in an absent namespace', path: '/api/v1/namespaces/absent/configmaps', body: named('x'), code: 404 },
  { name: 'update of nothing', method: 'PUT', path: `${maps}/absent`, body: named('absent'), code: 404 },
  {
    name: 'stale resourceVersion',
    method: 'PUT',
    path: `${maps}/bystander`,
    body: JSON.stringify({ metadata: { name: 'bystander', resourceVersion: '1' } }),
    code: 409,
  },
  // Streams
  {
    name: 'exec without an upgrade',
    path: '/api/v1/namespaces/default/pods/p/exec?command=ls&stdout=1',
    body: '',
    code: 400,
  },
  { name: 'DELETE of a log', method: 'DELETE', path: '/api/v1/namespaces/default/pods/p/log', code: 405 },
  { name: 'log of an absent pod', method: 'GET', path: '/api/v1/namespaces/default/pods/absent/log', code: 404 },
  { name: 'log with a bad tail', method: 'GET', path: '/api/v1/namespaces/default/pods/p/log?tailLines=x', code: 400 },
  {
    name: 'log with a negative tail',
    method: 'GET',
    path: '/api/v1/namespaces/default/pods/p/log?tailLines=-1',
    code: 422,
  },
];

for (const { name, method = 'POST', path = maps, body, headers, code } of cases) {
  test(name, async (t) => {
    const reply = await t.context.api.call(method, path, body, headers);
    t.is(isStatus(reply, code), undefined);
  });
}

test('a body of exactly 3 MiB is not too large', async (t) => {
  const body = sized(3 * 1024 * 1024);
  t.is(Buffer.byteLength(body), 3 * 1024 * 1024);
  const reply = await t.context.api.call('POST', maps, body);
  // A ConfigMap itself may hold 1 MiB: refused for what it says, not for its length on the wire.
  t.is(isStatus(reply, 422), undefined);
});

test('a duplicate key is told as a warning by default, and ignored when asked', async (t) => {
  const { api } = t.context;
  const body = '{"metadata":{"name":"twice"},"data":{"a":"1","a":"2"}}';
  const warned = await api.call('POST', `${maps}?dryRun=All`, body);
  t.is(warned.status, 201);
  t.is(warned.json.data.a, '2');
  t.regex(String(warned.headers['warning']), /299 - "duplicate field \\"data\.a\\""/);
  const ignored = await api.call('POST', `${maps}?dryRun=All&fieldValidation=Ignore`, body);
  t.is(ignored.headers['warning'], undefined);
});

test('a large YAML body is parsed beside the other requests', async (t) => {
  const { api } = t.context;
  const lines = Array.from({ length: 8000 }, (_, index) => `  key${index}: "value number ${index}"`);
  const body = `metadata: {name: large}\ndata:\n${lines.join('\n')}\n`;
  t.true(body.length > 200_000);
  let isDone = false;
  let others = 0;
  const large = api.call('POST', `${maps}?dryRun=All`, body, yaml).finally(() => (isDone = true));
  while (!isDone) {
    t.is((await api.call('GET', '/livez')).status, 200);
    others++;
  }
  const reply = await large;
  t.is(reply.status, 201, reply.text.slice(0, 200));
  t.is(Object.keys(reply.json.data).length, 8000);
  t.true(others > 5, `${others} others were served`);
});

test('__proto__ in a body is data or nothing, never a prototype', async (t) => {
  const { api } = t.context;
  await api.call(
    'POST',
    `${maps}?dryRun=All`,
    '{"metadata":{"name":"x","__proto__":{"polluted":"1"}},"__proto__":{"polluted":"1"}}',
  );
  await api.call(
    'PATCH',
    `${maps}/bystander?dryRun=All`,
    '{"__proto__":{"polluted":"1"},"constructor":{"prototype":{"polluted":"1"}}}',
    {
      'content-type': 'application/merge-patch+json',
    },
  );
  t.is(({} as Record<string, unknown>)['polluted'], undefined);
});

function raw(socketPath: string, bytes: string | Buffer, options: { readonly drip?: boolean } = {}): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect({ path: socketPath, allowHalfOpen: true });
    let text = '';
    socket.on('data', (chunk) => (text += String(chunk)));
    socket.once('close', () => {
      clearInterval(timer);
      resolve(text);
    });
    socket.once('end', () => socket.end());
    socket.on('error', (error: NodeJS.ErrnoException) =>
      error.code === 'EPIPE' || error.code === 'ECONNRESET' ? undefined : reject(error),
    );
    socket.write(bytes);
    const timer = setInterval(() => (options.drip === true && socket.writable ? socket.write('x') : undefined), 100);
  });
}

const rawCases: readonly {
  readonly name: string;
  readonly bytes: string | Buffer;
  readonly code: number;
  readonly drip?: boolean;
}[] = [
  { name: 'bytes that are no HTTP', bytes: 'hello there\r\n\r\n', code: 400 },
  { name: 'an unknown method', bytes: 'FROBNICATE /api HTTP/1.1\r\nHost: x\r\n\r\n', code: 400 },
  { name: 'HTTP/1.1 without a Host', bytes: 'GET /api HTTP/1.1\r\nConnection: close\r\n\r\n', code: 400 },
  { name: 'headers without end', bytes: `GET /api HTTP/1.1\r\nHost: x\r\nA: ${'a'.repeat(300_000)}`, code: 400 },
  {
    name: 'two lengths',
    bytes: `POST ${maps} HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello`,
    code: 400,
  },
  {
    name: 'a length and chunks',
    bytes: `POST ${maps} HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
    code: 400,
  },
  { name: 'headers that trickle', bytes: 'GET /api HTTP/1.1\r\nHost: x\r\nA: ', code: 504, drip: true },
  {
    name: 'a body that trickles',
    bytes: `POST ${maps} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{`,
    code: 504,
    drip: true,
  },
  {
    name: 'a body that never comes',
    bytes: `POST ${maps} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n`,
    code: 504,
  },
  {
    name: 'chunks beyond the limit',
    bytes: Buffer.concat([
      Buffer.from(
        `POST ${maps} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n400000\r\n`,
      ),
      Buffer.alloc(0x400000, 'x'),
    ]),
    code: 413,
  },
];

for (const { name, bytes, code, drip } of rawCases) {
  test(`on the wire: ${name}`, async (t) => {
    const { socket } = code === 504 ? t.context.hasty : t.context.api;
    const text = await raw(socket, bytes, { drip: drip === true });
    t.regex(text, new RegExp(`^HTTP/1.1 ${code} `), text.slice(0, 200));
    const status = JSON.parse(text.slice(text.indexOf('\r\n\r\n') + 4).replace(/^[0-9a-f]+\r\n/, '')) as {
      kind: string;
      code: number;
    };
    t.is(status.kind, 'Status');
    t.is(status.code, code);
  });
}

test('no request smuggles a second one behind a refused body', async (t) => {
  const hidden = 'GET /api/v1/namespaces/default/configmaps/bystander HTTP/1.1\r\nHost: x\r\n\r\n';
  const text = await raw(
    t.context.api.socket,
    `POST ${maps} HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: 99999999\r\n\r\n${hidden}`,
  );
  t.is(text.match(/HTTP\/1\.1 /g)?.length, 1);
  t.regex(text, /^HTTP\/1\.1 413 /);
});
