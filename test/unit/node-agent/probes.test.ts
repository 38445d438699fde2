/** When probes look: real connections, a clock that moves by hand. */
import { createServer, type Server } from 'node:net';
import test from 'ava';
import type { Container, Probe } from '../../../kernel/contract/kubernetes.ts';
import type { Runtime } from '../../../kernel/contract/index.ts';
import { startProbes } from '../../../plugins/components/node-agent/probes.ts';
import { freePort } from '../../free-port.ts';
import { ManualClock } from '../machinery/manual-clock.ts';

const listen = (server: Server, port: number) =>
  new Promise<void>((resolve, reject) => void server.once('error', reject).listen(port, '127.0.0.1', resolve));
const close = (server: Server) => new Promise<void>((resolve) => void server.close(() => resolve()));

async function until(isSo: () => boolean): Promise<void> {
  for (const end = Date.now() + 30_000; !isSo();) {
    if (Date.now() > end) throw new Error('waited 30 s in vain');
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

async function open(kind: 'readinessProbe' | 'startupProbe', more: Partial<Probe> = {}) {
  const clock = new ManualClock();
  const server = createServer((socket) => socket.destroy());
  const port = await freePort();
  const warned: string[] = [];
  const container = { name: 'c', [kind]: { tcpSocket: { port }, timeoutSeconds: 20, ...more } } as unknown as Container;
  const probes = startProbes(
    { containerId: 'c1', container, startedMs: clock.now(), podIp: () => '127.0.0.1' },
    { runtime: {} as Runtime, clock },
    () => undefined,
    (_kind, message) => warned.push(message),
  );
  return { clock, server, port, probes, warned };
}

test('who is not ready as soon as it runs is looked at again when it is a second old, and from then on by its period', async (t) => {
  const { clock, server, port, probes, warned } = await open('readinessProbe');
  t.teardown(() => probes.stop());
  await until(() => clock.sleeping === 1);
  t.is(warned.length, 1);
  await clock.advance(1000);
  await until(() => clock.sleeping === 1);
  t.is(warned.length, 2);
  t.false(probes.ready);
  await listen(server, port);
  t.teardown(() => close(server));
  await clock.advance(9_999);
  t.is(warned.length, 2);
  t.false(probes.ready, 'not before its period is over');
  await clock.advance(1);
  await until(() => probes.ready && clock.sleeping === 1);
  t.deepEqual(clock.sleeps, [1000, 10_000, 10_000]);
});

test('a period below a second stays, and a first look after a delay has no second one', async (t) => {
  const short = await open('readinessProbe', { periodSeconds: 0.5 });
  t.teardown(() => short.probes.stop());
  await until(() => short.clock.sleeping === 1);
  t.deepEqual(short.clock.sleeps, [500]);
  const late = await open('readinessProbe', { initialDelaySeconds: 3 });
  t.teardown(() => late.probes.stop());
  await late.clock.advance(3000);
  await until(() => late.warned.length === 1 && late.clock.sleeping === 1);
  t.deepEqual(late.clock.sleeps, [3000, 10_000]);
});

test('a startup probe, whose failures count, keeps to its period', async (t) => {
  const { clock, probes, warned } = await open('startupProbe');
  t.teardown(() => probes.stop());
  await until(() => clock.sleeping === 1);
  t.is(warned.length, 1);
  t.deepEqual(clock.sleeps, [10_000]);
});
