/** Ports, the socket file, and certificates on disk. */
import { X509Certificate } from 'node:crypto';
import { chmod, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect } from 'node:tls';
import { spawn } from 'node:child_process';
import test, { type ExecutionContext } from 'ava';
import {
  ensureCertificates,
  writeKubeconfigs,
} from '../../../plugins/components/api-server/pki/cluster-certificates.ts';
import { firstAddress } from '../../../plugins/components/api-server/pki/first-address.ts';
import { startApiServer } from '../../../plugins/components/api-server/server.ts';
import { quiet, startApi } from './api-harness.ts';
import { fakeCluster } from './fake-cluster.ts';
import { apiUrl, identityOf, overHttp2 } from './tls-client.ts';

async function folderFor(t: ExecutionContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'pintle-listen-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

test('a port in use is an error that names the port', async (t) => {
  const folder = await folderFor(t);
  const taken = createServer();
  await new Promise<void>((resolve) => taken.listen(0, '127.0.0.1', resolve));
  t.teardown(() => taken.close());
  const { port } = taken.address() as { port: number };
  const error = await t.throwsAsync(startApi({ cluster: fakeCluster(), folder, config: { port } }));
  t.regex(error?.message ?? '', new RegExp(`port ${port} is in use`));
  // The failed start holds nothing: the same folder serves at once.
  await using api = await startApi({ cluster: fakeCluster(), folder });
  t.is((await api.call('GET', '/livez')).text, 'ok');
});

test('an address that the machine does not have is told', async (t) => {
  const folder = await folderFor(t);
  const error = await t.throwsAsync(startApi({ cluster: fakeCluster(), folder, config: { address: '192.0.2.1' } }));
  t.regex(error?.message ?? '', /no interface of this machine has the address 192\.0\.2\.1/);
});

test('the socket is for its owner alone', async (t) => {
  const folder = await folderFor(t);
  await using api = await startApi({ cluster: fakeCluster(), folder });
  t.is((await stat(api.socket)).mode & 0o777, 0o600);
  t.is((await stat(api.kubeconfig)).mode & 0o777, 0o600);
  t.is((await stat(join(folder, 'pki'))).mode & 0o777, 0o700);
  for (const key of ['ca.key', 'apiserver.key', 'admin.key'])
    t.is((await stat(join(folder, 'pki', key))).mode & 0o777, 0o600, key);
});

test('a socket file left by a killed server is replaced', async (t) => {
  const folder = await folderFor(t);
  const path = join(folder, 'api.sock');
  const script = `require('net').createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, 'SIGKILL'))`;
  await new Promise((resolve) => spawn(process.execPath, ['-e', script]).once('close', resolve));
  t.true((await stat(path)).isSocket());
  await using api = await startApi({ cluster: fakeCluster(), folder });
  t.is((await api.call('GET', '/livez')).text, 'ok');
});

test('a socket on which another server listens is left alone', async (t) => {
  const folder = await folderFor(t);
  await using api = await startApi({ cluster: fakeCluster(), folder });
  const error = await t.throwsAsync(startApi({ cluster: fakeCluster(), folder }));
  t.regex(error?.message ?? '', /another server is listening there/);
  t.is((await api.call('GET', '/livez')).text, 'ok');
});

test('a file that is no socket is left alone', async (t) => {
  const folder = await folderFor(t);
  await writeFile(join(folder, 'api.sock'), 'precious');
  const error = await t.throwsAsync(startApi({ cluster: fakeCluster(), folder }));
  t.regex(error?.message ?? '', /a file that is no socket is there/);
  t.is(await readFile(join(folder, 'api.sock'), 'utf8'), 'precious');
});

test('a socket path that is too long is told with its length', async (t) => {
  const folder = await folderFor(t);
  const error = await t.throwsAsync(
    startApi({ cluster: fakeCluster(), folder, config: { socket: `/tmp/${'x'.repeat(120)}` } }),
  );
  t.regex(error?.message ?? '', /125 bytes, at most 107/);
});

test('unknown configuration keys are refused', async (t) => {
  await t.throwsAsync(startApi({ cluster: fakeCluster(), folder: await folderFor(t), config: { prot: 1 } }), {
    message: /prot/,
  });
});

test('certificates are made once, with the names that clients use', async (t) => {
  const folder = await folderFor(t);
  await using first = await startApi({
    cluster: fakeCluster(),
    folder,
    config: { names: ['api.example', '192.0.2.7'] },
  });
  const ca = await readFile(join(folder, 'pki/ca.crt'), 'utf8');
  const serving = await readFile(join(folder, 'pki/apiserver.crt'), 'utf8');
  const certificate = new X509Certificate(serving);
  for (const name of [
    'localhost',
    'kubernetes',
    'kubernetes.default',
    'kubernetes.default.svc',
    'kubernetes.default.svc.cluster.local',
    'api.example',
  ])
    t.is(certificate.checkHost(name), name);
  for (const address of ['127.0.0.1', '10.96.0.1', '192.0.2.7']) t.is(certificate.checkIP(address), address);
  t.truthy(certificate.checkIP('::1'));
  t.true(certificate.verify(new X509Certificate(ca).publicKey));
  await first[Symbol.asyncDispose]();
  await using second = await startApi({
    cluster: fakeCluster(),
    folder,
    config: { names: ['api.example', '192.0.2.7'] },
  });
  t.is(await readFile(join(folder, 'pki/apiserver.crt'), 'utf8'), serving);
  await second[Symbol.asyncDispose]();
  await using third = await startApi({ cluster: fakeCluster(), folder, config: { names: ['new.example'] } });
  const renewed = new X509Certificate(await readFile(join(folder, 'pki/apiserver.crt'), 'utf8'));
  t.is(renewed.checkHost('new.example'), 'new.example');
  t.is(await readFile(join(folder, 'pki/ca.crt'), 'utf8'), ca);
  t.is((await third.call('GET', '/livez')).text, 'ok');
});

test('certificates are renewed when a third of their life is left, and not before', async (t) => {
  const stateDir = await folderFor(t);
  const lifetimeMs = 3 * 3600_000;
  const begin = Date.now();
  const at = (hours: number) =>
    ensureCertificates({ stateDir, lifetimeMs, extraNames: [], nodes: ['n1'], now: () => begin + hours * 3600_000 });
  const first = await at(0);
  t.true(first.changed);
  const second = await at(1.5);
  t.false(second.changed);
  t.is(second.serving.certificate, first.serving.certificate);
  const third = await at(2.5);
  t.true(third.changed);
  t.not(third.serving.certificate, first.serving.certificate);
  t.not(third.admin.certificate, first.admin.certificate);
  t.is(third.authority, first.authority);
});

test('a running server takes up its renewed certificate by itself', async (t) => {
  const folder = await folderFor(t);
  // Clients look at the true time: long enough for a busy machine, and what is renewed is dated back by five minutes.
  const lifetimeMs = 6 * 60_000;
  let aheadMs = 0;
  const server = await startApiServer({
    cluster: fakeCluster(),
    log: quiet,
    now: () => Date.now() + aheadMs,
    stateDir: folder,
    address: '127.0.0.1',
    port: 0,
    socket: join(folder, 'api.sock'),
    advertise: undefined,
    publish: false,
    certificates: { lifetimeMs, extraNames: [], nodes: [] },
    renewalCheckMs: 500,
    limits: { reads: 10, writes: 10, waiting: 0 },
    watchBacklogBytes: 2 ** 20,
    bodyTimeoutMs: 1000,
    headersTimeoutMs: 1000,
  });
  t.teardown(() => server.close());
  const ca = await readFile(join(folder, 'pki/ca.crt'), 'utf8');
  const shown = (): Promise<string> =>
    new Promise((resolve, reject) => {
      const socket = connect({ host: '127.0.0.1', port: server.port, ca }, () => {
        resolve(socket.getPeerX509Certificate()?.serialNumber ?? '');
        socket.destroy();
      });
      socket.once('error', reject);
    });
  const kubeconfig = await readFile(server.kubeconfigPath, 'utf8');
  const first = await shown();
  aheadMs = lifetimeMs * 0.75;
  while ((await shown()) === first) await new Promise((resolve) => setTimeout(resolve, 50));
  while ((await readFile(server.kubeconfigPath, 'utf8')) === kubeconfig)
    await new Promise((resolve) => setTimeout(resolve, 50));
  t.pass();
});

test('a damaged leaf certificate is replaced, a damaged CA is not', async (t) => {
  const folder = await folderFor(t);
  const first = await startApi({ cluster: fakeCluster(), folder });
  await first[Symbol.asyncDispose]();
  await writeFile(join(folder, 'pki/apiserver.crt'), 'junk');
  const second = await startApi({ cluster: fakeCluster(), folder });
  t.is((await overHttp2(await apiUrl(second), '/api', await identityOf(second, 'admin'))).status, 200);
  await second[Symbol.asyncDispose]();
  await writeFile(join(folder, 'pki/ca.crt'), 'junk');
  const error = await t.throwsAsync(startApi({ cluster: fakeCluster(), folder }));
  t.regex(error?.message ?? '', /ca\.crt is not a CA certificate/);
  t.is(await readFile(join(folder, 'pki/ca.crt'), 'utf8'), 'junk');
});

test('a node of the config gets a kubeconfig that names it and its group', async (t) => {
  const stateDir = await folderFor(t);
  const options = { stateDir, lifetimeMs: 3600_000, now: Date.now, extraNames: [] };
  const certificates = await ensureCertificates({ ...options, nodes: ['n1'] });
  await writeKubeconfigs(stateDir, 'https://192.0.2.1:6443', certificates);
  const file = join(stateDir, 'pki/nodes/n1.kubeconfig');
  const text = await readFile(file, 'utf8');
  t.is((await stat(file)).mode & 0o777, 0o600);
  t.regex(text, /https:\/\/192\.0\.2\.1:6443/);
  const data = /client-certificate-data: (\S+)/.exec(text)?.[1] ?? '';
  const certificate = new X509Certificate(Buffer.from(data, 'base64'));
  t.deepEqual(certificate.subject.split('\n').toSorted(), ['CN=system:node:n1', 'O=system:nodes']);
  await t.throwsAsync(ensureCertificates({ ...options, nodes: ['../x'] }), { message: /not a DNS-1123 subdomain/ });
});

test('a read-only state folder is told, with its path', async (t) => {
  if (process.getuid?.() === 0) {
    t.log('skipped: root writes everywhere');
    t.pass();
    return;
  }
  const folder = await folderFor(t);
  await chmod(folder, 0o500);
  await t.throwsAsync(startApi({ cluster: fakeCluster(), folder }), { message: new RegExp(folder) });
});

test('the first address of a range', (t) => {
  t.is(firstAddress('10.96.0.0/12'), '10.96.0.1');
  t.is(firstAddress('10.0.0.128/25'), '10.0.0.129');
  t.is(firstAddress('fd00:1::/112'), 'fd00:1::1');
  t.is(firstAddress('fd00::10/124'), 'fd00::11');
});
