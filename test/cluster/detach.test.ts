/** `up --detach`, `status`, `kubeconfig` and `down` as four commands, the way a person uses them. */
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { ApiClient } from '../../cli/up/api-client.ts';
import type { Lease } from '../../kernel/contract/kubernetes.ts';
import { freePort } from '../free-port.ts';
import { program, run } from './support/cluster.ts';

test('a detached cluster says how to go on, answers status, and ends by down', async (t) => {
  const parent = mkdtempSync(join(tmpdir(), 'pintle-detach-'));
  const folder = join(parent, 'c');
  const pintle = (...argv: readonly string[]) =>
    run(process.execPath, [program, ...argv, '--state-dir', folder], { env: { ...process.env, HOME: parent } });
  t.teardown(async () => {
    await pintle('down');
    rmSync(parent, { recursive: true, force: true });
  });
  const listen = `127.0.0.1:${await freePort()}`;

  // one group of short flags, the count glued on: the background process must not detach again
  const up = await pintle('up', '-dn1', '--listen', listen);
  t.is(up.code, 0, up.stderr);
  t.regex(up.stdout, /^ok +nodes Ready/m);
  t.regex(up.stdout, /^To end it: .* down --state-dir /m);

  const again = await pintle('up', '--detach', '--listen', listen);
  t.is(again.code, 1);
  t.regex(again.stderr, /a cluster runs from/);

  const status = await pintle('status', '-o', 'json');
  t.is(status.code, 0, status.stdout);
  t.like(JSON.parse(status.stdout), { healthy: true, listen, nodes: [{ name: 'node-1', ready: true }] });
  t.is((await pintle('kubeconfig', '--path')).stdout.trim(), join(folder, 'kubeconfig'));

  // killed: the next one does not take what is left of the record for its own
  const record = JSON.parse(readFileSync(join(folder, 'up.json'), 'utf8')) as { readonly up: { readonly pid: number } };
  process.kill(record.up.pid, 'SIGKILL');
  const anew = await pintle('up', '-dn1', '--listen', listen);
  t.is(anew.code, 0, anew.stderr);
  t.regex(anew.stdout, /^ok +nodes Ready/m);
  t.is((await pintle('status')).code, 0);

  t.regex((await pintle('down')).stdout, /is down$/m);
  t.false(existsSync(folder));
  t.is((await pintle('status')).code, 3);
});

test('--keep-state: the next up has what the cluster stored, and waits for its own agents', async (t) => {
  const parent = mkdtempSync(join(tmpdir(), 'pintle-keep-'));
  const folder = join(parent, 'c');
  const pintle = (...argv: readonly string[]) =>
    run(process.execPath, [program, ...argv, '--state-dir', folder], { env: { ...process.env, HOME: parent } });
  t.teardown(async () => {
    await pintle('down');
    rmSync(parent, { recursive: true, force: true });
  });
  const api = new ApiClient(join(folder, 'server', 'api.sock'));
  const up = async () => {
    const { code, stderr } = await pintle('up', '-dn1', '--listen', `127.0.0.1:${await freePort()}`);
    t.is(code, 0, stderr);
    const { spec } = await api.get<Lease>('/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/node-1');
    return Date.parse(spec.renewTime ?? '');
  };
  const first = await up();
  const configMap = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'kept' } };
  await api.create('/api/v1/namespaces/default/configmaps', configMap);
  t.is((await pintle('down', '--keep-state')).code, 0);
  t.is((await pintle('up', '--listen', '192.0.2.1:6443')).code, 1, 'a start that fails costs nothing');
  t.true((await up()) > first, 'Ready is what the new agent says');
  t.is((await api.raw('GET', '/api/v1/namespaces/default/configmaps/kept')).status, 200);
});

test('a detached start that fails prints why, and its exit code', async (t) => {
  const parent = mkdtempSync(join(tmpdir(), 'pintle-detach-'));
  t.teardown(() => rmSync(parent, { recursive: true, force: true }));
  const { code, stderr } = await run(process.execPath, [
    ...[program, 'up', '--detach', '--state-dir', join(parent, 'c')],
    ...['--listen', '192.0.2.1:6443'],
  ]);
  t.is(code, 1);
  t.regex(stderr, /192\.0\.2\.1:6443 is no place to listen/);
});
