import { createSocket, type Socket } from 'node:dgram';
import { connect, createServer } from 'node:net';
import test from 'ava';
import packet from 'dns-packet';
import type { Service } from '../../../kernel/contract/kubernetes.ts';
import { DnsServer } from '../../../plugins/components/dns/dns-server.ts';
import { ClusterNames } from '../../../plugins/components/dns/records.ts';
import { createUpstream, nameserversOf } from '../../../plugins/components/dns/upstream.ts';
import { freePort } from '../../free-port.ts';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const silent = { debug() {}, info() {}, warn() {}, error() {} };
const clusterIPs = Array.from({ length: 20 }, (_, index) => `10.96.0.${index + 1}`);
const many = {
  apiVersion: 'v1',
  kind: 'Service',
  metadata: { name: 'many', namespace: 'a', uid: '', resourceVersion: '', creationTimestamp: '' },
  spec: { clusterIP: clusterIPs[0], clusterIPs },
} as Service;
const alias = { ...many, spec: { type: 'ExternalName', externalName: 'outside.test' } } as Service;
const names = new ClusterNames('cluster.local', {
  service: (_namespace, name) => (name === 'many' ? many : name === 'alias' ? alias : undefined),
  slices: () => [],
  hasNamespace: (namespace) => namespace === 'a',
  servicesByIp: () => [],
  headlessByIp: () => undefined,
});

async function open(
  t: { teardown(fn: () => Promise<void>): void },
  upstreamServers: readonly string[],
  patienceMs = 30_000,
) {
  const server = new DnsServer({
    names,
    upstream: createUpstream(() => upstreamServers, patienceMs),
    domain: 'cluster.local',
    log: silent,
  });
  t.teardown(() => server.close());
  const port = await freePort();
  await server.listen('127.0.0.1', port);
  return { server, port };
}

function query(name: string, type: 'A' | 'AAAA', additionals: packet.Answer[] = []): Buffer {
  return packet.encode({
    type: 'query',
    id: 4711,
    flags: packet.RECURSION_DESIRED,
    questions: [{ name, type }],
    additionals,
  });
}

function askUdp(port: number, message: Buffer): Promise<Buffer> {
  const socket = createSocket('udp4');
  return new Promise((resolve) => {
    socket.on('message', (answer) => {
      socket.close();
      resolve(answer);
    });
    socket.send(message, port, '127.0.0.1');
  });
}

function askTcp(port: number, messages: readonly Buffer[]): Promise<Buffer[]> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1', () => {
      for (const message of messages) {
        const length = Buffer.alloc(2);
        length.writeUInt16BE(message.length);
        // In two pieces: the length and the message need not arrive together.
        socket.write(length);
        socket.write(message);
      }
    });
    const answers: Buffer[] = [];
    let received = Buffer.alloc(0);
    socket.on('error', reject);
    socket.on('data', (chunk) => {
      received = Buffer.concat([received, chunk]);
      while (received.length >= 2 && received.length >= 2 + received.readUInt16BE(0)) {
        answers.push(received.subarray(2, 2 + received.readUInt16BE(0)));
        received = received.subarray(2 + received.readUInt16BE(0));
      }
      if (answers.length < messages.length) return;
      socket.destroy();
      resolve(answers);
    });
  });
}

/** An upstream that answers every A question with 192.0.2.7. */
async function fakeUpstream(t: { teardown(fn: () => void): void }): Promise<{ port: number; socket: Socket }> {
  const socket = createSocket('udp4');
  socket.on('message', (message, from) => {
    const asked = packet.decode(message);
    const [question] = asked.questions!;
    const answers = [{ name: question!.name, type: 'A' as const, ttl: 9, data: '192.0.2.7' }];
    socket.send(
      packet.encode({ id: asked.id, type: 'response', questions: asked.questions, answers }),
      from.port,
      from.address,
    );
  });
  await new Promise<void>((resolve) => socket.bind(0, '127.0.0.1', resolve));
  t.teardown(() => socket.close());
  return { port: socket.address().port, socket };
}

test('a long answer is cut on plain UDP, whole over TCP', async (t) => {
  const { port } = await open(t, []);
  const cut = packet.decode(await askUdp(port, query('many.a.svc.cluster.local', 'A')));
  t.truthy((cut.flags ?? 0) & packet.TRUNCATED_RESPONSE);
  const [whole] = await askTcp(port, [query('many.a.svc.cluster.local', 'A')]);
  t.is(packet.decode(whole!).answers?.length, 20);
});

test('EDNS raises the limit of UDP', async (t) => {
  const { port } = await open(t, []);
  const opt = { type: 'OPT', name: '.', udpPayloadSize: 4096, flags: 0, options: [] } as unknown as packet.Answer;
  const answer = await askUdp(port, query('many.a.svc.cluster.local', 'A', [opt]));
  t.true(answer.length > 512 && answer.length <= 1232);
  t.is(packet.decode(answer).additionals?.[0]?.type, 'OPT');
});

test('answers rotate', async (t) => {
  const { port } = await open(t, []);
  const first = new Set<unknown>();
  for (let round = 0; round < 8; round += 1) {
    const [whole] = await askTcp(port, [query('many.a.svc.cluster.local', 'A')]);
    first.add((packet.decode(whole!).answers![0] as { data: unknown }).data);
  }
  t.true(first.size > 1);
});

test('several queries on one TCP connection', async (t) => {
  const { port } = await open(t, []);
  const answers = await askTcp(port, [query('many.a.svc.cluster.local', 'A'), query('no.a.svc.cluster.local', 'A')]);
  const rcodes = answers.map((answer) => answer.readUInt16BE(2) & 0xf).sort();
  t.deepEqual(rcodes, [0, 3]);
});

test('an absent name is NXDOMAIN with the zone SOA, authoritative', async (t) => {
  const { port } = await open(t, []);
  const answer = await askUdp(port, query('no.a.svc.cluster.local', 'A'));
  t.is(answer.readUInt16BE(2) & 0xf, 3);
  const decoded = packet.decode(answer);
  t.is(decoded.authorities?.[0]?.type, 'SOA');
  t.truthy((decoded.flags ?? 0) & packet.AUTHORITATIVE_ANSWER);
});

test('other names go upstream, and an ExternalName is followed', async (t) => {
  const upstream = await fakeUpstream(t);
  const { port } = await open(t, [`127.0.0.1:${upstream.port}`]);
  const direct = packet.decode(await askUdp(port, query('outside.test', 'A')));
  t.deepEqual(
    direct.answers?.map((each) => (each as { data: unknown }).data),
    ['192.0.2.7'],
  );
  t.is(direct.id, 4711);
  const followed = packet.decode(await askUdp(port, query('alias.a.svc.cluster.local', 'A')));
  t.deepEqual(followed.answers?.map((each) => each.type).sort(), ['A', 'CNAME']);
});

test('a dead upstream is SERVFAIL, the next one is tried', async (t) => {
  const upstream = await fakeUpstream(t);
  const dead = createSocket('udp4');
  await new Promise<void>((resolve) => dead.bind(0, '127.0.0.1', resolve));
  t.teardown(() => dead.close());
  const only = await open(t, [`127.0.0.1:${dead.address().port}`], 300);
  t.is((await askUdp(only.port, query('outside.test', 'A'))).readUInt16BE(2) & 0xf, 2);
  // The dead one takes all of this time, and the living one has as much on a busy machine.
  const both = await open(t, [`127.0.0.1:${dead.address().port}`, `127.0.0.1:${upstream.port}`], 3_000);
  t.is((await askUdp(both.port, query('outside.test', 'A'))).readUInt16BE(2) & 0xf, 0);
});

test('garbage gets a format error or nothing, and the server goes on', async (t) => {
  const { server, port } = await open(t, []);
  t.is(await server.answer(Buffer.from('short'), false), undefined);
  t.is(await server.answer(packet.encode({ type: 'response', id: 1 }), false), undefined);
  const broken = query('many.a.svc.cluster.local', 'A').subarray(0, 20);
  t.is((await server.answer(broken, false))!.readUInt16BE(2) & 0xf, 1);
  const status = packet.encode({ type: 'query', id: 1, flags: 2 << 11, questions: [{ name: 'x', type: 'A' }] });
  t.is((await server.answer(status, false))!.readUInt16BE(2) & 0xf, 4);
  t.is((await askUdp(port, query('many.a.svc.cluster.local', 'AAAA'))).readUInt16BE(2) & 0xf, 0);
});

test('a port in use is named in the error', async (t) => {
  const { port } = await open(t, []);
  const second = new DnsServer({
    names,
    upstream: createUpstream(() => [], 100),
    domain: 'cluster.local',
    log: silent,
  });
  await t.throwsAsync(second.listen('127.0.0.1', port), { message: new RegExp(`port ${port} is in use`) });
  const other = createServer();
  t.teardown(() => void other.close());
  const tcpPort = await freePort();
  await new Promise<void>((resolve) => other.listen(tcpPort, '127.0.0.1', resolve));
  await t.throwsAsync(second.listen('127.0.0.1', tcpPort), { message: new RegExp(`port ${tcpPort} is in use`) });
  const udp = createSocket('udp4');
  await t.notThrowsAsync(
    new Promise<void>((resolve, reject) => {
      udp.once('error', reject).bind({ port: tcpPort, address: '127.0.0.1', exclusive: true }, resolve);
    }),
    'UDP is not kept when TCP is refused',
  );
  await new Promise<void>((resolve) => udp.close(() => resolve()));
});

test('nameservers of a resolv.conf, without our own', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'pintle-dns-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const file = join(folder, 'resolv.conf');
  writeFileSync(file, '# nameserver 1.1.1.1\nnameserver 10.96.0.10\nnameserver 9.9.9.9\nsearch x\n');
  t.deepEqual(nameserversOf(file, new Set(['10.96.0.10'])), ['9.9.9.9']);
  t.deepEqual(nameserversOf(join(folder, 'none'), new Set()), []);
});
