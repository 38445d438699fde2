/** Verbs, forms of answers, discovery and watches against the real cluster, over the unix socket. */
import { gunzipSync } from 'node:zlib';
import { request as httpRequest } from 'node:http';
import anyTest, { type TestFn } from 'ava';
import { openWatch, startApi, type Api } from './api-harness.ts';

const test = anyTest as TestFn<{ api: Api }>;
test.before(async (t) => {
  t.context = { api: await startApi() };
});
test.after.always((t) => t.context.api[Symbol.asyncDispose]());

const tableV1 = 'application/json;as=Table;v=v1;g=meta.k8s.io';
const pod = (name: string, more: object = {}): object => ({
  metadata: { name, ...more },
  spec: { containers: [{ name: 'c', image: 'host' }] },
});
const merge = { 'content-type': 'application/merge-patch+json' };

async function namespace(api: Api, name: string): Promise<string> {
  const reply = await api.call('POST', '/api/v1/namespaces', { metadata: { name } });
  if (reply.status !== 201) throw new Error(reply.text);
  return `/api/v1/namespaces/${name}`;
}

test('an object is created, read, replaced, patched and deleted', async (t) => {
  const { api } = t.context;
  const base = `${await namespace(api, 'crud')}/configmaps`;
  const created = await api.call('POST', base, { metadata: { name: 'a' }, data: { k: '1' } });
  t.is(created.status, 201);
  t.is(created.json.kind, 'ConfigMap');
  t.is(created.json.apiVersion, 'v1');
  t.is(created.json.metadata.namespace, 'crud');
  t.truthy(created.json.metadata.uid);
  t.regex(String(created.headers['audit-id']), /^[0-9a-f-]{36}$/);
  t.deepEqual((await api.call('GET', `${base}/a`)).json, created.json);
  const replaced = await api.call('PUT', `${base}/a`, { ...created.json, data: { k: '2' } });
  t.is(replaced.status, 200);
  t.is(replaced.json.data.k, '2');
  const stale = await api.call('PUT', `${base}/a`, { ...created.json, data: { k: '3' } });
  t.is(stale.status, 409);
  t.is(stale.json.reason, 'Conflict');
  t.is(stale.json.details.kind, 'configmaps');
  const patched = await api.call('PATCH', `${base}/a`, { data: { k: null, n: '4' } }, merge);
  t.deepEqual(patched.json.data, { n: '4' });
  const jsonPatched = await api.call('PATCH', `${base}/a`, [{ op: 'replace', path: '/data/n', value: '5' }], {
    'content-type': 'application/json-patch+json',
  });
  t.deepEqual(jsonPatched.json.data, { n: '5' });
  const deleted = await api.call('DELETE', `${base}/a`);
  t.is(deleted.status, 200);
  t.like(deleted.json, {
    kind: 'Status',
    status: 'Success',
    details: { name: 'a', kind: 'configmaps', uid: created.json.metadata.uid },
  });
  const gone = await api.call('GET', `${base}/a`);
  t.is(gone.status, 404);
  t.like(gone.json, {
    reason: 'NotFound',
    message: 'configmaps "a" not found',
    details: { name: 'a', kind: 'configmaps' },
  });
});

test('a dry run answers and keeps nothing', async (t) => {
  const { api } = t.context;
  const base = `${await namespace(api, 'dry')}/configmaps`;
  t.is((await api.call('POST', `${base}?dryRun=All`, { metadata: { name: 'a' } })).status, 201);
  t.is((await api.call('GET', `${base}/a`)).status, 404);
});

test('YAML bodies are read as the API reads them', async (t) => {
  const { api } = t.context;
  const base = `${await namespace(api, 'yaml')}/configmaps`;
  const reply = await api.call('POST', base, 'kind: ConfigMap\nmetadata:\n  name: m\ndata: {a: "yes", b: text}\n', {
    'content-type': 'application/yaml',
  });
  t.is(reply.status, 201, reply.text);
  t.deepEqual(reply.json.data, { a: 'yes', b: 'text' });
  const asYaml = await api.call('GET', `${base}/m`, undefined, { accept: 'application/yaml' });
  t.is(asYaml.headers['content-type'], 'application/yaml');
  t.regex(asYaml.text, /^apiVersion: v1\nkind: ConfigMap\n/);
});

test('lists have selectors, pages and a resource version', async (t) => {
  const { api } = t.context;
  const base = `${await namespace(api, 'lists')}/configmaps`;
  for (const name of ['a', 'b', 'c', 'd', 'e'])
    await api.call('POST', base, { metadata: { name, labels: { odd: String(name !== 'b' && name !== 'd') } } });
  const all = await api.call('GET', base);
  t.is(all.json.kind, 'ConfigMapList');
  t.deepEqual(
    all.json.items.map((item: any) => item.metadata.name),
    ['a', 'b', 'c', 'd', 'e'],
  );
  t.regex(all.json.metadata.resourceVersion, /^\d+$/);
  const selected = await api.call('GET', `${base}?labelSelector=odd%3Dfalse`);
  t.deepEqual(
    selected.json.items.map((item: any) => item.metadata.name),
    ['b', 'd'],
  );
  const field = await api.call('GET', `${base}?fieldSelector=metadata.name%3Dc`);
  t.deepEqual(
    field.json.items.map((item: any) => item.metadata.name),
    ['c'],
  );
  const names: string[] = [];
  let token = '';
  let pages = 0;
  do {
    const page = await api.call('GET', `${base}?limit=2&continue=${encodeURIComponent(token)}`);
    t.is(page.status, 200, page.text);
    names.push(...page.json.items.map((item: any) => item.metadata.name));
    token = page.json.metadata.continue ?? '';
    pages++;
  } while (token !== '');
  t.deepEqual(names, ['a', 'b', 'c', 'd', 'e']);
  t.is(pages, 3);
});

test('deletecollection takes what the selector matches', async (t) => {
  const { api } = t.context;
  const base = `${await namespace(api, 'collection')}/configmaps`;
  for (const name of ['a', 'b', 'c'])
    await api.call('POST', base, { metadata: { name, labels: { take: String(name !== 'b') } } });
  const reply = await api.call('DELETE', `${base}?labelSelector=take%3Dtrue`);
  t.is(reply.status, 200);
  t.is(reply.json.kind, 'ConfigMapList');
  t.deepEqual(
    (await api.call('GET', base)).json.items.map((item: any) => item.metadata.name),
    ['b'],
  );
});

test('subresources: status, scale, binding and eviction', async (t) => {
  const { api } = t.context;
  const base = await namespace(api, 'subresources');
  t.is((await api.call('POST', `${base}/pods`, pod('p'))).status, 201);
  t.is(
    (await api.call('PATCH', `${base}/pods/p/status`, { status: { phase: 'Running' } }, merge)).json.status.phase,
    'Running',
  );
  const bound = await api.call('POST', `${base}/pods/p/binding`, { target: { kind: 'Node', name: 'n1' } });
  t.is(bound.status, 201, bound.text);
  t.like(bound.json, { kind: 'Status', status: 'Success', code: 201 });
  t.is((await api.call('GET', `${base}/pods/p`)).json.spec.nodeName, 'n1');
  const apps = base.replace('/api/v1', '/apis/apps/v1');
  const template = { metadata: { labels: { a: 'b' } }, spec: { containers: [{ name: 'c', image: 'host' }] } };
  t.is(
    (
      await api.call('POST', `${apps}/deployments`, {
        metadata: { name: 'd' },
        spec: { selector: { matchLabels: { a: 'b' } }, template },
      })
    ).status,
    201,
  );
  const scaled = await api.call('PATCH', `${apps}/deployments/d/scale`, { spec: { replicas: 4 } }, merge);
  t.is(scaled.status, 200, scaled.text);
  t.is(scaled.json.kind, 'Scale');
  t.is((await api.call('GET', `${apps}/deployments/d`)).json.spec.replicas, 4);
  const evicted = await api.call('POST', `${base}/pods/p/eviction`, {
    apiVersion: 'policy/v1',
    kind: 'Eviction',
    metadata: { name: 'p', namespace: 'subresources' },
  });
  t.is(evicted.status, 201, evicted.text);
  t.is((await api.call('POST', `${base}/pods`, pod('old'))).status, 201);
  for (const [apiVersion, status] of [
    ['policy/v2', 400],
    ['policy/v1beta1', 201],
  ] as const) {
    const body = { apiVersion, kind: 'Eviction', metadata: { name: 'old' } };
    t.is((await api.call('POST', `${base}/pods/old/eviction`, body)).status, status, apiVersion);
  }
  const wrong = await api.call('POST', `${base}/pods/p/eviction`, { metadata: { name: 'other' } });
  t.is(wrong.status, 400);
});

test('Table: columns, rows, and what rows hold of their objects', async (t) => {
  const { api } = t.context;
  const base = `${await namespace(api, 'tables')}/pods`;
  await api.call('POST', base, pod('p'));
  const table = await api.call('GET', `${base}?limit=500`, undefined, { accept: `${tableV1},application/json` });
  t.is(table.json.kind, 'Table');
  t.is(table.json.apiVersion, 'meta.k8s.io/v1');
  t.regex(String(table.headers['content-type']), /as=Table/);
  t.deepEqual(
    table.json.columnDefinitions.filter((column: any) => column.priority === 0).map((column: any) => column.name),
    ['Name', 'Ready', 'Status', 'Restarts', 'Age'],
  );
  t.deepEqual(table.json.rows[0].cells.slice(0, 4), ['p', '0/1', 'Pending', '0']);
  t.is(table.json.rows[0].object.kind, 'PartialObjectMetadata');
  t.is(table.json.rows[0].object.spec, undefined);
  const full = await api.call('GET', `${base}?includeObject=Object`, undefined, { accept: tableV1 });
  t.is(full.json.rows[0].object.kind, 'Pod');
  const none = await api.call('GET', `${base}?includeObject=None`, undefined, { accept: tableV1 });
  t.is(none.json.rows[0].object, null);
  const older = await api.call('GET', `${base}/p`, undefined, { accept: tableV1.replace('v=v1', 'v=v1beta1') });
  t.is(older.json.apiVersion, 'meta.k8s.io/v1beta1');
  t.is(older.json.rows.length, 1);
});

test('PartialObjectMetadata of objects and lists', async (t) => {
  const { api } = t.context;
  const base = `${await namespace(api, 'partial')}/configmaps`;
  await api.call('POST', base, { metadata: { name: 'a' }, data: { secret: 'x' } });
  const one = await api.call('GET', `${base}/a`, undefined, {
    accept: 'application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io',
  });
  t.is(one.json.kind, 'PartialObjectMetadata');
  t.is(one.json.data, undefined);
  const list = await api.call('GET', base, undefined, {
    accept: 'application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io',
  });
  t.is(list.json.kind, 'PartialObjectMetadataList');
  t.is(list.json.items[0].metadata.name, 'a');
  t.is(list.json.items[0].data, undefined);
});

test('who asks for protobuf and takes JSON gets JSON', async (t) => {
  const reply = await t.context.api.call('GET', '/api/v1/namespaces', undefined, {
    accept: 'application/vnd.kubernetes.protobuf,application/json',
  });
  t.is(reply.headers['content-type'], 'application/json');
  t.is(reply.json.kind, 'NamespaceList');
});

test('pretty answers for people, plain ones for programs', async (t) => {
  const { api } = t.context;
  t.false((await api.call('GET', '/api/v1/namespaces/default')).text.includes('\n  '));
  t.true((await api.call('GET', '/api/v1/namespaces/default?pretty=true')).text.includes('\n  "kind"'));
  t.true(
    (await api.call('GET', '/api/v1/namespaces/default', undefined, { 'user-agent': 'curl/8' })).text.includes(
      '\n  "kind"',
    ),
  );
});

test('a large answer is compressed for who accepts it', async (t) => {
  const { api } = t.context;
  const base = `${await namespace(api, 'large')}/configmaps`;
  for (let index = 0; index < 3; index++)
    await api.call('POST', base, { metadata: { name: `m${index}` }, data: { a: 'x'.repeat(100_000) } });
  const bytes = await new Promise<{ encoding: string | undefined; body: Buffer }>((resolve, reject) => {
    httpRequest(
      { socketPath: api.socket, path: base, agent: false, headers: { 'accept-encoding': 'gzip' } },
      (answer) => {
        const chunks: Buffer[] = [];
        answer.on('data', (chunk: Buffer) => chunks.push(chunk));
        answer.on('end', () => resolve({ encoding: answer.headers['content-encoding'], body: Buffer.concat(chunks) }));
      },
    )
      .on('error', reject)
      .end();
  });
  t.is(bytes.encoding, 'gzip');
  t.is(JSON.parse(gunzipSync(bytes.body).toString()).items.length, 3);
  t.is((await api.call('GET', base)).headers['content-encoding'], undefined);
});

test('discovery: what is asked for, and nothing else', async (t) => {
  const { api } = t.context;
  const accept = (version: string): string =>
    `application/json;g=apidiscovery.k8s.io;v=${version};as=APIGroupDiscoveryList`;
  const both = await api.call('GET', '/apis', undefined, {
    accept: `${accept('v2')},${accept('v2beta1')},application/json`,
  });
  t.is(both.json.apiVersion, 'apidiscovery.k8s.io/v2');
  t.is(both.headers['content-type'], accept('v2'));
  const old = await api.call('GET', '/api', undefined, { accept: `${accept('v2beta1')},application/json` });
  t.is(old.json.apiVersion, 'apidiscovery.k8s.io/v2beta1');
  t.is(old.headers['content-type'], accept('v2beta1'));
  const pods = old.json.items[0].versions[0].resources.find((resource: any) => resource.resource === 'pods');
  t.is(pods.scope, 'Namespaced');
  t.true(
    ['log', 'exec', 'attach', 'portforward', 'status', 'binding', 'eviction'].every((name) =>
      pods.subresources.some((entry: any) => entry.subresource === name),
    ),
  );
  const again = await api.call('GET', '/api', undefined, {
    accept: `${accept('v2beta1')},application/json`,
    'if-none-match': String(old.headers['etag']),
  });
  t.is(again.status, 304);
  t.is(again.text, '');
  t.deepEqual((await api.call('GET', '/api')).json.versions, ['v1']);
  const groups = await api.call('GET', '/apis');
  t.is(groups.json.kind, 'APIGroupList');
  const autoscaling = groups.json.groups.find((group: any) => group.name === 'autoscaling');
  t.is(autoscaling.preferredVersion.version, 'v2');
  t.is((await api.call('GET', '/apis/apps')).json.kind, 'APIGroup');
  const list = await api.call('GET', '/apis/apps/v1');
  t.is(list.json.kind, 'APIResourceList');
  const scale = list.json.resources.find((resource: any) => resource.name === 'deployments/scale');
  t.like(scale, { kind: 'Scale', group: 'autoscaling', version: 'v1' });
});

test('OpenAPI v3: the index and a document that lists fieldValidation', async (t) => {
  const { api } = t.context;
  const index = await api.call('GET', '/openapi/v3');
  const entry = index.json.paths['apis/apps/v1'].serverRelativeURL as string;
  t.regex(entry, /^\/openapi\/v3\/apis\/apps\/v1\?hash=/);
  const document = await api.call('GET', entry);
  t.is(document.status, 200);
  const patch = document.json.paths['/apis/apps/v1/namespaces/{namespace}/deployments/{name}'].patch;
  t.true(patch.parameters.some((parameter: any) => parameter.name === 'fieldValidation'));
});

test('health checks and version', async (t) => {
  const { api } = t.context;
  t.is((await api.call('GET', '/readyz')).text, 'ok');
  t.regex((await api.call('GET', '/readyz?verbose')).text, /\[\+\]store ok\n[^]*readyz check passed\n$/);
  t.is((await api.call('GET', '/livez/store')).text, 'ok');
  t.is((await api.call('GET', '/livez/absent')).status, 404);
  t.regex(
    (await api.call('GET', '/readyz?exclude=absent&verbose')).text,
    /cannot be excluded: no matches for "absent"/,
  );
  t.regex((await api.call('GET', '/version')).json.gitVersion, /^v1\.36\.\d+\+pintle$/);
});

test('metrics count requests by verb, resource and code', async (t) => {
  const { api } = t.context;
  await api.call('GET', '/api/v1/namespaces/default/secrets/absent');
  const { text } = await api.call('GET', '/metrics');
  t.regex(
    text,
    /apiserver_request_total\{verb="GET",group="",version="v1",resource="secrets",subresource="",scope="resource",code="404"\} [1-9]/,
  );
  t.regex(text, /apiserver_request_duration_seconds_bucket\{/);
  t.regex(text, /process_resident_memory_bytes \d/);
  t.is(await api.component.metrics?.().then((own) => own.includes('apiserver_request_total')), true);
});

test('a watch tells the state, then changes, in order', async (t) => {
  const { api } = t.context;
  const base = `${await namespace(api, 'watches')}/configmaps`;
  await api.call('POST', base, { metadata: { name: 'a' } });
  const watch = await openWatch(api.socket, `${base}?watch=true`);
  t.like(await watch.next(), { type: 'ADDED', object: { kind: 'ConfigMap', metadata: { name: 'a' } } });
  await api.call('PATCH', `${base}/a`, { data: { k: 'v' } }, merge);
  t.like(await watch.next(), { type: 'MODIFIED', object: { data: { k: 'v' } } });
  await api.call('DELETE', `${base}/a`);
  t.like(await watch.next(), { type: 'DELETED', object: { metadata: { name: 'a' } } });
  watch.close();
});

test('a watch with a selector shows objects come and go', async (t) => {
  const { api } = t.context;
  const base = `${await namespace(api, 'selected')}/configmaps`;
  const watch = await openWatch(api.socket, `${base}?watch=true&labelSelector=a%3Db`);
  await api.call('POST', base, { metadata: { name: 'x' } });
  await api.call('PATCH', `${base}/x`, { metadata: { labels: { a: 'b' } } }, merge);
  t.is((await watch.next()).type, 'ADDED');
  await api.call('PATCH', `${base}/x`, { metadata: { labels: { a: 'c' } } }, merge);
  t.is((await watch.next()).type, 'DELETED');
  watch.close();
});

test('WatchList: the state, a bookmark that ends it, changes', async (t) => {
  const { api } = t.context;
  const base = `${await namespace(api, 'watchlist')}/configmaps`;
  await api.call('POST', base, { metadata: { name: 'a' } });
  const watch = await openWatch(
    api.socket,
    `${base}?watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true`,
  );
  t.is((await watch.next()).type, 'ADDED');
  const bookmark = await watch.next();
  t.is(bookmark.type, 'BOOKMARK');
  t.is(bookmark.object.metadata.annotations['k8s.io/initial-events-end'], 'true');
  await api.call('POST', base, { metadata: { name: 'b' } });
  t.like(await watch.next(), { type: 'ADDED', object: { metadata: { name: 'b' } } });
  watch.close();
});

test('Table watch: each event is a Table, the first one has the columns', async (t) => {
  const { api } = t.context;
  const base = `${await namespace(api, 'tablewatch')}/pods`;
  await api.call('POST', base, pod('a'));
  const watch = await openWatch(api.socket, `${base}?watch=true`, { accept: tableV1 });
  t.regex(String(watch.headers['content-type']), /as=Table/);
  const first = await watch.next();
  t.is(first.object.kind, 'Table');
  t.true(first.object.columnDefinitions.length > 5);
  t.is(first.object.rows[0].cells[0], 'a');
  await api.call('PATCH', `${base}/a`, { metadata: { labels: { x: 'y' } } }, merge);
  const second = await watch.next();
  t.is(second.type, 'MODIFIED');
  t.deepEqual(second.object.columnDefinitions, []);
  t.is(second.object.rows[0].object.metadata.labels.x, 'y');
  watch.close();
});

test('a watch that ends by its time ends its answer', async (t) => {
  const { api } = t.context;
  const watch = await openWatch(api.socket, `${await namespace(api, 'timed')}/configmaps?watch=true&timeoutSeconds=1`);
  t.is(await watch.next(), undefined);
});

test('a watch of a compacted revision gets an ERROR event with 410', async (t) => {
  const { api } = t.context;
  const base = `${await namespace(api, 'expired')}/configmaps`;
  const first = (await api.call('GET', base)).json.metadata.resourceVersion as string;
  const watch = await openWatch(
    api.socket,
    `${base}?watch=true&resourceVersion=${Number(first) + 1_000_000}&timeoutSeconds=5`,
  );
  const event = await watch.next();
  t.is(event.type, 'ERROR');
  t.is(event.object.kind, 'Status');
  t.true([410, 504].includes(event.object.code));
});
