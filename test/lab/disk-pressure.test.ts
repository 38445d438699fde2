/** Disk pressure from a real, small file system: what the agent reads of it, whom it measures, and whom it would end. */
import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import test from 'ava';
import type { NodeUsage } from '../../kernel/contract/index.ts';
import type { Pod } from '../../kernel/contract/kubernetes.ts';
import { systemClock } from '../../kernel/machinery/clock.ts';
import { podDiskUsage } from '../../plugins/components/node-agent/eviction/disk-usage.ts';
import { EvictionMonitor } from '../../plugins/components/node-agent/eviction/eviction-monitor.ts';
import { thresholdsOf, upstreamHard } from '../../plugins/components/node-agent/eviction/thresholds.ts';
import { fileSystemUsage } from '../../plugins/components/node-agent/usage/host-usage.ts';

const run = promisify(execFile);
const mebibyte = 2 ** 20;

const pod = (name: string): Pod =>
  ({
    metadata: { name, namespace: 'default', uid: name },
    spec: { containers: [{ name: 'c' }], volumes: [{ name: 'v', emptyDir: {} }] },
    status: { phase: 'Running' },
  }) as unknown as Pod;

test.serial('a file system that fills up puts the node under pressure, and the pod with most on it goes', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'pintle-pressure-'));
  await run('mount', ['-t', 'tmpfs', '-o', 'size=32m,nr_inodes=1000', 'tmpfs', folder]);
  t.teardown(async () => {
    await run('umount', ['-l', folder]);
    rmSync(folder, { recursive: true, force: true });
  });
  const pods = [pod('lean'), pod('fat')];
  for (const { metadata } of pods) mkdirSync(join(folder, metadata.uid, 'volumes/v'), { recursive: true });
  const evicted: { readonly name: string; readonly message: string }[] = [];
  const monitor = new EvictionMonitor({
    thresholds: thresholdsOf({
      hard: upstreamHard,
      soft: {},
      softGraceSeconds: {},
      minimumReclaim: {},
      pressureTransitionSeconds: 0,
      maxPodGraceSeconds: 0,
    }),
    pressureTransitionMs: 0,
    maxPodGraceMs: 0,
    facts: () => ({ reservedMemoryBytes: 0, isSimulated: false }),
    clock: systemClock,
    log: { debug() {}, info() {}, warn() {}, error() {} },
    pods: () => pods.filter(({ metadata }) => !evicted.some(({ name }) => name === metadata.name)),
    containers: async () => [],
    diskUsage: (one, running) =>
      podDiskUsage(one, running, {
        runtime: { stats: () => Promise.reject(new Error('nothing runs')) },
        folder: (uid) => join(folder, uid),
      }),
    evict: ({ metadata }, { message }) => evicted.push({ name: metadata.name, message }),
    isGoing: () => false,
    changed: () => undefined,
    reclaiming: () => undefined,
  });
  const look = async (): Promise<void> => {
    const usage: NodeUsage = {
      nodeName: 'n',
      startedMs: 0,
      timeMs: 0,
      windowMs: 1,
      cpu: { totalNanos: 0, nanoCores: 0 },
      memory: { usageBytes: 0, workingSetBytes: 0, availableBytes: 2 ** 34 },
      fileSystem: fileSystemUsage(folder),
      processes: { count: 1, max: 32_768 },
      pods: [],
    };
    await monitor.heed(usage);
  };
  writeFileSync(join(folder, 'lean/volumes/v/f'), Buffer.alloc(2 * mebibyte));
  writeFileSync(join(folder, 'fat/volumes/v/f'), Buffer.alloc(20 * mebibyte));
  await look();
  t.deepEqual([monitor.pressures, evicted], [[], []]);
  writeFileSync(join(folder, 'fat/c_0.log'), Buffer.alloc(8 * mebibyte));
  await look();
  t.deepEqual(monitor.pressures, ['DiskPressure']);
  t.deepEqual(
    evicted.map(({ name }) => name),
    ['fat'],
  );
  t.regex(
    evicted[0]!.message,
    /^The node was low on resource: ephemeral-storage\. Threshold quantity: \d+Ki, available: (?:\d+Ki|\dMi)\. /,
  );
  t.is(monitor.storage.get('fat'), 28 * mebibyte);
  rmSync(join(folder, 'fat'), { recursive: true });
  await look();
  t.deepEqual(monitor.pressures, []);
  for (let index = 0; index < 980; index++) writeFileSync(join(folder, `lean/volumes/v/${index}`), '');
  await look();
  t.deepEqual(monitor.pressures, ['DiskPressure'], 'inodes run out too');
  t.is(evicted.at(-1)?.name, 'lean');
  t.regex(
    evicted.at(-1)!.message,
    /^The node was low on resource: inodes\. Threshold quantity: 50, available: \d+\. $/,
  );
});
