/** The JavaScript client library: typed calls, informers, exec, logs, port-forward. */
import { PassThrough } from 'node:stream';
import { createServer, type AddressInfo } from 'node:net';
import {
  AppsV1Api,
  CoreV1Api,
  Exec,
  KubeConfig,
  Log,
  makeInformer,
  PortForward,
  type V1Status,
} from '@kubernetes/client-node';
import test from 'ava';
import { startApi } from './api-harness.ts';
import { processNode } from './process-node.ts';

test('informers see every change, in order, and end without an error', async (t) => {
  await using api = await startApi();
  const config = new KubeConfig();
  config.loadFromFile(api.kubeconfig);
  const core = config.makeApiClient(CoreV1Api);
  const seen: string[] = [];
  const errors: unknown[] = [];
  const informer = makeInformer(config, '/api/v1/namespaces/default/configmaps', () =>
    core.listNamespacedConfigMap({ namespace: 'default' }),
  );
  informer.on('add', (object) => void seen.push(`add ${object.metadata?.name}`));
  informer.on('update', (object) => void seen.push(`update ${object.metadata?.name} ${object.data?.['k']}`));
  informer.on('delete', (object) => void seen.push(`delete ${object.metadata?.name}`));
  informer.on('error', (error) => void errors.push(error));
  await core.createNamespacedConfigMap({ namespace: 'default', body: { metadata: { name: 'before' } } });
  await informer.start();
  const until = async (text: string): Promise<void> => {
    while (!seen.includes(text)) await new Promise((resolve) => setTimeout(resolve, 5));
  };
  await until('add before');
  await core.createNamespacedConfigMap({ namespace: 'default', body: { metadata: { name: 'm' }, data: { k: '0' } } });
  for (let index = 1; index <= 20; index++) {
    const map = await core.readNamespacedConfigMap({ namespace: 'default', name: 'm' });
    await core.replaceNamespacedConfigMap({
      namespace: 'default',
      name: 'm',
      body: { ...map, data: { k: String(index) } },
    });
  }
  const answer = await core.deleteNamespacedConfigMap({ namespace: 'default', name: 'm' });
  t.is((answer as V1Status).status, 'Success');
  await until('delete m');
  // Stopping aborts its own request, which it then reports as an error.
  t.deepEqual(errors, []);
  await informer.stop();
  t.deepEqual(seen, [
    'add before',
    'add m',
    ...Array.from({ length: 20 }, (_, index) => `update m ${index + 1}`),
    'delete m',
  ]);
});

test('typed calls: errors have the code of the Status', async (t) => {
  await using api = await startApi();
  const config = new KubeConfig();
  config.loadFromFile(api.kubeconfig);
  const apps = config.makeApiClient(AppsV1Api);
  const error = await t.throwsAsync(apps.readNamespacedDeployment({ namespace: 'default', name: 'absent' }));
  t.is((error as { code?: number } | undefined)?.code, 404);
});

test('exec, logs and port-forward', async (t) => {
  await using api = await startApi();
  const node = processNode();
  node.log('a line');
  const stop = new AbortController();
  void api.cluster.serveNode('n1', node, stop.signal);
  const config = new KubeConfig();
  config.loadFromFile(api.kubeconfig);
  const core = config.makeApiClient(CoreV1Api);
  await core.createNamespacedPod({
    namespace: 'default',
    body: { metadata: { name: 'p' }, spec: { nodeName: 'n1', containers: [{ name: 'c', image: 'host' }] } },
  });
  const stdout = new PassThrough();
  const stderr = new PassThrough();
  const status = await new Promise<V1Status>((resolve, reject) => {
    new Exec(config)
      .exec('default', 'p', 'c', ['sh', '-c', 'echo out; echo err >&2; exit 9'], stdout, stderr, null, false, resolve)
      .catch(reject);
  });
  t.is(status.details?.causes?.[0]?.message, '9');
  t.is(String(stdout.read()), 'out\n');
  t.is(String(stderr.read()), 'err\n');
  const lines = new PassThrough();
  await new Log(config).log('default', 'p', 'c', lines, {});
  let text = '';
  for await (const chunk of lines) text += String(chunk);
  t.is(text, 'a line\n');
  const echo = createServer((socket) => socket.pipe(socket));
  await new Promise<void>((resolve) => echo.listen(0, '127.0.0.1', resolve));
  const input = new PassThrough();
  const output = new PassThrough();
  const forward = await new PortForward(config).portForward(
    'default',
    'p',
    [(echo.address() as AddressInfo).port],
    output,
    null,
    input,
  );
  input.write('echo this');
  const [chunk] = await new Promise<unknown[]>((resolve) => output.once('data', (...data) => resolve(data)));
  t.is(String(chunk), 'echo this');
  (typeof forward === 'function' ? forward() : forward)?.close();
  echo.close();
  stop.abort();
});
