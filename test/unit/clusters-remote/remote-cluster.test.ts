/** The Cluster interface through a real API server, over its unix socket and over TLS. */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import anyTest, { type TestFn } from 'ava';
import type { Cluster, WatchEvent } from '../../../kernel/contract/index.ts';
import type { ConfigMap } from '../../../kernel/contract/kubernetes.ts';
import { informersFor } from '../../../kernel/machinery/informer.ts';
import { resources } from '../../../kernel/machinery/resources.ts';
import { startApi, type Api } from '../api-server/api-harness.ts';
import { apiUrl } from '../api-server/tls-client.ts';
import { startRemote } from './remote-harness.ts';

type Remote = Cluster & AsyncDisposable;
const test = anyTest as TestFn<{ api: Api; remotes: Record<string, Remote> }>;

test.before(async (t) => {
  const api = await startApi({ config: { nodes: ['n1'] }, local: { authorization: 'always-allow' } });
  const pki = join(api.folder, 'pki');
  t.context = {
    api,
    remotes: {
      unix: await startRemote({ server: `unix:${api.socket}` }),
      kubeconfig: await startRemote({ kubeconfig: api.kubeconfig }),
      files: await startRemote({
        server: await apiUrl(api),
        certificateAuthority: join(pki, 'ca.crt'),
        clientCertificate: join(pki, 'nodes/n1.crt'),
        clientKey: join(pki, 'nodes/n1.key'),
      }),
    },
  };
});
test.after.always(async (t) => {
  for (const remote of Object.values(t.context.remotes)) await remote[Symbol.asyncDispose]();
  await t.context.api[Symbol.asyncDispose]();
});

const { configMaps } = resources;

async function namespace(t: { context: { api: Api } }, name: string): Promise<string> {
  await t.context.api.cluster.create(resources.namespaces, { metadata: { name } } as never);
  return name;
}

for (const door of ['unix', 'kubeconfig', 'files'] as const) {
  test(`${door}: create, get, update, patch, list, delete`, async (t) => {
    const remote = t.context.remotes[door] as Remote;
    const ns = await namespace(t, `crud-${door}`);
    const created = await remote.create(configMaps, { metadata: { name: 'a', namespace: ns }, data: { k: '1' } });
    t.like(created, { apiVersion: 'v1', kind: 'ConfigMap', data: { k: '1' } });
    t.deepEqual(await remote.get(configMaps, { namespace: ns, name: 'a' }), created);
    const updated = await remote.update(configMaps, { ...created, data: { k: '2' } });
    t.is(updated.data?.['k'], '2');
    await t.throwsAsync(remote.update(configMaps, { ...created, data: {} }), {
      name: 'PintleError',
      code: 'CONFLICT',
    } as never);
    const patched = await remote.patch(
      configMaps,
      { namespace: ns, name: 'a' },
      { kind: 'merge', body: { data: { k: null, n: '3' } } },
    );
    t.deepEqual(patched.data, { n: '3' });
    const list = await remote.list(configMaps, { namespace: ns });
    t.deepEqual(
      list.items.map((item) => item.metadata.name),
      ['a'],
    );
    t.is(list.continue, undefined);
    const { object, gone } = await remote.delete(configMaps, { namespace: ns, name: 'a' });
    t.true(gone);
    t.is(object.metadata.uid, created.metadata.uid);
    t.deepEqual(object.data, { n: '3' });
    await t.throwsAsync(remote.get(configMaps, { namespace: ns, name: 'a' }), { code: 'NOT_FOUND' } as never);
  });
}

test.serial('several objects in one request: each is created or refused by itself', async (t) => {
  const { api, remotes } = t.context;
  const remote = remotes['unix'] as Remote;
  const ns = await namespace(t, 'each');
  const named = (name: string) => ({ metadata: { name, namespace: ns }, data: { k: name } });
  await remote.create(configMaps, named('b'));
  const requests = async () => {
    const { text } = await api.call('GET', '/metrics');
    const counts = text.matchAll(
      /^apiserver_request_total\{(?=[^}]*resource="configmaps")(?=[^}]*code="200")[^}]*\} (\d+)/gm,
    );
    return [...counts].reduce((sum, [, count]) => sum + Number(count), 0);
  };
  const before = await requests();
  const wrong = { metadata: { name: 'no', namespace: 'each-else' } };
  const outcomes = await remote.createEach?.(configMaps, [
    named('a'),
    named('b'),
    named('Not-A-Name'),
    wrong,
    named('c'),
  ]);
  t.deepEqual(
    outcomes?.map((outcome) => outcome?.code),
    [undefined, 'ALREADY_EXISTS', 'INVALID', 'BAD_REQUEST', undefined],
  );
  t.is(await requests(), before + 1);
  const { items } = await remote.list(configMaps, { namespace: ns });
  t.deepEqual(
    items.map(({ metadata, data }) => [metadata.name, data?.['k']]),
    ['a', 'b', 'c'].map((name) => [name, name]),
  );
  await t.throwsAsync(
    remote.createEach!(configMaps, [
      { metadata: { name: 'a', namespace: 'nowhere' } },
      { metadata: { name: 'b', namespace: 'nowhere' } },
    ]).then((all) => {
      throw all[1];
    }),
    { code: 'NOT_FOUND' } as never,
  );
});

test('several objects for a server that takes no lists go one by one', async (t) => {
  const bodies: string[] = [];
  const foreign = createServer((request, response) => {
    let text = '';
    request.on('data', (chunk: Buffer) => (text += chunk.toString()));
    request.on('end', () => {
      const { kind, metadata } = JSON.parse(text) as { kind: string; metadata?: { name: string } };
      bodies.push(metadata?.name ?? kind);
      const isList = kind !== 'ConfigMap';
      response.statusCode = isList ? 400 : metadata?.name === 'b' ? 409 : 201;
      const reason = isList ? 'BadRequest' : 'AlreadyExists';
      response.end(response.statusCode === 201 ? text : JSON.stringify({ kind: 'Status', status: 'Failure', reason }));
    });
  });
  await new Promise<void>((resolve) => foreign.listen(0, '127.0.0.1', resolve));
  t.teardown(() => void foreign.close());
  await using remote = await startRemote({ server: `http://127.0.0.1:${(foreign.address() as AddressInfo).port}` });
  const named = (name: string) => ({ metadata: { name, namespace: 'x' } });
  for (const expected of [
    ['ConfigMapList', 'a', 'b'],
    ['a', 'b'],
  ]) {
    bodies.length = 0;
    const outcomes = await remote.createEach!(configMaps, [named('a'), named('b')]);
    t.deepEqual(
      outcomes.map((outcome) => outcome?.code),
      [undefined, 'ALREADY_EXISTS'],
    );
    t.deepEqual(bodies.toSorted(), expected, 'it is asked once');
  }
});

test('errors carry code, message and details', async (t) => {
  const remote = t.context.remotes['unix'] as Remote;
  const absent = await t.throwsAsync(remote.get(configMaps, { namespace: 'default', name: 'absent' }));
  t.like(absent, {
    code: 'NOT_FOUND',
    message: 'configmaps "absent" not found',
    details: { resource: 'configmaps', name: 'absent' },
  });
  const invalid = await t.throwsAsync(
    remote.create(configMaps, { metadata: { name: 'NOT valid', namespace: 'default' } }),
  );
  t.like(invalid, { code: 'INVALID' });
  t.is(
    (invalid as { details?: { causes?: { field: string }[] } } | undefined)?.details?.causes?.[0]?.field,
    'metadata.name',
  );
  await t.throwsAsync(remote.list(configMaps, { labelSelector: '!!' }), { code: 'BAD_REQUEST' } as never);
});

test('a delete that waits says that the object is not gone', async (t) => {
  const remote = t.context.remotes['unix'] as Remote;
  const ns = await namespace(t, 'finalized');
  await remote.create(configMaps, { metadata: { name: 'a', namespace: ns, finalizers: ['example.com/hold'] } });
  const { object, gone } = await remote.delete(configMaps, { namespace: ns, name: 'a' });
  t.false(gone);
  t.truthy(object.metadata.deletionTimestamp);
});

test('subresources: status, scale, binding', async (t) => {
  const remote = t.context.remotes['unix'] as Remote;
  const ns = await namespace(t, 'subresources');
  const pod = await remote.create(resources.pods, {
    metadata: { name: 'p', namespace: ns },
    spec: { containers: [{ name: 'c', image: 'host' }] } as never,
  });
  const running = await remote.update(
    resources.pods,
    { ...pod, status: { phase: 'Running' } },
    { subresource: 'status' },
  );
  t.is(running.status?.phase, 'Running');
  await remote.create(
    resources.pods,
    {
      apiVersion: 'v1',
      kind: 'Binding',
      metadata: { name: 'p', namespace: ns },
      target: { kind: 'Node', name: 'n1' },
    } as never,
    {
      subresource: 'binding',
      parent: { namespace: ns, name: 'p' },
    },
  );
  t.is((await remote.get(resources.pods, { namespace: ns, name: 'p' })).spec?.nodeName, 'n1');
});

test('warnings of the server reach the caller', async (t) => {
  const remote = t.context.remotes['unix'] as Remote;
  const warnings: string[] = [];
  await remote.create(configMaps, { metadata: { name: 'warned', namespace: 'default' }, nope: 1 } as never, {
    fieldValidation: 'Warn',
    warn: (text) => void warnings.push(text),
  });
  t.true(
    warnings.some((text) => text.includes('unknown field "nope"')),
    warnings.join(),
  );
});

test('a list larger than a page comes whole, at one revision', async (t) => {
  const remote = t.context.remotes['unix'] as Remote;
  const ns = await namespace(t, 'pages');
  const create = (index: number): Promise<unknown> =>
    t.context.api.cluster.create(configMaps, {
      metadata: { name: `m${String(index).padStart(5, '0')}`, namespace: ns },
    });
  await Promise.all(Array.from({ length: 1101 }, (_, index) => create(index)));
  const list = await remote.list(configMaps, { namespace: ns });
  t.is(list.items.length, 1101);
  t.is(new Set(list.items.map((item) => item.metadata.name)).size, 1101);
  const page = await remote.list(configMaps, { namespace: ns, limit: 10 });
  t.is(page.items.length, 10);
  t.truthy(page.continue);
  t.is(page.remainingItemCount, 1091);
});

async function take<T extends ConfigMap>(
  iterator: AsyncIterator<readonly WatchEvent<T>[]>,
  count: number,
): Promise<WatchEvent<T>[]> {
  const events: WatchEvent<T>[] = [];
  while (events.length < count) {
    const next = await iterator.next();
    if (next.done === true) break;
    events.push(...next.value);
  }
  return events;
}

test('watch: state, changes, end by abort', async (t) => {
  const remote = t.context.remotes['kubeconfig'] as Remote;
  const ns = await namespace(t, 'watched');
  await remote.create(configMaps, { metadata: { name: 'a', namespace: ns } });
  const stop = new AbortController();
  const iterator = remote
    .watch(configMaps, { namespace: ns, sendInitialEvents: true, allowWatchBookmarks: true }, stop.signal)
    [Symbol.asyncIterator]();
  const first = await take(iterator, 2);
  t.deepEqual(
    first.map((event) => event.type),
    ['ADDED', 'BOOKMARK'],
  );
  t.is(first[1]?.object.metadata.annotations?.['k8s.io/initial-events-end'], 'true');
  await remote.create(configMaps, { metadata: { name: 'b', namespace: ns }, data: { big: 'ü'.repeat(100_000) } });
  const [added] = await take(iterator, 1);
  t.like(added, { type: 'ADDED', object: { metadata: { name: 'b' } } });
  t.is((added!.object as ConfigMap).data?.['big']?.length, 100_000);
  stop.abort();
  t.true((await iterator.next()).done);
});

test('watch: an error event rejects with its code', async (t) => {
  const remote = t.context.remotes['unix'] as Remote;
  const iterator = remote
    .watch(configMaps, { resourceVersion: '999999999999' }, new AbortController().signal)
    [Symbol.asyncIterator]();
  const error = await t.throwsAsync(take(iterator, 1));
  t.true(['EXPIRED', 'TIMEOUT'].includes((error as unknown as { code: string }).code));
  const bad = remote.watch(configMaps, { labelSelector: '!!' }, new AbortController().signal)[Symbol.asyncIterator]();
  await t.throwsAsync(bad.next(), { code: 'BAD_REQUEST' } as never);
});

test('informers run on it', async (t) => {
  const remote = t.context.remotes['unix'] as Remote;
  const ns = await namespace(t, 'informed');
  const informer = informersFor(remote).get(configMaps, { namespace: ns });
  await informer.synced(AbortSignal.timeout(45_000));
  const changed = new Promise<string>((resolve) => informer.onChange((change) => resolve(change.key)));
  await remote.create(configMaps, { metadata: { name: 'a', namespace: ns } });
  t.is(await changed, `${ns}/a`);
  t.is(informer.get(`${ns}/a`)?.metadata.name, 'a');
  informer.close();
});

test('many calls at once share few connections', async (t) => {
  const remote = t.context.remotes['unix'] as Remote;
  const answers = await Promise.all(
    Array.from({ length: 200 }, () => remote.get(resources.namespaces, { name: 'default' })),
  );
  t.true(answers.every((answer) => answer.metadata.name === 'default'));
});

test('parts of objects: an informer over HTTP has them and no more, and hears of nothing else', async (t) => {
  const remote = t.context.remotes['unix'] as Remote;
  const ns = await namespace(t, 'parts');
  const informer = informersFor(remote).get(configMaps, { namespace: ns, fields: ['data'] });
  t.teardown(() => informer.close());
  await informer.synced(new AbortController().signal);
  const seen: string[] = [];
  informer.onChange(({ object }) => seen.push(`${object?.metadata.name} ${object?.data?.['k']}`));
  const turn = () => new Promise((resolve) => setTimeout(resolve, 5));
  await remote.create(configMaps, { metadata: { name: 'a', namespace: ns, labels: { x: '1' } }, data: { k: '1' } });
  while (seen.length < 1) await turn();
  t.is(informer.get(`${ns}/a`)?.metadata.labels, undefined);
  const merge = (body: object) => remote.patch(configMaps, { namespace: ns, name: 'a' }, { kind: 'merge', body });
  await merge({ metadata: { labels: { x: '2' } } });
  await merge({ data: { k: '2' } });
  while (seen.length < 2) await turn();
  t.deepEqual(seen, ['a 1', 'a 2']);
  const table = await t.context.api.call(
    'GET',
    `/api/v1/namespaces/${ns}/configmaps?pintle-fields=metadata.labels`,
    undefined,
    {
      accept: 'application/json;as=Table;v=v1;g=meta.k8s.io',
    },
  );
  t.is(table.json.rows[0].cells[1], 1, 'the column of a table is made from the whole object');
});
