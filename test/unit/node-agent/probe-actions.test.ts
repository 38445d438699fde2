import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import test, { type ExecutionContext } from 'ava';
import type { ProcessStreams, Runtime } from '../../../kernel/contract/index.ts';
import { runAction, type Action } from '../../../plugins/components/node-agent/probe-actions.ts';

const probe = (action: Action, timeoutMs = 30_000, runtime: Partial<Runtime> = {}) =>
  runAction(
    action,
    { runtime: runtime as Runtime, containerId: 'c', container: { name: 'c' }, podIp: '127.0.0.1' },
    timeoutMs,
  );

async function listen(t: ExecutionContext): Promise<{ readonly server: Server; readonly port: number }> {
  const open = new Set<Socket>();
  const server = createServer((socket) => void open.add(socket.on('error', () => undefined)));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.teardown(() => {
    for (const socket of open) socket.destroy();
    server.close();
  });
  return { server, port: (server.address() as AddressInfo).port };
}

test('a port where nobody listens is said in the words of a kubelet', async (t) => {
  const { server, port } = await listen(t);
  await new Promise((resolve) => server.close(resolve));
  const refused = `dial tcp 127.0.0.1:${port}: connect: connection refused`;
  t.deepEqual(await probe({ tcpSocket: { port } }), { ok: false, message: refused });
  const message = `Get "http://127.0.0.1:${port}/healthz": ${refused}`;
  t.deepEqual(await probe({ httpGet: { port, path: '/healthz' } }), { ok: false, message });
});

test('a server that accepts and says nothing is late', async (t) => {
  const { port } = await listen(t);
  t.deepEqual(await probe({ tcpSocket: { port } }), { ok: true, message: 'connected' });
  const { ok, message } = await probe({ httpGet: { port } }, 20);
  t.false(ok);
  t.is(
    message,
    `Get "http://127.0.0.1:${port}/": context deadline exceeded (Client.Timeout exceeded while awaiting headers)`,
  );
});

test('a command that does not end in time is named, and ended', async (t) => {
  let isClosed = false;
  const streams = { exited: new Promise(() => undefined), close: () => (isClosed = true) };
  const runtime = { exec: async () => streams as unknown as ProcessStreams };
  t.deepEqual(await probe({ exec: { command: ['sleep', '100'] } }, 20, runtime), {
    ok: false,
    message: 'command timed out: "sleep 100" timed out after 0.02s',
  });
  t.true(isClosed);
});
