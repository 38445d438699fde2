/** A node tunnel under many streams: both ends write at once, and some clients never read. */
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough, Readable } from 'node:stream';
import test, { type ExecutionContext } from 'ava';
import type { NodeService, ProcessStreams } from '../../../kernel/contract/index.ts';
import { openNodeTunnel } from '../../../kernel/machinery/node-tunnel/tunnel-client.ts';
import { serveNodeTunnel } from '../../../kernel/machinery/node-tunnel/tunnel-server.ts';

const web = createServer((socket) => {
  socket.on('error', () => undefined).once('data', () => socket.end('answer', () => socket.destroy()));
});
const webFolder = mkdtempSync(join(tmpdir(), 'pintle-tunnel-'));
test.before(async () => {
  web.listen(join(webFolder, 's'));
  await once(web, 'listening');
});
test.after.always(() => {
  web.close();
  rmSync(webFolder, { recursive: true, force: true });
});

/** `echo` gives back what it gets; `flood` prints for ever. */
const node = {
  async exec({ command }) {
    const stdin = new PassThrough();
    const flood = new Readable({ read: () => void flood.push(Buffer.alloc(16_384)) });
    const stdout = command[0] === 'flood' ? flood : stdin;
    const exited = once(stdin, 'end').then(() => ({ exitCode: 0 }));
    const close = () => void stdout.destroy();
    return { stdin, stdout, stderr: undefined, exited, close, resize: () => undefined };
  },
  /** To a server that answers once and closes. */
  async portForward() {
    const socket = connect(join(webFolder, 's'));
    await once(socket, 'connect');
    return socket;
  },
} as Partial<NodeService> as NodeService;

async function openTunnel(t: ExecutionContext): Promise<NodeService> {
  const folder = mkdtempSync(join(tmpdir(), 'pintle-tunnel-'));
  const stop = new AbortController();
  const server = createServer((socket) => void serveNodeTunnel(socket, node, stop.signal));
  server.listen(join(folder, 's'));
  await once(server, 'listening');
  const socket = connect(join(folder, 's'));
  await once(socket, 'connect');
  const tunnel = openNodeTunnel('n', socket);
  t.teardown(async () => {
    tunnel.close();
    stop.abort();
    await tunnel.closed;
    server.close();
    rmSync(folder, { recursive: true, force: true });
  });
  return tunnel.service;
}

const open = (service: NodeService, command: string): Promise<ProcessStreams> =>
  service.exec({
    ...{ namespace: 'd', pod: 'p', container: 'c', command: [command] },
    ...{ stdin: true, stdout: true, stderr: false, tty: false },
  });

async function through(service: NodeService, bytes: Buffer): Promise<Buffer> {
  const { stdin, stdout } = await open(service, 'echo');
  const back: Buffer[] = [];
  stdout!.on('data', (chunk: Buffer) => back.push(chunk));
  for (let from = 0; from < bytes.length; from += 32_768)
    if (!stdin!.write(bytes.subarray(from, from + 32_768))) await once(stdin!, 'drain');
  stdin!.end();
  await once(stdout!, 'end');
  return Buffer.concat(back);
}

test('streams that go both ways at once come to their end', async (t) => {
  const service = await openTunnel(t);
  const sent = Array.from({ length: 40 }, () => randomBytes(1_000_000));
  const back = await Promise.all(sent.map((bytes) => through(service, bytes)));
  for (const [index, bytes] of back.entries()) t.true(bytes.equals(sent[index]!), `stream ${index}`);
});

test('clients that do not read hold up nobody else', async (t) => {
  const service = await openTunnel(t);
  const silent = await Promise.all(Array.from({ length: 100 }, () => open(service, 'flood')));
  for (const { stdout } of silent) await once(stdout!, 'readable');
  const bytes = randomBytes(1_000_000);
  t.true((await through(service, bytes)).equals(bytes));
  for (const each of silent) each.close();
});

test('a connection that the pod ends ends for the client, after all that it said', async (t) => {
  const service = await openTunnel(t);
  for (let round = 0; round < 50; round++) {
    const connection = await service.portForward({ namespace: 'd', pod: 'p', port: 1 });
    let text = '';
    connection.on('data', (chunk: Buffer) => (text += chunk.toString()));
    connection.write('request');
    const isWhole = await Promise.race([
      once(connection, 'end').then(() => true),
      once(connection, 'close').then(() => false),
    ]);
    t.true(isWhole, `round ${round}: closed without an end`);
    t.is(text, 'answer');
    connection.destroy();
  }
});
