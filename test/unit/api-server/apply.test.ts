/** Server-side apply through the whole stack: media types, answers, who owns what over HTTP. */
import test from 'ava';
import { startApi } from './api-harness.ts';

const maps = '/api/v1/namespaces/default/configmaps';
const apply = { 'content-type': 'application/apply-patch+yaml' };
const yaml = (value: string): string =>
  `apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: m\ndata:\n  k: "${value}"\n`;
const json = (value: string): object => ({
  apiVersion: 'v1',
  kind: 'ConfigMap',
  metadata: { name: 'm' },
  data: { k: value },
});

test('YAML or JSON: 201 when it is made, 200 later, 409 with causes on a conflict', async (t) => {
  await using api = await startApi();
  const path = (manager: string): string => `${maps}/m?fieldManager=${manager}`;
  const dry = await api.call('PATCH', `${path('a')}&dryRun=All`, yaml('0644'), apply);
  t.is(dry.status, 201);
  const made = await api.call('PATCH', path('a'), yaml('0644'), apply);
  t.is(made.status, 201, made.text);
  t.is(made.json.data.k, '0644');
  t.is(
    (await api.call('PATCH', path('a'), json('0644'), apply)).json.metadata.resourceVersion,
    made.json.metadata.resourceVersion,
  );
  const refused = await api.call('PATCH', path('b'), json('1'), apply);
  t.is(refused.status, 409);
  t.like(refused.json, {
    kind: 'Status',
    status: 'Failure',
    reason: 'Conflict',
    code: 409,
    message: 'Apply failed with 1 conflict: conflict with "a": .data.k',
    details: { causes: [{ reason: 'FieldManagerConflict', message: 'conflict with "a"', field: '.data.k' }] },
  });
  const forced = await api.call('PATCH', `${path('b')}&force=true`, json('1'), apply);
  t.is(forced.status, 200);
  t.deepEqual(
    forced.json.metadata.managedFields.map((entry: any) => [entry.manager, entry.operation, entry.fieldsV1]),
    [['b', 'Apply', { 'f:data': { 'f:k': {} } }]],
  );
});

test('what is no apply patch', async (t) => {
  await using api = await startApi();
  const path = `${maps}/m?fieldManager=a`;
  for (const type of ['application/apply-patch+cbor', 'application/apply-patch+json', 'application/apply-patch']) {
    const reply = await api.call('PATCH', path, json('1'), { 'content-type': type });
    t.is(reply.status, 415, type);
    t.is(reply.json.reason, 'UnsupportedMediaType');
  }
  const codes: [string, string | object, number][] = [
    [`${maps}/m`, json('1'), 422],
    [path, '', 400],
    [path, 'a: [', 400],
    [path, '[]', 400],
    [path, '- a', 400],
    [path, { ...json('1'), kind: 'Pod' }, 400],
    [path, { ...json('1'), unknown: 1 }, 400],
    [`${path}&fieldValidation=Strict`, 'apiVersion: v1\nkind: ConfigMap\ndata: {a: b, a: c}', 400],
    [`${maps}/BAD?fieldManager=a`, { ...json('1'), metadata: { name: 'BAD' } }, 422],
    ['/api/v1/namespaces/absent/configmaps/m?fieldManager=a', json('1'), 404],
    ['/api/v1/namespaces/default/pods/m/status?fieldManager=a', { metadata: { name: 'm' } }, 404],
  ];
  for (const [where, body, code] of codes) {
    const reply = await api.call('PATCH', where, body, apply);
    t.is(reply.status, code, `${where} ${JSON.stringify(body)}: ${reply.text}`);
    t.is(reply.json.kind, 'Status');
  }
  t.is((await api.call('GET', `${maps}/m`)).status, 404, 'nothing was made');
});

test('a client that names no manager owns what it changes under its own name', async (t) => {
  await using api = await startApi();
  await api.call('PATCH', `${maps}/m?fieldManager=a`, json('1'), apply);
  const agent = { 'user-agent': 'tool/v2 (linux)' };
  const merge = { 'content-type': 'application/merge-patch+json', ...agent };
  const patched = await api.call('PATCH', `${maps}/m`, { data: { k: '2' } }, merge);
  t.deepEqual(
    patched.json.metadata.managedFields.map((entry: any) => entry.manager),
    ['tool'],
  );
  const updated = await api.call('PUT', `${maps}/m?fieldManager=b`, { ...patched.json, data: { k: '3' } }, agent);
  t.deepEqual(
    updated.json.metadata.managedFields.map((entry: any) => [entry.manager, entry.operation]),
    [['b', 'Update']],
  );
  const untracked = await api.call('POST', maps, { metadata: { name: 'n' } }, agent);
  t.is(untracked.json.metadata.managedFields, undefined);
});
