import { createServer } from 'node:net';
import test from 'ava';
import type { Logger } from '../../../kernel/contract/index.ts';
import { freePort } from '../../free-port.ts';
import { HealthCheckPorts } from '../../../plugins/components/service-proxy/health-check-ports.ts';

const listening = async (server: ReturnType<typeof createServer>): Promise<number> => {
  const port = await freePort();
  await new Promise<void>((resolve, reject) => server.once('error', reject).listen(port, '::', resolve));
  return port;
};

const ask = async (port: number): Promise<[number, unknown] | undefined> => {
  try {
    const response = await fetch(`http://127.0.0.1:${port}/`);
    return [response.status, await response.json()];
  } catch {
    return undefined;
  }
};

async function until<T>(act: () => Promise<T | undefined>): Promise<T> {
  for (;;) {
    const value = await act();
    if (value !== undefined) return value;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

test('a node with ready endpoints and a sound proxy answers 200, else 503; a Service that is gone is not answered for', async (t) => {
  const warnings: string[] = [];
  const log = { debug() {}, info() {}, error() {}, warn: (text: string) => warnings.push(text) } as unknown as Logger;
  let serviceProxyHealthy = true;
  const ports = new HealthCheckPorts(log, () => serviceProxyHealthy);
  t.teardown(() => ports[Symbol.asyncDispose]());
  const port = await freePort();
  const service = { namespace: 'a', name: 'web', port };
  const body = (localEndpoints: number) => ({
    service: { namespace: 'a', name: 'web' },
    localEndpoints,
    serviceProxyHealthy,
  });
  ports.update([{ ...service, localEndpoints: 2 }]);
  t.deepEqual(await until(() => ask(port)), [200, body(2)]);
  serviceProxyHealthy = false;
  t.deepEqual(await ask(port), [503, body(2)], 'its rules may be wrong');
  serviceProxyHealthy = true;
  ports.update([{ ...service, localEndpoints: 0 }]);
  t.deepEqual(await ask(port), [503, body(0)]);
  ports.update([]);
  t.is(await ask(port), undefined);
  const other = createServer();
  t.teardown(() => other.close());
  const taken = await listening(other);
  ports.update([{ ...service, port: taken, localEndpoints: 1 }]);
  await until(async () => (warnings.length > 0 ? warnings : undefined));
  await new Promise((resolve) => other.close(resolve));
  ports.update([{ ...service, port: taken, localEndpoints: 1 }]);
  t.deepEqual(await until(() => ask(taken)), [200, body(1)], 'free again');
});
