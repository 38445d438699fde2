/** The gRPC health protocol against servers that answer as grpc-go and grpc-js do. */
import { once } from 'node:events';
import { createServer, type ServerHttp2Stream } from 'node:http2';
import { createServer as createTcpServer, type AddressInfo, type Server } from 'node:net';
import test, { type ExecutionContext } from 'ava';
import { checkGrpcHealth, healthRequest, servingState } from '../../../plugins/components/node-agent/grpc-health.ts';

const answer = (...bytes: number[]) => Buffer.from([0, 0, 0, 0, bytes.length, ...bytes]);

async function listen(t: ExecutionContext, server: Server | ReturnType<typeof createServer>): Promise<number> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => server.close());
  return (server.address() as AddressInfo).port;
}

/** Answers the service "up" with SERVING, "down" with NOT_SERVING, others with NOT_FOUND. */
function respond(stream: ServerHttp2Stream, body: Buffer): void {
  const service = body.subarray(7).toString();
  if (service !== 'up' && service !== 'down') {
    stream.respond(
      { ':status': 200, 'content-type': 'application/grpc', 'grpc-status': '5', 'grpc-message': 'unknown' },
      { endStream: true },
    );
    return;
  }
  stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
  stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
  stream.end(answer(8, service === 'up' ? 1 : 2));
}

test('serving, not serving, unknown', async (t) => {
  const server = createServer();
  const seen: string[] = [];
  server.on('stream', (stream, headers) => {
    stream.on('error', () => undefined);
    seen.push(`${headers[':method']} ${headers[':path']} ${headers['content-type']} ${headers['te']}`);
    const pieces: Buffer[] = [];
    stream.on('data', (chunk: Buffer) => pieces.push(chunk)).on('end', () => respond(stream, Buffer.concat(pieces)));
  });
  const port = await listen(t, server);
  const check = (service: string) => checkGrpcHealth({ host: '127.0.0.1', port, service }, 5_000);
  t.deepEqual(await check('up'), { ok: true, message: 'service healthy' });
  t.deepEqual(await check('down'), { ok: false, message: 'service unhealthy (responded with "NOT_SERVING")' });
  t.deepEqual(await check('no'), { ok: false, message: 'error: health rpc probe failed: code 5: unknown' });
  t.is(seen[0], 'POST /grpc.health.v1.Health/Check application/grpc trailers');
});

test('a server without the protocol, one that speaks another, one that is silent, none at all', async (t) => {
  const other = createServer();
  other.on('stream', (stream) => {
    // The client goes as soon as it knows.
    stream.on('error', () => undefined);
    if (!stream.destroyed) stream.respond({ ':status': 200, 'grpc-status': '12' }, { endStream: true });
  });
  const host = '127.0.0.1';
  const unimplemented = await checkGrpcHealth({ host, port: await listen(t, other) }, 5_000);
  t.regex(unimplemented.message, /does not implement the grpc health protocol/);
  const http1 = createTcpServer((socket) =>
    socket.on('error', () => undefined).end('HTTP/1.1 400 Bad Request\r\n\r\n'),
  );
  t.false((await checkGrpcHealth({ host, port: await listen(t, http1) }, 5_000)).ok);
  const silent = createTcpServer((socket) => void socket.on('error', () => undefined).resume());
  const late = await checkGrpcHealth({ host, port: await listen(t, silent) }, 100);
  t.is(late.message, 'timeout: health rpc did not complete within 0.1s');
  t.regex((await checkGrpcHealth({ host, port: 1 }, 5_000)).message, /failed to connect service "127.0.0.1:1"/);
});

test('messages on the wire', (t) => {
  t.is(healthRequest('').toString('hex'), '0000000000');
  t.is(healthRequest('ab').toString('hex'), '00000000040a026162');
  t.is(healthRequest('x'.repeat(200)).subarray(0, 8).toString('hex'), '00000000cb0ac801');
  t.is(servingState(answer()), 'UNKNOWN');
  t.is(servingState(answer(8, 3)), 'SERVICE_UNKNOWN');
  t.is(servingState(answer(9, 1)), undefined);
  t.is(servingState(Buffer.alloc(3)), undefined);
});
