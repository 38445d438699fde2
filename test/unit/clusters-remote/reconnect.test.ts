/** A server that is not there, goes, comes back; and the tunnel that follows it. */
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { Readable } from 'node:stream';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { resources } from '../../../kernel/machinery/resources.ts';
import { startApi, type Api } from '../api-server/api-harness.ts';
import { fakeCluster, type FakeCluster } from '../api-server/fake-cluster.ts';
import { processNode } from '../api-server/process-node.ts';
import { apiUrl } from '../api-server/tls-client.ts';
import { startRemote } from './remote-harness.ts';

const { configMaps } = resources;

async function folderFor(t: ExecutionContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'pintle-remote-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await holds())) await new Promise((resolve) => setTimeout(resolve, 20));
}

function podOn(cluster: FakeCluster, nodeName: string): void {
  cluster.seed(resources.pods, {
    metadata: { name: 'p', namespace: 'default' },
    spec: { nodeName, containers: [{ name: 'c' }] },
  });
}

test('it starts without a server; calls are UNAVAILABLE until there is one, and again when it is gone', async (t) => {
  const folder = await folderFor(t);
  await using remote = await startRemote({ server: `unix:${join(folder, 'api.sock')}` });
  await t.throwsAsync(remote.list(configMaps), { code: 'UNAVAILABLE', message: /cannot be reached: ENOENT/ } as never);
  const cluster = fakeCluster();
  const api = await startApi({ cluster, folder });
  t.is((await remote.list(configMaps)).items.length, 0);
  const iterator = remote.watch(configMaps, {}, new AbortController().signal)[Symbol.asyncIterator]();
  cluster.seed(configMaps, { metadata: { name: 'a', namespace: 'default' } });
  t.is((await iterator.next()).done, false);
  await api[Symbol.asyncDispose]();
  // The server ends its watches before it goes: the caller starts a new one, and learns there that it is gone.
  t.true((await iterator.next()).done);
  await t.throwsAsync(remote.list(configMaps), { code: 'UNAVAILABLE' } as never);
  await using again = await startApi({ cluster, folder });
  t.is((await remote.list(configMaps)).items.length, 1);
  t.truthy(again);
});

test('a TLS server of another CA is UNAVAILABLE, and says why', async (t) => {
  await using api = await startApi({ cluster: fakeCluster() });
  await using other = await startApi({ cluster: fakeCluster() });
  await using remote = await startRemote({
    server: await apiUrl(api),
    certificateAuthority: join(other.folder, 'pki/ca.crt'),
  });
  const error = await t.throwsAsync(remote.list(configMaps), { code: 'UNAVAILABLE' } as never);
  t.regex(error?.message ?? '', /SIGNATURE|CERT|VERIFY/);
});

test('a server that never answers is given up after the configured time', async (t) => {
  const socket = join(await folderFor(t), 'hung.sock');
  const server = createServer(() => undefined);
  await new Promise<void>((resolve) => server.listen(socket, resolve));
  t.teardown(() => {
    server.closeAllConnections();
    server.close();
  });
  await using remote = await startRemote({ server: `unix:${socket}`, callTimeoutSeconds: 1 });
  await t.throwsAsync(remote.list(configMaps), { code: 'UNAVAILABLE', message: /no answer within 1000 ms/ } as never);
});

test('answers that are none are errors, not crashes', async (t) => {
  const socket = join(await folderFor(t), 'odd.sock');
  const answers = ['', 'no json', '{"kind":"Status"}', '<html>'];
  const server = createServer((_request, response) => {
    const text = answers.shift();
    response.writeHead(text === '{"kind":"Status"}' || text === '<html>' ? 502 : 200).end(text);
  });
  await new Promise<void>((resolve) => server.listen(socket, resolve));
  t.teardown(() => {
    server.closeAllConnections();
    server.close();
  });
  await using remote = await startRemote({ server: `unix:${socket}` });
  const key = { namespace: 'default', name: 'x' };
  for (const code of ['INTERNAL', 'INTERNAL', 'UNAVAILABLE', 'UNAVAILABLE'])
    await t.throwsAsync(remote.get(configMaps, key), { code } as never);
});

test('a wrong configuration is told at the start', async (t) => {
  await t.throwsAsync(startRemote({}), { code: 'CONFIG_INVALID', message: /has no server/ } as never);
  await t.throwsAsync(startRemote({ server: 'ftp://x' }), { code: 'CONFIG_INVALID' } as never);
  await t.throwsAsync(startRemote({ server: 'unix:relative' }), {
    code: 'CONFIG_INVALID',
    message: /absolute path/,
  } as never);
  await t.throwsAsync(startRemote({ kubeconfig: '/no/such/file' }), {
    code: 'CONFIG_INVALID',
    message: /\/no\/such\/file/,
  } as never);
  await t.throwsAsync(startRemote({ server: 'https://x', clientKey: '/no/key' }), {
    code: 'CONFIG_INVALID',
    message: /\/no\/key/,
  } as never);
  await t.throwsAsync(startRemote({ sever: 'x' }), { message: /sever/ });
});

test('the tunnel: logs, exec and port-forward reach the node, over unix and TLS', async (t) => {
  const cluster = fakeCluster();
  podOn(cluster, 'n1');
  await using api = await startApi({ cluster, config: { nodes: ['n1'] } });
  const pki = join(api.folder, 'pki');
  const tls = {
    server: await apiUrl(api),
    certificateAuthority: join(pki, 'ca.crt'),
    clientCertificate: join(pki, 'nodes/n1.crt'),
    clientKey: join(pki, 'nodes/n1.key'),
  };
  for (const config of [{ server: `unix:${api.socket}` }, tls]) {
    await using remote = await startRemote(config);
    const node = processNode();
    node.log('from the node');
    const stop = new AbortController();
    const serving = remote.serveNode('n1', node, stop.signal);
    await until(() => cluster.nodes.has('n1'));
    const service = cluster.nodes.get('n1');
    const ref = { namespace: 'default', pod: 'p', container: 'c' };
    t.is((await api.call('GET', '/api/v1/namespaces/default/pods/p/log')).text, 'from the node\n');
    await t.throwsAsync(service!.logs({ ...ref, container: 'absent' }, stop.signal), {
      code: 'BAD_REQUEST',
      message: /ContainerCreating/,
    } as never);
    const process = await service?.exec({
      ...ref,
      command: ['sh', '-c', 'cat; echo err >&2; exit 5'],
      stdin: true,
      stdout: true,
      stderr: true,
      tty: false,
    });
    const bytes = Buffer.alloc(3_000_000, 'abcdefghij');
    process?.stdin?.end(bytes);
    const [out, error, exit] = await Promise.all([collect(process?.stdout), collect(process?.stderr), process?.exited]);
    t.true(out.equals(bytes));
    t.is(error.toString(), 'err\n');
    t.is(exit?.exitCode, 5);
    process?.resize({ columns: 1, rows: 1 });
    await t.throwsAsync(service!.portForward({ namespace: 'default', pod: 'p', port: 1 }), {
      code: 'UNAVAILABLE',
    } as never);
    const quiet = await service?.exec({
      ...ref,
      command: ['sleep', '1000'],
      stdin: false,
      stdout: true,
      stderr: false,
      tty: false,
    });
    await until(() => node.running === 1);
    quiet?.close();
    await until(() => node.running === 0);
    const follow = await service?.logs({ ...ref, follow: true, tailLines: 0 }, stop.signal);
    const line = collectOne(follow);
    node.log('later');
    t.is(await line, 'later\n');
    stop.abort();
    await serving;
    await until(() => !cluster.nodes.has('n1'));
    await t.throwsAsync(service!.logs(ref, new AbortController().signal), { code: 'UNAVAILABLE' } as never);
  }
});

test('the tunnel is opened again when the server comes back', async (t) => {
  const folder = await folderFor(t);
  await using remote = await startRemote({ server: `unix:${join(folder, 'api.sock')}` });
  const stop = new AbortController();
  const node = processNode();
  node.log('still here');
  const serving = remote.serveNode('n1', node, stop.signal);
  for (let round = 0; round < 3; round++) {
    const cluster = fakeCluster();
    podOn(cluster, 'n1');
    const api: Api = await startApi({ cluster, folder });
    await until(() => cluster.nodes.has('n1'));
    t.is((await api.call('GET', '/api/v1/namespaces/default/pods/p/log')).text, 'still here\n');
    await api[Symbol.asyncDispose]();
  }
  stop.abort();
  await serving;
});

test('an agent that goes in the middle of an answer is gone at once, over unix and TLS', async (t) => {
  // Well below the time after which a silent peer is given up.
  t.timeout(40_000);
  const cluster = fakeCluster();
  podOn(cluster, 'n1');
  await using api = await startApi({ cluster, config: { nodes: ['n1'] } });
  for (const config of [{ server: `unix:${api.socket}` }, { kubeconfig: api.kubeconfig }]) {
    await using remote = await startRemote(config);
    const stop = new AbortController();
    const endless = { ...processNode(), logs: async () => Readable.from(forever()) };
    const serving = remote.serveNode('n1', endless, stop.signal);
    await until(() => cluster.nodes.has('n1'));
    const ref = { namespace: 'default', pod: 'p', container: 'c' };
    const lines = await cluster.nodes.get('n1')!.logs(ref, new AbortController().signal);
    let size = 0;
    const reading = (async () => {
      for await (const chunk of lines) {
        size += (chunk as Buffer).length;
        if (size > 1_000_000) stop.abort();
      }
    })();
    await reading.catch(() => undefined);
    await serving;
    await until(() => !cluster.nodes.has('n1'));
    t.true(size > 1_000_000);
  }
});

test('a node may serve its own name alone', async (t) => {
  const cluster = fakeCluster();
  await using api = await startApi({ cluster, config: { nodes: ['n1'] } });
  const pki = join(api.folder, 'pki');
  const lines: string[] = [];
  const log = {
    debug: () => undefined,
    info: () => undefined,
    warn: (line: string) => void lines.push(line),
    error: () => undefined,
  };
  await using remote = await startRemote(
    {
      server: await apiUrl(api),
      certificateAuthority: join(pki, 'ca.crt'),
      clientCertificate: join(pki, 'nodes/n1.crt'),
      clientKey: join(pki, 'nodes/n1.key'),
    },
    log,
  );
  const stop = new AbortController();
  const serving = remote.serveNode('n2', processNode(), stop.signal);
  await until(() => lines.length > 0);
  t.regex(lines[0] ?? '', /User "system:node:n1" cannot serve the streams of node "n2"/);
  t.false(cluster.nodes.has('n2'));
  stop.abort();
  await serving;
});

test('a newer tunnel of a node replaces the older one', async (t) => {
  const cluster = fakeCluster();
  podOn(cluster, 'n1');
  await using api = await startApi({ cluster });
  await using first = await startRemote({ server: `unix:${api.socket}` });
  await using second = await startRemote({ server: `unix:${api.socket}` });
  const stop = new AbortController();
  const old = processNode();
  const fresh = processNode();
  fresh.log('fresh');
  const firstStop = new AbortController();
  const firstServing = first.serveNode('n1', old, firstStop.signal);
  await until(() => cluster.nodes.has('n1'));
  const before = cluster.nodes.get('n1');
  const serving = second.serveNode('n1', fresh, stop.signal);
  await until(() => cluster.nodes.get('n1') !== before);
  // The first agent is told nothing but that its tunnel ended; it must not fight for ever, so it is stopped here.
  firstStop.abort();
  await firstServing;
  await until(async () => (await api.call('GET', '/api/v1/namespaces/default/pods/p/log')).text === 'fresh\n');
  stop.abort();
  await serving;
  t.pass();
});

function* forever(): Generator<Buffer> {
  for (;;) yield Buffer.alloc(20_000, 'x');
}

async function collect(stream: AsyncIterable<unknown> | undefined): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream ?? []) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

async function collectOne(stream: AsyncIterable<unknown> | undefined): Promise<string> {
  for await (const chunk of stream ?? []) return String(chunk);
  return '';
}
