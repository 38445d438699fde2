/** The TLS port against clients that speak badly, slowly, or not at all. */
import { connect as connectPlain, type Socket } from 'node:net';
import { connect as connectTls, type TLSSocket } from 'node:tls';
import { connect as connectHttp2 } from 'node:http2';
import anyTest, { type TestFn } from 'ava';
import { startApi, type Api } from './api-harness.ts';
import { fakeCluster } from './fake-cluster.ts';
import { apiUrl, identityOf, overHttp1, overHttp2, type Identity } from './tls-client.ts';

const test = anyTest as TestFn<{ api: Api; port: number; url: string; admin: Identity }>;

test.before(async (t) => {
  // Long enough for a handshake on a busy machine.
  const api = await startApi({ cluster: fakeCluster(), config: { headersTimeoutSeconds: 5, bodyTimeoutSeconds: 5 } });
  const url = await apiUrl(api);
  t.context = { api, url, port: Number(new URL(url).port), admin: await identityOf(api, 'admin') };
});
test.afterEach.always(async (t) => {
  const { url, admin } = t.context;
  for (const over of [overHttp2, overHttp1])
    t.is((await patiently(() => over(url, '/api/v1/namespaces', admin))).status, 200);
});

/** On a busy machine the server's short patience may end before a good client has said all: it asks again. */
async function patiently<T>(ask: () => Promise<T>, tries = 5): Promise<T> {
  try {
    return await ask();
  } catch (error) {
    if (tries === 1) throw error;
    return patiently(ask, tries - 1);
  }
}
test.after.always((t) => t.context.api[Symbol.asyncDispose]());

function allOf(socket: Socket): Promise<string> {
  let text = '';
  socket.on('data', (chunk) => (text += String(chunk)));
  socket.on('error', () => undefined);
  return new Promise((resolve) => socket.once('close', () => resolve(text)));
}

function tlsSocket(context: { readonly port: number; readonly admin: Identity }, protocol: string): Promise<TLSSocket> {
  return new Promise((resolve, reject) => {
    const socket = connectTls(
      { host: '127.0.0.1', port: context.port, ...context.admin, ALPNProtocols: [protocol] },
      () => resolve(socket),
    );
    socket.once('error', reject);
  });
}

test('a connection that says nothing is closed', async (t) => {
  const socket = connectPlain({ host: '127.0.0.1', port: t.context.port });
  t.is(await allOf(socket), '');
});

test('plain HTTP to the TLS port is refused', async (t) => {
  const socket = connectPlain({ host: '127.0.0.1', port: t.context.port });
  socket.write('GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n');
  t.false((await allOf(socket)).includes('200 OK'));
});

test('headers that trickle over TLS get a Status', async (t) => {
  const socket = await patiently(() => tlsSocket(t.context, 'http/1.1'));
  socket.write('GET /api HTTP/1.1\r\nHost: x\r\nA: ');
  const timer = setInterval(() => (socket.writable ? socket.write('x') : undefined), 100);
  const text = await allOf(socket);
  clearInterval(timer);
  t.regex(text, /^HTTP\/1\.1 504 /);
  t.regex(text, /"kind":"Status"/);
});

test('bytes that are no HTTP get a Status', async (t) => {
  const socket = await tlsSocket(t.context, 'http/1.1');
  socket.write('hello\r\n\r\n');
  const text = await allOf(socket);
  t.regex(text, /^HTTP\/1\.1 400 /);
  t.regex(text, /"kind":"Status"/);
});

test('bytes that are no HTTP/2 end that connection', async (t) => {
  const socket = await patiently(() => tlsSocket(t.context, 'h2'));
  socket.write(Buffer.alloc(1000, 'x'));
  await allOf(socket);
  t.pass();
});

test('a TLS connection that then says nothing is closed', async (t) => {
  const socket = await patiently(() => tlsSocket(t.context, 'http/1.1'));
  const text = await allOf(socket);
  t.true(text === '' || /^HTTP\/1\.1 504 /.test(text), text);
});

async function post(api: Api, body: Buffer, end: boolean): Promise<{ readonly status: number; readonly text: string }> {
  const session = connectHttp2(await apiUrl(api), await identityOf(api, 'admin'));
  try {
    return await new Promise((resolve, reject) => {
      const stream = session.request({
        ':method': 'POST',
        ':path': '/api/v1/namespaces/default/configmaps',
        'content-type': 'application/json',
      });
      let status = 0;
      let text = '';
      stream.on('response', (headers) => (status = headers[':status'] ?? 0));
      stream.on('data', (chunk) => (text += String(chunk)));
      stream.on('end', () => resolve({ status, text }));
      stream.on('error', reject);
      if (end) stream.end(body);
      else stream.write(body);
    });
  } finally {
    session.close();
  }
}

test('a body over HTTP/2 that never ends gets 504', async (t) => {
  const slow = await post(t.context.api, Buffer.from('{'), false);
  t.is(slow.status, 504);
  t.is(JSON.parse(slow.text).kind, 'Status');
});

test('a body over HTTP/2 that is too large gets 413', async (t) => {
  // With the usual patience: a busy machine takes its time to send so much.
  const api = await startApi({ cluster: fakeCluster() });
  t.teardown(() => api[Symbol.asyncDispose]());
  const large = await post(api, Buffer.alloc(4 * 1024 * 1024, 'x'), true);
  t.is(large.status, 413);
  t.is(JSON.parse(large.text).code, 413);
});

test('many streams that are opened and reset at once do not stop the others', async (t) => {
  const session = connectHttp2(t.context.url, t.context.admin);
  session.on('error', () => undefined);
  for (let index = 0; index < 2000 && !session.destroyed; index++) {
    const stream = session.request({ ':path': '/api/v1/namespaces?watch=1' });
    stream.on('error', () => undefined);
    stream.close(8);
    if (index % 200 === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  t.is((await patiently(() => overHttp2(t.context.url, '/livez', t.context.admin))).status, 200);
  session.destroy();
});
