import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import test from 'ava';
import { createHttpClient } from '../../../plugins/clusters/remote/http-client.ts';

const absent = { socketPath: undefined, tls: undefined, bearerToken: undefined };

test('a call that is given up in the very moment of its answer ends', async (t) => {
  const server = createServer((_request, response) => void response.end('{}'));
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  const url = `http://127.0.0.1:${port}`;
  const client = createHttpClient({
    endpoint: async () => ({ url, host: '127.0.0.1', port, basePath: '', ...absent }),
    ...{ maxConnections: 1, callTimeoutMs: 60_000 },
  });
  const onAnswer = (message: unknown): void => {
    (message as { response: IncomingMessage }).response.destroy();
  };
  t.teardown(() => {
    client.close();
    server.close();
  });
  t.deepEqual((await client.call({ method: 'POST', path: '/' })).body, {});
  subscribe('http.client.response.finish', onAnswer);
  t.teardown(() => unsubscribe('http.client.response.finish', onAnswer));
  await t.throwsAsync(client.call({ method: 'POST', path: '/' }), { code: 'UNAVAILABLE' });
});
