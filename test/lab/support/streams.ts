/**
 * Several streams at once between two namespaces, with content and order looked at:
 *
 *     streams.js serve PORT                answers each TCP connection, at its end, with the SHA-256 of what came
 *     streams.js send HOST PORT COUNT BYTES  sends as many streams, and beside each a row of numbered datagrams; prints a line
 */
import { createHash } from 'node:crypto';
import dgram from 'node:dgram';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { text } from 'node:stream/consumers';

/** `equal`: streams that arrived as sent. `rows`: datagram rows that arrived; `overtaken`: datagrams that came after a later one. */
export interface StreamsResult {
  readonly equal: number;
  readonly rows: number;
  readonly overtaken: number;
}

const [verb = '', ...args] = process.argv.slice(2);
const say = (value: unknown): void => void process.stdout.write(`${JSON.stringify(value)}\n`);

async function serve(port: number): Promise<void> {
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    const digest = createHash('sha256');
    socket.on('data', (chunk) => digest.update(chunk));
    socket.on('end', () => socket.end(digest.digest('hex')));
  });
  const last = new Map<number, number>();
  let overtaken = 0;
  const datagrams = dgram.createSocket('udp4');
  datagrams.on('message', (message, from) => {
    // One byte asks what has come so far.
    if (message.length === 1)
      return datagrams.send(JSON.stringify({ rows: last.size, overtaken }), from.port, from.address);
    const number = message.readUInt32BE(0);
    if (number < (last.get(from.port) ?? 0)) overtaken += 1;
    last.set(from.port, number);
  });
  datagrams.bind(port);
  await once(server.listen(port, '0.0.0.0'), 'listening');
  say('listening');
}

async function sendStream(host: string, port: number, bytes: number, seed: number): Promise<boolean> {
  const socket = connect({ host, port });
  const answer = text(socket);
  const digest = createHash('sha256');
  let state = seed;
  for (let sent = 0; sent < bytes; sent += 65_536) {
    const words = new Uint32Array(Math.min(65_536, bytes - sent) >> 2);
    for (let index = 0; index < words.length; index += 1) {
      state ^= state << 13;
      state ^= state >>> 17;
      state ^= state << 5;
      words[index] = state;
    }
    const chunk = Buffer.from(words.buffer);
    digest.update(chunk);
    if (!socket.write(chunk)) await once(socket, 'drain');
  }
  socket.end();
  return (await answer) === digest.digest('hex');
}

async function sendRow(host: string, port: number): Promise<void> {
  const socket = dgram.createSocket('udp4');
  for (let number = 1; number <= 400; number += 1) {
    const message = Buffer.alloc(200);
    message.writeUInt32BE(number, 0);
    await new Promise((resolve) => socket.send(message, port, host, resolve));
  }
  socket.close();
}

async function ask(host: string, port: number): Promise<object> {
  const socket = dgram.createSocket('udp4');
  const repeat = setInterval(() => socket.send('?', port, host), 100);
  const [message] = (await once(socket, 'message')) as [Buffer];
  clearInterval(repeat);
  socket.close();
  return JSON.parse(message.toString()) as object;
}

if (verb === 'serve') await serve(Number(args[0]));
else if (verb === 'send') {
  const [host, port, count, bytes] = [args[0], ...args.slice(1).map(Number)] as [string, number, number, number];
  const each = Array.from({ length: count }, (_, index) => index + 1);
  const [equal] = await Promise.all([
    Promise.all(each.map((seed) => sendStream(host, port, bytes, seed * 0x9e37_79b1))),
    Promise.all(each.map(() => sendRow(host, port))),
  ]);
  say({ equal: equal.filter(Boolean).length, ...(await ask(host, port)) });
}
