/** A node lives by its Lease; its status is written when it says something new, or has not been written for long. */
import { tmpdir } from 'node:os';
import test from 'ava';
import type { Cluster, Image, Runtime } from '../../../kernel/contract/index.ts';
import type { Node } from '../../../kernel/contract/kubernetes.ts';
import { NodeRegistration } from '../../../plugins/components/node-agent/node-registration.ts';
import { handClock, open, types } from '../clusters-local/harness.ts';

test('an idle node asks the server nothing; news and a status that grew old are written', async (t) => {
  const { cluster } = await open(t);
  const calls: string[] = [];
  const counted = new Proxy(cluster as Cluster, {
    get: (target, name: keyof Cluster) => {
      const found = target[name];
      if (typeof found !== 'function') return found;
      return (...given: unknown[]) => {
        calls.push(name);
        return (found as (...all: unknown[]) => unknown).apply(target, given);
      };
    },
  });
  const clock = handClock();
  let images: readonly Image[] = [];
  let problem: string | undefined = 'waiting for a pod CIDR';
  let isRuntimeAway = false;
  let known: Node | undefined;
  const quiet = () => undefined;
  const registration = new NodeRegistration(
    {
      ...{ nodeName: 'n1', addresses: ['192.0.2.1'], labels: {}, taints: [], maxPods: 110, leaseSeconds: 40 },
      ...{ statusSeconds: 300, version: 'v1.36.0', stateDir: tmpdir() },
      reserved: { cpuMillis: 0, memoryBytes: 0 },
      // The disk's size is no business of this test, and others write to it meanwhile.
      hardThresholds: () => 0,
    },
    {
      cluster: counted,
      runtime: {
        status: () => ({ ready: !isRuntimeAway, reason: 'it does not answer', version: 'fake://1', limitations: [] }),
        listImages: async () => {
          if (isRuntimeAway) throw new Error('it does not answer');
          return images;
        },
      } as unknown as Runtime,
      clock,
      log: { debug: quiet, info: quiet, warn: quiet, error: quiet },
      node: () => known,
      networkProblem: () => problem,
      pressures: () => [],
    },
  );
  const seen = async () => (known = await cluster.get(types.nodes, { name: 'n1' }));
  const readiness = (node: Node) => node.status?.conditions?.find(({ type }) => type === 'Ready');
  const writes = async () => {
    calls.length = 0;
    await registration.writeStatus();
    await seen();
    return calls.filter((call) => call === 'patch').length;
  };
  await registration.register(new AbortController().signal);
  t.is(readiness(await seen())?.status, 'False');

  clock.advance(10_000);
  t.is(await writes(), 0);
  t.deepEqual(calls, [], 'whether there is news is seen from the copy at hand');

  problem = undefined;
  t.is(await writes(), 1);
  t.is(readiness(known!)?.status, 'True');
  const heartbeat = readiness(known!)?.lastHeartbeatTime;

  clock.advance(10_000);
  images = [{ id: 'a', names: ['a:1'], sizeBytes: 1 }];
  t.is(await writes(), 1);
  t.deepEqual(known!.status?.images, [{ names: ['a:1'], sizeBytes: 1 }]);
  t.not(readiness(known!)?.lastHeartbeatTime, heartbeat);

  clock.advance(299_000);
  t.is(await writes(), 0);
  const { resourceVersion } = known!.metadata;
  clock.advance(1_000);
  t.is(await writes(), 1);
  t.not(known!.metadata.resourceVersion, resourceVersion);
  t.is(await writes(), 0);
  isRuntimeAway = true;
  t.is(await writes(), 1, 'a runtime that cannot be asked does not keep the node from saying so');
  t.is(readiness(known!)?.status, 'False');
  t.regex(readiness(known!)?.message ?? '', /container runtime is not ready: it does not answer/);
  t.is(known!.status?.images?.length, 1);
});
