import test from 'ava';
import type { Component, Controller } from '../../../kernel/contract/index.ts';
import { resources } from '../../../kernel/machinery/resources.ts';
import controllerManager from '../../../plugins/components/controller-manager/index.ts';
import {
  runControllers,
  type ControllerState,
} from '../../../plugins/components/controller-manager/run-controllers.ts';
import { ManualClock, settled } from '../machinery/manual-clock.ts';
import { eventually, openControlPlane, quiet, startPlugin } from './control-plane.ts';

/** Runs until it is told to end, and counts how many run at once. */
function witness() {
  const seen = { runs: 0, running: 0 };
  const controller: Controller = {
    run: async (signal) => {
      seen.runs++;
      seen.running++;
      await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
      seen.running--;
    },
  };
  return { seen, controller };
}

test('a controller that rejects is started again with backoff; the others run on', async (t) => {
  const clock = new ManualClock();
  const good = witness();
  let attempts = 0;
  const bad: Controller = {
    run: async () => {
      attempts++;
      throw new Error('broken');
    },
  };
  const states = new Map<string, ControllerState>();
  const stop = new AbortController();
  const errors: unknown[] = [];
  const log = { ...quiet, error: (_message: string, fields?: unknown) => void errors.push(fields) };
  const running = runControllers(
    new Map([
      ['good', good.controller],
      ['bad', bad],
    ]),
    states,
    { log, clock },
    stop.signal,
  );
  await settled();
  t.is(attempts, 1);
  t.is(states.get('bad')?.failure, 'broken');
  t.is(states.get('good')?.failure, undefined);
  await clock.advance(499);
  t.is(attempts, 1);
  await clock.advance(1);
  t.is(attempts, 2);
  await clock.advance(999);
  t.is(attempts, 2);
  await clock.advance(1);
  t.is(attempts, 3);
  t.like(errors[0], { controller: 'bad', error: 'broken' });
  stop.abort();
  await running;
  t.deepEqual(good.seen, { runs: 1, running: 0 });
});

test('without leader election all controllers run at once and end with the disposal', async (t) => {
  const { cluster } = await openControlPlane(t);
  const { seen, controller } = witness();
  const component = await startPlugin<Component>(controllerManager, {
    uses: { cluster, controller: new Map([['one', controller]]) },
  });
  await eventually('it runs', () => seen.running === 1);
  t.deepEqual(component.status(), { ready: true });
  await component[Symbol.asyncDispose]();
  await component[Symbol.asyncDispose]();
  t.is(seen.running, 0);
});

test('with leader election one of two leads; after a clean stop the other takes over', async (t) => {
  const { cluster } = await openControlPlane(t);
  const first = witness();
  const second = witness();
  const config = (identity: string) => ({
    leaderElection: { identity, leaseDurationSeconds: 3600, renewDeadlineSeconds: 1800, retryPeriodSeconds: 0.02 },
  });
  const start = (identity: string, controller: Controller) =>
    startPlugin<Component>(controllerManager, {
      config: config(identity),
      uses: { cluster, controller: new Map([['one', controller]]) },
    });
  const leader = await start('a', first.controller);
  await eventually('the first leads', () => first.seen.running === 1);
  const standby = await start('b', second.controller);
  for (const component of [leader, standby]) t.teardown(() => component[Symbol.asyncDispose]());
  const lease = () => cluster.get(resources.leases, { namespace: 'kube-system', name: 'pintle-controller-manager' });
  const before = (await lease()).spec.renewTime;
  await eventually('the lease was renewed', async () => (await lease()).spec.renewTime !== before);
  t.is(second.seen.runs, 0);
  await eventually('the second knows', () => standby.status().reason === 'another process leads');
  t.is(leader.status().reason, undefined);
  t.is((await lease()).spec.holderIdentity, 'a');
  await leader[Symbol.asyncDispose]();
  await eventually('the second leads', () => second.seen.running === 1);
  t.is((await lease()).spec.holderIdentity, 'b');
  t.is((await lease()).spec.leaseTransitions, 1);
  t.is(first.seen.running, 0);
});

test('a leader whose lease is taken stops its controllers', async (t) => {
  const { cluster } = await openControlPlane(t);
  const { seen, controller } = witness();
  const component = await startPlugin<Component>(controllerManager, {
    config: {
      leaderElection: { identity: 'a', leaseDurationSeconds: 0.3, renewDeadlineSeconds: 0.1, retryPeriodSeconds: 0.02 },
    },
    uses: { cluster, controller: new Map([['one', controller]]) },
  });
  t.teardown(() => component[Symbol.asyncDispose]());
  await eventually('it leads', () => seen.running === 1);
  await eventually('somebody else takes the lease', async () => {
    const lease = await cluster.get(resources.leases, { namespace: 'kube-system', name: 'pintle-controller-manager' });
    const spec = { ...lease.spec, holderIdentity: 'thief', leaseDurationSeconds: 3600 };
    return cluster.update(resources.leases, { ...lease, spec }).then(
      () => true,
      () => false,
    );
  });
  await eventually('it stops', () => seen.running === 0);
  t.is(seen.running, 0);
});
