/** exec, attach, port-forward and logs on the wire: WebSocket channels, SPDY frames, refusals, junk. */
import { createServer, type AddressInfo } from 'node:net';
import { once } from 'node:events';
import { request as httpRequest, type IncomingMessage } from 'node:http';
import anyTest, { type ExecutionContext, type TestFn } from 'ava';
import { WebSocket } from 'ws';
import { resources } from '../../../kernel/machinery/resources.ts';
import { startApi, type Api } from './api-harness.ts';
import { fakeCluster, type FakeCluster } from './fake-cluster.ts';
import { processNode, type ProcessNode } from './process-node.ts';
import { upgradeSpdy, upgradeTunnelledSpdy } from './spdy-client.ts';

const test = anyTest as TestFn<{ api: Api; cluster: FakeCluster; node: ProcessNode }>;

test.before(async (t) => {
  const cluster = fakeCluster();
  const node = processNode();
  for (const line of ['one', 'two', 'three']) node.log(line);
  await cluster.serveNode('n1', node, new AbortController().signal);
  const pod = (name: string, spec: object): unknown =>
    cluster.seed(resources.pods, { metadata: { name, namespace: 'default' }, spec });
  pod('p', { nodeName: 'n1', containers: [{ name: 'c' }] });
  pod('two', { nodeName: 'n1', containers: [{ name: 'c' }, { name: 'absent' }] });
  pod('unscheduled', { containers: [{ name: 'c' }] });
  pod('away', { nodeName: 'n2', containers: [{ name: 'c' }] });
  t.context = { cluster, node, api: await startApi({ cluster }) };
});
test.after.always((t) => t.context.api[Symbol.asyncDispose]());

const base = '/api/v1/namespaces/default/pods';
const shell = (script: string): string => `command=sh&command=-c&command=${encodeURIComponent(script)}`;

interface Client {
  readonly socket: WebSocket;
  readonly channels: Map<number, string>;
  readonly closed: Promise<void>;
  send(channel: number, data: string | Buffer): void;
  status(): any;
}

async function open(t: ExecutionContext<{ api: Api }>, path: string, protocol: string): Promise<Client> {
  const socket = new WebSocket(`ws+unix:${t.context.api.socket}:${path}`, [protocol]);
  const channels = new Map<number, string>();
  socket.on('message', (data: Buffer) =>
    channels.set(data[0] ?? 0, (channels.get(data[0] ?? 0) ?? '') + data.subarray(1).toString('latin1')),
  );
  const closed = once(socket, 'close').then(() => undefined);
  await once(socket, 'open');
  t.is(socket.protocol, protocol);
  return {
    socket,
    channels,
    closed,
    send: (channel, data) => socket.send(Buffer.concat([Buffer.from([channel]), Buffer.from(data)])),
    status: () => JSON.parse(channels.get(3) ?? 'null'),
  };
}

for (const protocol of ['v4.channel.k8s.io', 'v5.channel.k8s.io']) {
  test(`exec over WebSocket ${protocol}: output, errors, exit code`, async (t) => {
    const client = await open(
      t,
      `${base}/p/exec?${shell('echo out; echo err >&2; exit 7')}&stdout=1&stderr=1`,
      protocol,
    );
    await client.closed;
    t.is(client.channels.get(1), 'out\n');
    t.is(client.channels.get(2), 'err\n');
    t.like(client.status(), {
      status: 'Failure',
      reason: 'NonZeroExitCode',
      details: { causes: [{ reason: 'ExitCode', message: '7' }] },
    });
  });
}

test('exec over WebSocket: success is said', async (t) => {
  const client = await open(t, `${base}/p/exec?command=true&stdout=1`, 'v5.channel.k8s.io');
  await client.closed;
  t.deepEqual(client.status(), { metadata: {}, status: 'Success' });
});

test('exec over WebSocket: stdin, and its end in v5', async (t) => {
  const client = await open(t, `${base}/p/exec?${shell('cat; echo end')}&stdin=1&stdout=1`, 'v5.channel.k8s.io');
  client.send(0, 'hello ');
  client.send(0, 'you');
  client.send(255, Buffer.from([0]));
  await client.closed;
  t.is(client.channels.get(1), 'hello youend\n');
});

test('exec over WebSocket: bytes come through unchanged, more than any buffer holds', async (t) => {
  const client = await open(t, `${base}/p/exec?${shell('cat')}&stdin=1&stdout=1`, 'v5.channel.k8s.io');
  const bytes = Buffer.alloc(3_000_000, Buffer.from(Array.from({ length: 256 }, (_, index) => index)));
  for (let from = 0; from < bytes.length; from += 32_768) client.send(0, bytes.subarray(from, from + 32_768));
  client.send(255, Buffer.from([0]));
  await client.closed;
  t.true(Buffer.from(client.channels.get(1) ?? '', 'latin1').equals(bytes));
});

test('exec over WebSocket: the terminal size reaches the process', async (t) => {
  const { node } = t.context;
  const client = await open(t, `${base}/p/exec?${shell('read x')}&stdin=1&stdout=1&tty=1`, 'v4.channel.k8s.io');
  client.send(4, '{"Width":100,"Height":40}');
  client.send(4, 'junk');
  client.send(4, '{"Width":-1,"Height":1e9}');
  client.send(0, '\n');
  await client.closed;
  t.deepEqual(node.sizes.at(-1), { columns: 100, rows: 40 });
});

test('exec: a command that cannot be run says why, and ends with 127', async (t) => {
  const client = await open(t, `${base}/p/exec?command=/no/such/command&stdout=1&stderr=1`, 'v5.channel.k8s.io');
  await client.closed;
  t.regex(client.channels.get(2) ?? '', /ENOENT/);
  t.is(client.status().details.causes[0].message, '127');
});

test('a client that goes away ends its process', async (t) => {
  const { node } = t.context;
  const before = node.running;
  const client = await open(t, `${base}/p/exec?${shell('echo ready; exec sleep 1000')}&stdout=1`, 'v5.channel.k8s.io');
  // What it says may have come together with the answer to the upgrade.
  while (!(client.channels.get(1) ?? '').includes('ready')) await new Promise((resolve) => setTimeout(resolve, 10));
  client.socket.terminate();
  while (node.running > before) await new Promise((resolve) => setTimeout(resolve, 10));
  t.pass();
});

test('input that nobody reads does not delay the end', async (t) => {
  const client = await open(t, `${base}/p/exec?${shell('exec sleep 0.3')}&stdin=1&stdout=1`, 'v5.channel.k8s.io');
  for (let round = 0; round < 40; round++) client.send(0, Buffer.alloc(32_768));
  client.send(255, Buffer.from([0]));
  await client.closed;
  t.is(client.status().status, 'Success');
});

test('attach reaches the container', async (t) => {
  const client = await open(t, `${base}/p/attach?stdin=1&stdout=1`, 'v5.channel.k8s.io');
  client.send(0, 'to the container');
  client.send(255, Buffer.from([0]));
  await client.closed;
  t.is(client.channels.get(1), 'to the container');
  t.like(
    t.context.node.requests.findLast((request: any) => request.command === undefined && request.stdin === true),
    { pod: 'p', container: 'c' },
  );
});

test('junk in a WebSocket harms nobody else', async (t) => {
  const client = await open(t, `${base}/p/exec?${shell('cat')}&stdin=1&stdout=1`, 'v5.channel.k8s.io');
  client.socket.send('');
  client.socket.send(Buffer.from([0]));
  client.socket.send(Buffer.from([99, 1, 2, 3]));
  client.socket.send(Buffer.from([255, 77]));
  client.socket.send('text');
  client.socket.send(Buffer.alloc(5_000_000));
  await client.closed;
  t.is((await t.context.api.call('GET', '/livez')).text, 'ok');
});

const refusals = [
  ['no such pod', `${base}/absent/exec?command=ls&stdout=1`, 404],
  ['no such container', `${base}/p/exec?command=ls&stdout=1&container=x`, 400],
  ['no container named', `${base}/two/exec?command=ls&stdout=1`, 400],
  ['no node yet', `${base}/unscheduled/exec?command=ls&stdout=1`, 400],
  ['a node that is not connected', `${base}/away/exec?command=ls&stdout=1`, 503],
  ['no command', `${base}/p/exec?stdout=1`, 400],
  ['no streams', `${base}/p/exec?command=ls`, 400],
  ['a NUL in the command', `${base}/p/exec?command=a%00b&stdout=1`, 400],
  ['another path', '/api/v1/namespaces/default/configmaps', 400],
  ['an unknown path', '/nope', 404],
  ['a path that climbs', `${base}/../exec?command=ls`, 400],
] as const;

for (const [name, path, code] of refusals) {
  test(`a refused upgrade is answered with a Status and closed: ${name}`, async (t) => {
    const answer = await new Promise<IncomingMessage>((resolve, reject) => {
      httpRequest(
        {
          socketPath: t.context.api.socket,
          path,
          agent: false,
          headers: {
            connection: 'Upgrade',
            upgrade: 'websocket',
            'sec-websocket-version': '13',
            'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==',
            'sec-websocket-protocol': 'v5.channel.k8s.io',
          },
        },
        resolve,
      )
        .on('error', reject)
        .end();
    });
    let text = '';
    for await (const chunk of answer) text += String(chunk);
    t.is(answer.statusCode, code);
    t.like(JSON.parse(text), { kind: 'Status', code });
    t.is(answer.headers['connection'], 'close');
  });
}

test('an unknown subprotocol is refused', async (t) => {
  const socket = new WebSocket(`ws+unix:${t.context.api.socket}:${base}/p/exec?command=ls&stdout=1`, [
    'v9.channel.k8s.io',
  ]);
  const [, answer] = (await once(socket, 'unexpected-response')) as [unknown, IncomingMessage];
  t.is(answer.statusCode, 400);
  answer.resume();
});

const v4 = 'v5.channel.k8s.io, v4.channel.k8s.io, v3.channel.k8s.io, v2.channel.k8s.io, channel.k8s.io';

test('exec over SPDY: streams, exit code, and a client that closes', async (t) => {
  const { answer, client } = await upgradeSpdy(
    t.context.api.socket,
    `${base}/p/exec?${shell('cat; echo err >&2; exit 3')}&stdin=1&stdout=1&stderr=1`,
    v4,
  );
  t.regex(answer, /^HTTP\/1\.1 101 /);
  t.regex(answer, /X-Stream-Protocol-Version: v4\.channel\.k8s\.io/i);
  const error = await client.open({ streamtype: 'error' });
  const stdin = await client.open({ streamtype: 'stdin' });
  const stdout = await client.open({ streamtype: 'stdout' });
  const stderr = await client.open({ streamtype: 'stderr' });
  stdin.write('through spdy');
  stdin.end();
  t.is(await stdout.done(), 'through spdy');
  t.is(await stderr.done(), 'err\n');
  t.is(JSON.parse(await error.done()).details.causes[0].message, '3');
  t.deepEqual(client.replies, [1, 3, 5, 7]);
  client.close();
});

test('SPDY frames may come byte by byte; pings are answered; unknown data is dropped', async (t) => {
  const { client } = await upgradeSpdy(t.context.api.socket, `${base}/p/exec?${shell('cat')}&stdin=1&stdout=1`, v4);
  const error = await client.open({ streamtype: 'error' });
  const stdin = await client.open({ streamtype: 'stdin' });
  const stdout = await client.open({ streamtype: 'stdout' });
  client.control(6, 0, Buffer.from([0, 0, 0, 9]));
  client.control(4, 0, Buffer.from([0, 0, 0, 0]));
  client.control(9, 0, Buffer.alloc(8));
  client.data(777, Buffer.from('for nobody'), true);
  const head = Buffer.from([0, 0, 0, stdin.id, 0, 0, 0, 5]);
  await client.trickle(Buffer.concat([head, Buffer.from('drops')]));
  stdin.end();
  t.is(await stdout.done(), 'drops');
  t.is(JSON.parse(await error.done()).status, 'Success');
  t.deepEqual(client.pings, [9]);
  client.close();
});

test('SPDY: streams of even or repeated ids are reset, the others live', async (t) => {
  const { client } = await upgradeSpdy(t.context.api.socket, `${base}/p/exec?${shell('echo hi')}&stdout=1`, v4);
  const error = await client.open({ streamtype: 'error' });
  await client.openAs(2, { streamtype: 'stdout' });
  await client.openAs(1, { streamtype: 'stdout' });
  const stdout = await client.open({ streamtype: 'stdout' });
  t.is(await stdout.done(), 'hi\n');
  t.is(JSON.parse(await error.done()).status, 'Success');
  t.deepEqual(client.replies, [1, 3]);
  client.close();
});

const junk: readonly (readonly [string, Buffer])[] = [
  ['bytes that are no frame', Buffer.alloc(64, 0xff)],
  ['a version that is not 3', Buffer.from([0x80, 2, 0, 1, 0, 0, 0, 0])],
  ['a control frame of 16 MiB', Buffer.from([0x80, 3, 0, 1, 0, 0xff, 0xff, 0xff])],
  [
    'headers that are not compressed',
    Buffer.concat([Buffer.from([0x80, 3, 0, 1, 0, 0, 0, 30, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0]), Buffer.alloc(20, 7)]),
  ],
  ['a stream frame too short', Buffer.from([0x80, 3, 0, 1, 0, 0, 0, 2, 0, 0])],
  ['an unknown control frame', Buffer.from([0x80, 3, 0, 99, 0, 0, 0, 0])],
];

for (const [name, bytes] of junk) {
  test(`SPDY junk closes that connection alone: ${name}`, async (t) => {
    const { client } = await upgradeSpdy(t.context.api.socket, `${base}/p/portforward`, 'portforward.k8s.io');
    client.raw(bytes);
    await client.closed;
    t.is((await t.context.api.call('GET', '/livez')).text, 'ok');
  });
}

async function echoServer(t: ExecutionContext): Promise<number> {
  const server = createServer((socket) => socket.pipe(socket));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.teardown(() => server.close());
  return (server.address() as AddressInfo).port;
}

test('port-forward over SPDY: several connections, one that is refused', async (t) => {
  const port = await echoServer(t);
  const { client } = await upgradeSpdy(t.context.api.socket, `${base}/p/portforward`, 'portforward.k8s.io');
  const connections = [];
  for (const requestid of ['0', '1']) {
    const headers = { port: String(port), requestid };
    connections.push({
      error: await client.open({ ...headers, streamtype: 'error' }, { fin: true }),
      data: await client.open({ ...headers, streamtype: 'data' }),
      requestid,
    });
  }
  for (const { data, requestid } of connections) data.write(`hello ${requestid}`);
  for (const { data } of connections) data.end();
  for (const { error, data, requestid } of connections) {
    t.is(await data.done(), `hello ${requestid}`);
    t.is(await error.done(), '');
  }
  const refused = { port: '1', requestid: '2' };
  const error = await client.open({ ...refused, streamtype: 'error' }, { fin: true });
  await client.open({ ...refused, streamtype: 'data' });
  t.regex(await error.done(), /error forwarding port 1 to pod p/);
  for (const port of ['0', '65536', 'x']) {
    const bad = await client.open({ port, requestid: `bad${port}`, streamtype: 'error' }, { fin: true });
    await client.open({ port, requestid: `bad${port}`, streamtype: 'data' });
    t.regex(await bad.done(), /is not valid/);
  }
  client.close();
});

test('port-forward over SPDY in a WebSocket, as kubectl from 1.31 on and client-go ask for it', async (t) => {
  const port = await echoServer(t);
  const protocol = 'SPDY/3.1+portforward.k8s.io';
  const { answer, client } = await upgradeTunnelledSpdy(t.context.api.socket, `${base}/p/portforward`, protocol);
  t.regex(answer, /^HTTP\/1\.1 101 [^]*sec-websocket-protocol: SPDY\/3\.1\+portforward\.k8s\.io/i);
  const headers = { port: String(port), requestid: '0' };
  const error = await client.open({ ...headers, streamtype: 'error' }, { fin: true });
  const data = await client.open({ ...headers, streamtype: 'data' });
  data.write('through a tunnel');
  data.end();
  t.is(await data.done(), 'through a tunnel');
  t.is(await error.done(), '');
  client.close();
});

test('port-forward over WebSocket channels', async (t) => {
  const port = await echoServer(t);
  const client = await open(t, `${base}/p/portforward?ports=${port}&ports=1`, 'v4.channel.k8s.io');
  client.send(0, 'over a channel');
  const isDone = (): boolean =>
    (client.channels.get(0) ?? '').endsWith('over a channel') &&
    (client.channels.get(3) ?? '').includes('error forwarding port 1');
  while (!isDone()) await once(client.socket, 'message');
  const head = Buffer.alloc(2);
  head.writeUInt16LE(port);
  t.is(client.channels.get(0), `${head.toString('latin1')}over a channel`);
  client.socket.close();
  await client.closed;
});

test.serial('logs: all, a tail, an unclear container, a pod that has no node, a node that is away', async (t) => {
  const { api } = t.context;
  const all = await api.call('GET', `${base}/p/log`);
  t.is(all.text, 'one\ntwo\nthree\n');
  t.is(all.headers['content-type'], 'text/plain');
  t.is((await api.call('GET', `${base}/p/log?tailLines=1&timestamps=true&sinceSeconds=60`)).text, 'three\n');
  t.like(
    t.context.node.requests.findLast((request: any) => request.tailLines === 1),
    { timestamps: true, follow: false, container: 'c' },
  );
  const unclear = await api.call('GET', `${base}/two/log`);
  t.is(unclear.status, 400);
  t.regex(unclear.json.message, /a container name must be specified for pod two, choose one of: \[c absent\]/);
  const waiting = await api.call('GET', `${base}/two/log?container=absent`);
  t.is(waiting.status, 400);
  t.regex(waiting.json.message, /ContainerCreating/);
  t.is((await api.call('GET', `${base}/unscheduled/log`)).text, '');
  t.is((await api.call('GET', `${base}/away/log`)).status, 503);
});

test.serial('logs that are followed come as they are written', async (t) => {
  const answer = await new Promise<IncomingMessage>((resolve) =>
    httpRequest(
      { socketPath: t.context.api.socket, path: `${base}/p/log?follow=true&tailLines=0`, agent: false },
      resolve,
    ).end(),
  );
  const chunk = once(answer, 'data');
  t.context.node.log('later');
  t.is(String((await chunk)[0]), 'later\n');
  answer.destroy();
});
