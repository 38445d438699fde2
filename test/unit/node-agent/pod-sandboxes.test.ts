import test from 'ava';
import type { Attached, AttachmentCapability, Sandbox } from '../../../kernel/contract/index.ts';
import type { Pod } from '../../../kernel/contract/kubernetes.ts';
import {
  newPodMemory,
  type PodWorkerServices,
  type PodWorkerSettings,
} from '../../../plugins/components/node-agent/pod-memory.ts';
import { PodSandboxes } from '../../../plugins/components/node-agent/pod-sandboxes.ts';

interface Given {
  readonly restartPolicy?: string;
  /** Of the pod as the API knows it. */
  readonly podIP?: string;
  readonly netns?: string | undefined;
  readonly capabilities?: readonly AttachmentCapability[];
}

/** A pod whose sandbox is there, ready, and not yet known to this agent's attachment, which gives 10.0.0.2. */
function bed({ restartPolicy = 'Always', podIP, netns, capabilities = ['ipv4'] }: Given) {
  const pod = {
    metadata: { namespace: 'n', name: 'p', uid: 'u' },
    spec: { restartPolicy, containers: [{ name: 'c' }] },
    status: { ...(podIP && { podIP }) },
  } as Pod;
  const made: Sandbox[] = [];
  const make = (id: string): Sandbox => ({
    ...{ id, podNamespace: 'n', podName: 'p', podUid: 'u', labels: {}, ready: true, netns, createdMs: 0 },
  });
  made.push(make('u_0'));
  const did: string[] = [];
  const runtime = {
    listSandboxes: async () => made,
    ensureSandbox: async ({ id }: { id: string }) => {
      made.push(make(id));
      return made.at(-1);
    },
    stopSandbox: async (id: string) => {
      did.push(`stop ${id}`);
      const at = made.findIndex((each) => each.id === id);
      made[at] = { ...made[at]!, ready: false };
    },
  };
  const attachment = {
    add: async ({ sandboxId, netns: where }: { sandboxId: string; netns: string }) => {
      did.push(`add ${sandboxId} ${where}`);
      return { sandboxId, ips: ['10.0.0.2'] } as unknown as Attached;
    },
    remove: async ({ sandboxId }: { sandboxId: string }) => void did.push(`remove ${sandboxId}`),
  };
  const record = (_pod: Pod, _type: string, reason: string) => void did.push(reason);
  const services = { runtime, attachment, record, again: () => undefined, networkProblem: () => undefined };
  const settings = { attachmentCapabilities: capabilities, dns: { clusterDomain: 'x', servers: [] } };
  const sandboxes = new PodSandboxes(
    settings as unknown as PodWorkerSettings,
    services as unknown as PodWorkerServices,
  );
  const memory = newPodMemory();
  return { did, memory, ensure: async () => sandboxes.ensure(pod, memory, await sandboxes.of('u')) };
}

test('a pod that has the address that it had goes on', async (t) => {
  const { did, memory, ensure } = bed({ netns: '/ns', podIP: '10.0.0.2', restartPolicy: 'Never' });
  t.is((await ensure())?.id, 'u_0');
  t.deepEqual(did, ['add u_0 /ns']);
  t.is(memory.failure, undefined);
});

test('a pod whose address is gone is made anew', async (t) => {
  const { did, memory, ensure } = bed({ netns: '/ns', podIP: '10.9.9.9', restartPolicy: 'OnFailure' });
  t.is((await ensure())?.id, 'u_1');
  t.deepEqual(did, ['add u_0 /ns', 'stop u_0', 'remove u_0', 'SandboxChanged', 'add u_1 /ns']);
  t.is(memory.failure, undefined);
});

test('one that shall run once fails instead, with its reason', async (t) => {
  const { did, memory, ensure } = bed({ netns: '/ns', podIP: '10.9.9.9', restartPolicy: 'Never' });
  t.is(await ensure(), undefined);
  t.deepEqual(did, ['add u_0 /ns', 'PodNetworkChanged']);
  t.regex(memory.failure?.message ?? '', /address 10\.9\.9\.9 is gone; restart policy Never/);
  t.true(memory.failure?.isDisruption);
});

test('a sandbox without a network namespace is put nowhere, unless the attachment takes such', async (t) => {
  const nowhere = bed({});
  t.is((await nowhere.ensure())?.id, 'u_0');
  t.deepEqual(nowhere.did, []);
  t.is(nowhere.memory.attached, undefined);
  const named = bed({ capabilities: ['ipv4', 'no-namespace'] });
  await named.ensure();
  t.deepEqual(named.did, ['add u_0 ']);
  t.deepEqual(named.memory.attached?.ips, ['10.0.0.2']);
});
