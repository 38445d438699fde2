/** The way of pods to the API, when its end is the server's unix socket: open to TLS, closed to the administrator's HTTP. */
import { once } from 'node:events';
import { connect } from 'node:net';
import anyTest, { type TestFn } from 'ava';
import { connect as connectTls } from 'node:tls';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { rawConnection } from '../../../plugins/clusters/remote/raw-connection.ts';
import { endpointOf } from '../../../plugins/clusters/remote/endpoint.ts';
import { Forwarder } from '../../../plugins/components/api-forwarder/forwarder.ts';
import { freePort } from '../../free-port.ts';
import { quiet, startApi, type Api } from '../api-server/api-harness.ts';

const test = anyTest as TestFn<{ api: Api; forwarder: Forwarder; port: number }>;

test.before(async (t) => {
  const api = await startApi();
  const endpoint = endpointOf(`unix:${api.socket}`, undefined as never);
  const forwarder = new Forwarder({ connect: () => rawConnection(endpoint), maxConnections: 10, log: quiet });
  const port = await freePort();
  await forwarder.listen('127.0.0.1', port);
  t.context = { api, forwarder, port };
});
test.after.always(async (t) => {
  await t.context.forwarder.close();
  await t.context.api[Symbol.asyncDispose]();
});

const question = 'GET /api/v1/namespaces HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n';

async function said(stream: NodeJS.ReadWriteStream, words: string): Promise<string> {
  let text = '';
  stream.on('data', (chunk: Buffer) => (text += chunk.toString()));
  stream.on('error', () => undefined);
  const end = new Promise((resolve) => stream.once('close', resolve));
  stream.write(words);
  await end;
  return text;
}

test('over TLS a stranger is asked who he is', async (t) => {
  const ca = readFileSync(join(t.context.api.folder, 'pki/ca.crt'), 'utf8');
  const stream = connectTls({ host: '127.0.0.1', port: t.context.port, ca, servername: 'kubernetes' });
  await once(stream, 'secureConnect');
  t.regex(await said(stream, question), /^HTTP\/1\.1 40[13] /);
});

test('plain HTTP gets nothing, though the socket at the end of the way would answer it', async (t) => {
  t.regex(await said(connect({ path: t.context.api.socket }), question), /^HTTP\/1\.1 200 /);
  t.is(await said(connect({ host: '127.0.0.1', port: t.context.port }), question), '');
  t.is(await said(connect({ host: '127.0.0.1', port: t.context.port }), '\n'), '');
});
