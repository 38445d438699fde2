/** What clients see of history that is gone: 410 in lists and in watches, and that they come back from it. */
import {
  connect,
  createServer,
  type AddressInfo,
  type ListenOptions,
  type NetConnectOpts,
  type Server,
  type Socket,
} from 'node:net';
import { join } from 'node:path';
import { CoreV1Api, KubeConfig, makeInformer } from '@kubernetes/client-node';
import test, { type ExecutionContext } from 'ava';
import { isPintleError } from '../../../kernel/contract/index.ts';
import { informersFor } from '../../../kernel/machinery/informer.ts';
import { resources } from '../../../kernel/machinery/resources.ts';
import { startRemote } from '../clusters-remote/remote-harness.ts';
import { openWatch, startApi, type Api } from './api-harness.ts';

const maps = '/api/v1/namespaces/default/configmaps';
const shortHistory = { local: { history: { changes: 10, seconds: 300 } } };

const configMap = (name: string, data: Record<string, string> = {}) => ({
  metadata: { name, namespace: 'default' },
  data,
});

/** More changes than are kept. */
async function forgetAll(api: Api): Promise<void> {
  await api.cluster.create(resources.configMaps, configMap('busy'));
  for (let index = 0; index < 30; index++) {
    const body = { data: { k: String(index) } };
    const key = { namespace: 'default', name: 'busy' };
    await api.cluster.patch(resources.configMaps, key, { kind: 'merge', body });
  }
  await api.cluster.delete(resources.configMaps, { namespace: 'default', name: 'busy' });
}

test('an expired page token is answered with another that goes on', async (t) => {
  await using api = await startApi(shortHistory);
  for (const name of ['a', 'b', 'c']) await api.cluster.create(resources.configMaps, configMap(name));
  const first = await api.call('GET', `${maps}?limit=1`);
  t.is(first.json.items[0].metadata.name, 'a');
  await forgetAll(api);
  const expired = await api.call('GET', `${maps}?limit=1&continue=${first.json.metadata.continue}`);
  t.is(expired.status, 410);
  t.like(expired.json, { kind: 'Status', status: 'Failure', reason: 'Expired', code: 410 });
  const token: unknown = expired.json.metadata.continue;
  t.is(typeof token, 'string');
  const rest = await api.call('GET', `${maps}?continue=${String(token)}`);
  t.deepEqual(
    rest.json.items.map((item: any) => item.metadata.name),
    ['b', 'c'],
  );
  const plain = await api.call('GET', `${maps}/absent`);
  t.deepEqual(plain.json.metadata, {});

  await using remote = await startRemote({ server: `unix:${api.socket}` });
  const error = await t.throwsAsync(
    remote.list(resources.configMaps, { namespace: 'default', limit: 1, continue: first.json.metadata.continue }),
  );
  t.true(isPintleError(error, 'EXPIRED'));
  t.is((error as { details?: { continue?: unknown } }).details?.continue, token);
});

test('a list of a revision that is gone', async (t) => {
  await using api = await startApi(shortHistory);
  const { json } = await api.call('GET', maps);
  await forgetAll(api);
  const exact = await api.call(
    'GET',
    `${maps}?resourceVersion=${json.metadata.resourceVersion}&resourceVersionMatch=Exact`,
  );
  t.is(exact.status, 410);
  t.is(exact.json.reason, 'Expired');
});

test('a watch from before the kept window: HTTP 200, one ERROR event with a 410 Status, end', async (t) => {
  await using api = await startApi(shortHistory);
  const { resourceVersion } = (await api.call('GET', maps)).json.metadata;
  await forgetAll(api);
  for (const accept of ['application/json', 'application/json;as=Table;v=v1;g=meta.k8s.io']) {
    const watch = await openWatch(api.socket, `${maps}?watch=1&resourceVersion=${resourceVersion}`, { accept });
    const event = await watch.next();
    t.like(event, {
      type: 'ERROR',
      object: { kind: 'Status', apiVersion: 'v1', status: 'Failure', reason: 'Expired', code: 410 },
    });
    t.regex(event.object.message, /^too old resource version: \d+ \(\d+\)$/);
    t.is(await watch.next(), undefined);
  }
});

interface Detour {
  /** Ends what is open; nothing gets through until `open`. */
  cut(): void;
  open(): void;
  readonly server: Server;
}

/** A way to the server that can be cut. */
async function detour(t: ExecutionContext, to: NetConnectOpts, at: ListenOptions): Promise<Detour> {
  const sockets = new Set<Socket>();
  let isCut = false;
  const server = createServer((near) => {
    if (isCut) return void near.destroy();
    const far = connect(to);
    for (const [from, other] of [
      [near, far],
      [far, near],
    ] as const) {
      sockets.add(from);
      from.pipe(other);
      from.on('error', () => other.destroy());
      from.once('close', () => {
        sockets.delete(from);
        other.destroy();
      });
    }
  });
  await new Promise<void>((resolve) => server.listen(at, resolve));
  const cut = (): void => {
    isCut = true;
    for (const socket of sockets) socket.destroy();
  };
  t.teardown(() => {
    cut();
    server.close();
  });
  return { cut, open: () => (isCut = false), server };
}

test('the JavaScript client: an informer that missed too much lists again and has everything', async (t) => {
  await using api = await startApi(shortHistory);
  const config = new KubeConfig();
  config.loadFromFile(api.kubeconfig);
  const straight = new URL(config.getCurrentCluster()!.server);
  const way = await detour(t, { host: '127.0.0.1', port: Number(straight.port) }, { host: '127.0.0.1', port: 0 });
  const { port } = way.server.address() as AddressInfo;
  const detoured = new KubeConfig();
  detoured.loadFromOptions({
    clusters: config.clusters.map((cluster) => ({ ...cluster, server: `https://127.0.0.1:${port}` })),
    users: config.users,
    contexts: config.contexts,
    currentContext: config.currentContext,
  });
  const core = config.makeApiClient(CoreV1Api);
  const seen: string[] = [];
  let lists = 0;
  const failed: unknown[] = [];
  const informer = makeInformer(detoured, maps, () => {
    lists++;
    return core.listNamespacedConfigMap({ namespace: 'default' });
  });
  for (const event of ['add', 'update', 'delete'] as const)
    informer.on(event, (object) => void seen.push(`${event} ${object.metadata?.name}`));
  informer.on('error', (error) => void failed.push(error));
  const until = async (condition: () => boolean): Promise<void> => {
    while (!condition()) await new Promise((resolve) => setTimeout(resolve, 5));
  };
  for (const name of ['stays', 'goes', 'changes']) await api.cluster.create(resources.configMaps, configMap(name));
  await informer.start();
  await api.cluster.create(resources.configMaps, configMap('first'));
  await until(() => seen.includes('add first'));
  t.is(lists, 1);
  way.cut();
  await until(() => failed.length === 1);

  await forgetAll(api);
  await api.cluster.delete(resources.configMaps, { namespace: 'default', name: 'goes' });
  const key = { namespace: 'default', name: 'changes' };
  await api.cluster.patch(resources.configMaps, key, { kind: 'merge', body: { data: { k: 'new' } } });
  way.open();
  // Goes on from the revision it knows, which is gone: told so, it lists, and watches from there.
  await informer.start();
  await until(() => lists === 2);
  await api.cluster.create(resources.configMaps, configMap('last'));
  await until(() => seen.includes('add last'));
  const cached = informer.list().map((map) => `${map.metadata?.name} ${map.data?.['k'] ?? ''}`);
  t.deepEqual(cached.sort(), ['changes new', 'first ', 'last ', 'stays ']);
  t.is(seen.filter((line) => line === 'delete goes').length, 1);
  t.is(failed.length, 1);
  await informer.stop();
});

test('our own informer over HTTP does the same by itself', async (t) => {
  await using api = await startApi(shortHistory);
  const path = join(api.folder, 'detour.sock');
  const way = await detour(t, { path: api.socket }, { path });
  await using remote = await startRemote({ server: `unix:${path}` });
  const informer = informersFor(remote).get(resources.configMaps, { namespace: 'default' });
  t.teardown(() => informer.close());
  await api.cluster.create(resources.configMaps, configMap('goes'));
  await informer.synced(new AbortController().signal);
  t.truthy(informer.get('default/goes'));
  way.cut();
  await forgetAll(api);
  await api.cluster.delete(resources.configMaps, { namespace: 'default', name: 'goes' });
  await api.cluster.create(resources.configMaps, configMap('comes'));
  t.is(informer.get('default/comes'), undefined, 'cut off');
  way.open();
  while (informer.get('default/comes') === undefined) await new Promise((resolve) => setTimeout(resolve, 5));
  t.is(informer.get('default/goes'), undefined);
});
