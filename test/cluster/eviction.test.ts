/** A node that is short of memory, and pods that use more disk than they said. One small node, real processes. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { totalmem, tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { TestCluster } from './support/cluster.ts';
import { eventually, Pods, shell } from './support/pods.ts';

const Mi = 2 ** 20;
/** What pods may use together, far below what the machine has: threshold 16Mi, so that 48Mi fit. */
const forPods = 64 * Mi;
const configuration = `
apiVersion: pintle.dev/v1
kind: ClusterConfiguration
plugins:
  use:
    component:
      - defaults
      - name: node-agent
        config:
          usageSeconds: 1
          volumeSeconds: 1
          reserved: { memory: "${totalmem() - forPods}" }
          eviction:
            hard: { memory.available: 16Mi, nodefs.available: "0", nodefs.inodesFree: "0" }
            pressureTransitionSeconds: 20
`;

let folder: string;
let cluster: TestCluster;
let pods: Pods;
test.before(async () => {
  folder = mkdtempSync(join(tmpdir(), 'pintle-eviction-'));
  writeFileSync(join(folder, 'config.yaml'), configuration);
  cluster = await TestCluster.start({ nodes: 1, flags: ['--config', join(folder, 'config.yaml')] });
  pods = new Pods(cluster);
});
test.after.always(async () => {
  await cluster?.stop();
  rmSync(folder, { recursive: true, force: true });
});

/** `tail` keeps what has no line end in memory. */
const hold = (mebibytes: number): string => `(head -c ${mebibytes}m /dev/zero; sleep 600) | tail -n 1`;

async function node() {
  const found = await pods.core.readNode({ name: 'node-1' });
  return {
    pressure: found.status?.conditions?.find(({ type }) => type === 'MemoryPressure'),
    isTainted: found.spec?.taints?.some(({ key }) => key === 'node.kubernetes.io/memory-pressure') ?? false,
    allocatable: found.status?.allocatable,
  };
}

test.serial('memory that runs out ends the greediest pod, and the node says so until it is over', async (t) => {
  t.is((await node()).allocatable?.['memory'], `${forPods / Mi - 16}Mi`);
  await pods.create('modest', {
    containers: [shell('c', 'exec sleep infinity', { resources: { requests: { memory: '8Mi' } } })],
  });
  await pods.create('greedy', { containers: [shell('hog', hold(60)), shell('by', 'exec sleep infinity')] });
  const failed = await pods.phase('greedy', 'Failed');
  t.is(failed.status?.reason, 'Evicted');
  t.regex(
    failed.status?.message ?? '',
    /^The node was low on resource: memory\. Threshold quantity: 16Mi, available: \d+\w*\. Container hog was using \d+Ki, request is 0, has larger consumption of memory\. /,
  );
  t.like(
    failed.status?.conditions?.find(({ type }) => type === 'DisruptionTarget'),
    { status: 'True', reason: 'TerminationByKubelet' },
  );
  const events = await eventually(async () => {
    const found = await pods.events('greedy');
    return found.some(({ reason }) => reason === 'Evicted') ? found : undefined;
  });
  t.truthy(events.find(({ message }) => message.startsWith('The node was low on resource: memory.')));
  await eventually(async () => ((await node()).isTainted ? true : undefined));
  t.like((await node()).pressure, { status: 'True', reason: 'KubeletHasInsufficientMemory' });

  // Bound past the scheduler: the node itself refuses what does not say how much it needs.
  await pods.create('refused', { nodeName: 'node-1', containers: [shell('c', 'exec sleep infinity')] });
  const refused = await pods.phase('refused', 'Failed');
  t.is(refused.status?.reason, 'Evicted');
  t.is(refused.status?.message, 'Pod was rejected: The node had condition: [MemoryPressure]. ');

  await eventually(async () => ((await node()).pressure?.status === 'False' ? true : undefined));
  await eventually(async () => ((await node()).isTainted ? undefined : true));
  t.is((await pods.get('modest'))?.status?.phase, 'Running');
  await pods.create('later', { containers: [shell('c', 'exec sleep infinity')] });
  await pods.phase('later', 'Running');
});

test.serial('pods that use more disk than they said are ended', async (t) => {
  const write = (path: string): string => `head -c 12m /dev/zero > ${path}; exec sleep infinity`;
  await pods.create('volume', {
    volumes: [{ name: 'scratch', emptyDir: { sizeLimit: '8Mi' } }],
    containers: [shell('c', write('/scratch/f'), { volumeMounts: [{ name: 'scratch', mountPath: '/scratch' }] })],
  });
  await pods.create('layer', {
    containers: [shell('c', write('/root-file'), { resources: { limits: { 'ephemeral-storage': '8Mi' } } })],
  });
  await pods.create('keeps', {
    volumes: [{ name: 'scratch', emptyDir: { sizeLimit: '32Mi' } }],
    containers: [
      shell('c', write('/scratch/f'), {
        volumeMounts: [{ name: 'scratch', mountPath: '/scratch' }],
        resources: { limits: { 'ephemeral-storage': '32Mi' } },
      }),
    ],
  });
  const volume = await pods.phase('volume', 'Failed');
  t.is(volume.status?.message, 'Usage of EmptyDir volume "scratch" exceeds the limit "8Mi". ');
  const layer = await pods.phase('layer', 'Failed');
  t.is(layer.status?.message, 'Pod ephemeral local storage usage exceeds the total limit of containers 8Mi. ');
  t.deepEqual([volume.status?.reason, layer.status?.reason], ['Evicted', 'Evicted']);
  // Measured like the others, and within its limits.
  await eventually(async () => {
    const { stdout } = await pods.kubectl(['get', '--raw', '/api/v1/nodes/node-1/proxy/stats/summary']);
    const summary = JSON.parse(stdout) as {
      pods: { podRef: { name: string }; 'ephemeral-storage'?: { usedBytes: number } }[];
    };
    const used = summary.pods.find(({ podRef }) => podRef.name === 'keeps')?.['ephemeral-storage']?.usedBytes ?? 0;
    return used >= 12 * Mi && used < 32 * Mi ? true : undefined;
  });
  t.is((await pods.get('keeps'))?.status?.phase, 'Running');
});
