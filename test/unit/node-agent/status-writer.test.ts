import test from 'ava';
import type { Pod } from '../../../kernel/contract/kubernetes.ts';
import type { Cluster } from '../../../kernel/contract/index.ts';
import {
  newPodMemory,
  type PodWorkerServices,
  type PodWorkerSettings,
} from '../../../plugins/components/node-agent/pod-memory.ts';
import { newestPod, StatusWriter } from '../../../plugins/components/node-agent/status-writer.ts';

const pod = (resourceVersion: string, uid = 'u', status: Pod['status'] = {}): Pod => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name: 'p', namespace: 'd', uid, resourceVersion, creationTimestamp: '' },
  spec: { containers: [{ name: 'c', image: 'host' }] },
  status,
});

for (const [title, known, written, expected] of [
  ['nothing written', pod('5'), undefined, '5'],
  ['an older write', pod('10'), pod('9'), '10'],
  ['a newer write', pod('9'), pod('10'), '10'],
  ['a write to a pod of the same name before', pod('9'), pod('10', 'other'), '9'],
] as const) {
  test(`the newest pod: ${title}`, (t) => t.is(newestPod(known, written).metadata.resourceVersion, expected));
}

test('a status is written once, and not at all when the API has it in another order of keys', async (t) => {
  const written: Pod['status'][] = [];
  let nowMs = Date.parse('2026-01-02T03:04:05Z');
  const cluster = {
    patch: async (_type: unknown, _key: unknown, { body }: { body: { status: Pod['status'] } }) => {
      written.push(body.status);
      return pod('2', 'u', body.status);
    },
  } as unknown as Cluster;
  let isShown = true;
  const shownBy = (shown: Pod) => (isShown ? shown : undefined);
  const services = { cluster, clock: { now: () => nowMs }, shownBy } as unknown as PodWorkerServices;
  const writer = new StatusWriter({ hostIps: ['192.0.2.1'] } as unknown as PodWorkerSettings, services, () => '/none');
  const facts = { sandbox: undefined, containers: [], podIps: [] };
  const memory = newPodMemory();
  t.is(await writer.write(pod('1'), memory, facts), 'Pending');
  nowMs += 60_000;
  await writer.write(newestPod(pod('1'), memory.written), memory, facts);
  t.is(written.length, 1);
  // A new agent, which remembers nothing.
  const turned = Object.fromEntries(Object.entries(written[0]!).reverse()) as Pod['status'];
  await writer.write(pod('3', 'u', turned), newPodMemory(), facts);
  t.is(written.length, 1);
  await writer.write(pod('3', 'u', turned), newPodMemory(), { ...facts, podIps: ['10.0.0.9'] });
  t.is(written.length, 2);
  // A static pod whose mirror is not there yet.
  isShown = false;
  await writer.write(pod('4'), newPodMemory(), facts);
  t.is(written.length, 2);
});
