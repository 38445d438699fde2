/**
 * A cluster of `pintle up` whose nodes share one containerd, started for it as on a host: the lab sees its mounts, not its
 * processes, and reaches its streaming server by the mount that keeps its network namespace.
 */
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { execFileSync } from 'node:child_process';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { skipCase } from '../../kernel/conformance/kit.ts';
import { makeBusyboxTar, missingPackages } from '../lab/support/busybox-image.ts';
import { ContainerRuntime, containerdProgram } from '../lab/support/container-runtime.ts';
import { makeImageArchive } from '../lab/support/image-archive.ts';
import { hostNetwork } from './support/cluster.ts';
import { EngineCluster } from './support/engine-cluster.ts';
import { EngineHost } from './support/engine-host.ts';
import { eventually } from './support/pods.ts';

const missing = missingPackages({ [containerdProgram]: 'containerd', '/bin/busybox': 'busybox-static' });
const isRoot = process.geteuid?.() === 0;
const image = 'pintle.test/web:1';

if (missing.length > 0) skipCase(test, 'a cluster on containerd', `not installed: ${missing.join(', ')}`);
else if (!isRoot) skipCase(test, 'a cluster on containerd', 'containerd needs root');
else
  test('pods on containerd: streams, probes, kill -9 of the agents and of containerd, and nothing is left', async (t) => {
    t.timeout(300_000);
    const before = hostNetwork();
    const folder = mkdtempSync(join(tmpdir(), 'pintle-cri-cluster-'));
    const host = await EngineHost.make();
    t.teardown(async () => {
      await host.end();
      rmSync(folder, { recursive: true, force: true, maxRetries: 10 });
    });
    const rootfs = makeBusyboxTar(folder, 'web');
    const containerd = await ContainerRuntime.start(join(folder, 'containerd'), rootfs, host);
    await containerd.import(makeImageArchive(rootfs, image));
    // As the README has it, for the network namespace of containerd.
    const netns = '/run/containerd.netns';
    const [command, ...args] = host.onHost([
      ...['sh', '-c', 'touch "$1" && mount --bind "$2" "$1"', 'keep', netns, host.netns],
    ]);
    execFileSync(command, args);

    const runtime = {
      name: 'cri',
      config: { endpoint: `unix://${containerd.socket}`, netns, installCni: containerd.cni },
    };
    const own = await EngineCluster.start(host, folder, runtime);
    t.teardown(() => own.cluster.stop());
    const processes = host.processes().length;
    await own.deploys(t, image, /^containerd:\/\/\d/);
    await own.streams(t, image);
    await own.outlivesAgents(t, image);

    const lives = await own.lives();
    await containerd.kill();
    const ready = async (status: string) =>
      (await own.pods.core.listNode()).items.every(({ status: node }) =>
        node?.conditions?.some((each) => each.type === 'Ready' && each.status === status),
      )
        ? true
        : undefined;
    await eventually(() => ready('False'));
    t.not((await own.pods.kubectl(['exec', 'client', '--', 'true'])).code, 0);
    await containerd.start();
    await eventually(() => ready('True'));
    await own.runsMore(image);
    await own.answers(t);
    t.deepEqual(await own.lives(), lives);

    await own.empties();
    await eventually(async () => ((await containerd.ctr('tasks', 'ls', '-q')) === '' ? true : undefined));
    t.is(await own.cluster.interrupt(), 0);
    t.is(await containerd.ctr('containers', 'ls', '-q'), '', 'containerd still has containers of the cluster');
    for (const path of [containerd.cni.confDir, containerd.cni.binDir]) t.deepEqual(readdirSync(path), []);
    t.false(existsSync(own.cluster.folder));
    // containerd, pid 1 and its sleep.
    await eventually(() => (host.processes().length === processes ? true : undefined));
    t.is(hostNetwork(), before);
  });
