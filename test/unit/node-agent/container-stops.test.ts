/** How a container is brought to its end: its hook, its turn, its grace period, all on a clock that the test moves. */
import test from 'ava';
import type { Container as Definition, Pod } from '../../../kernel/contract/kubernetes.ts';
import type { Container } from '../../../kernel/contract/index.ts';
import { ContainerStops } from '../../../plugins/components/node-agent/container-stops.ts';
import { newPodMemory, type PodWorkerServices } from '../../../plugins/components/node-agent/pod-memory.ts';
import { ManualClock, settled } from '../machinery/manual-clock.ts';

function bed(definition: Partial<Definition> = {}) {
  const clock = new ManualClock();
  const stops: string[] = [];
  const events: string[] = [];
  let isAsked = false;
  const services = {
    clock,
    runtime: { stopContainer: async (id: string, graceMs: number) => void stops.push(`${id} ${graceMs}`) },
    log: { error: () => undefined, warn: () => undefined },
    record: (_pod: Pod, _type: string, reason: string, message: string) => void events.push(`${reason}: ${message}`),
    again: () => (isAsked = true),
  } as unknown as PodWorkerServices;
  const pod = {
    metadata: { name: 'p', namespace: 'd', uid: 'u' },
    spec: { containers: [{ name: 'c', image: 'host', ...definition }] },
  } as unknown as Pod;
  const container = { id: 'u_c_0', name: 'c', sandboxId: 'u_0', state: 'running' } as Container;
  const memory = newPodMemory();
  const begin = (graceMs: number, isTurn = true) =>
    new ContainerStops(services).begin(pod, memory, container, {
      ...{ graceMs, isTurn, why: 'Stopping container c', podIp: () => '127.0.0.1' },
    });
  return { clock, stops, events, memory, begin, isAsked: () => isAsked };
}

test('without a hook the signal comes at once, and the end is told', async (t) => {
  const { stops, events, memory, begin, isAsked } = bed();
  begin(30_000);
  await settled();
  t.deepEqual(stops, ['u_c_0 30000']);
  t.deepEqual(events, ['Killing: Stopping container c']);
  t.is(memory.stopping.size, 0);
  t.true(isAsked());
});

test('a sleep before the signal is taken off the grace period', async (t) => {
  const { clock, stops, begin } = bed({ lifecycle: { preStop: { sleep: { seconds: 5 } } } });
  begin(30_000);
  await settled();
  t.deepEqual(stops, []);
  await clock.advance(5_000);
  await settled();
  t.deepEqual(stops, ['u_c_0 25000']);
});

test('a hook ends with the grace period, and the container gets two seconds', async (t) => {
  const { clock, stops, begin } = bed({ lifecycle: { preStop: { sleep: { seconds: 60 } } } });
  begin(10_000);
  await settled();
  await clock.advance(10_000);
  await settled();
  t.deepEqual(stops, ['u_c_0 2000']);
});

test('without a grace period there is no hook', async (t) => {
  const { stops, begin } = bed({ lifecycle: { preStop: { sleep: { seconds: 60 } } } });
  begin(0);
  await settled();
  t.deepEqual(stops, ['u_c_0 0']);
});

test('a shorter period counts, a longer one does not, and neither is told again', async (t) => {
  const { clock, stops, events, begin } = bed({ lifecycle: { preStop: { sleep: { seconds: 60 } } } });
  begin(40_000);
  begin(100_000);
  begin(4_000);
  await settled();
  await clock.advance(4_000);
  await settled();
  t.deepEqual(stops, ['u_c_0 2000']);
  t.is(events.length, 1);
});

test('it waits for its turn, but not longer than its period', async (t) => {
  const first = bed();
  first.begin(30_000, false);
  await settled();
  t.deepEqual(first.stops, []);
  await first.clock.advance(1_000);
  first.begin(30_000, true);
  await settled();
  t.deepEqual(first.stops, ['u_c_0 29000']);
  const second = bed();
  second.begin(3_000, false);
  await settled();
  await second.clock.advance(3_000);
  await settled();
  t.deepEqual(second.stops, ['u_c_0 2000']);
});

test('a hook that fails is told, and the container ends all the same', async (t) => {
  const { stops, events, begin } = bed({ lifecycle: { preStop: { httpGet: { port: 1, path: '/bye' } } } });
  begin(30_000);
  while (stops.length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  t.is(events.length, 2);
  t.regex(events[1]!, /^FailedPreStopHook: HTTP lifecycle hook \(\/bye\) failed: Get "http:\/\/127.0.0.1:1\/bye"/);
});
