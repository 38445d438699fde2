/** A cluster of `pintle up` whose nodes share one Docker engine, started for it as on a host; and the way to another runtime. */
import { createReadStream, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import Docker from 'dockerode';
import { skipCase } from '../../kernel/conformance/kit.ts';
import { progressLines } from '../../plugins/runtimes/docker/images.ts';
import { makeBusyboxTar, missingPackages } from '../lab/support/busybox-image.ts';
import { hostNetwork, program, run } from './support/cluster.ts';
import { EngineCluster } from './support/engine-cluster.ts';
import { EngineHost } from './support/engine-host.ts';
import { eventually, shell } from './support/pods.ts';

const dockerProgram = '/usr/sbin/dockerd';
const missing = missingPackages({ [dockerProgram]: 'docker.io', '/bin/busybox': 'busybox-static' });
const isRoot = process.geteuid?.() === 0;
const image = 'pintle.test/web:1';

async function startEngine(folder: string, host: EngineHost): Promise<Docker> {
  mkdirSync(folder);
  writeFileSync(join(folder, 'daemon.json'), '{}');
  const socketPath = join(folder, 'docker.sock');
  const argv = [
    ...[dockerProgram, '--config-file', join(folder, 'daemon.json'), '--host', `unix://${socketPath}`],
    ...['--data-root', join(folder, 'data'), '--exec-root', join(folder, 'exec')],
    ...['--pidfile', join(folder, 'docker.pid')],
    ...['--iptables=false', '--ip6tables=false', '--bridge=none', '--ip-forward=false', '--ip-masq=false'],
  ];
  const log = join(folder, 'dockerd.log');
  const engine = host.start(argv, { log, home: folder });
  const docker = new Docker({ socketPath, host: undefined });
  await eventually(async () => {
    if (engine.exitCode !== null) throw new Error(readFileSync(log, 'utf8'));
    return existsSync(socketPath) ? docker.ping().catch(() => undefined) : undefined;
  });
  return docker;
}

if (missing.length > 0) skipCase(test, 'a cluster on a Docker engine', `not installed: ${missing.join(', ')}`);
else if (!isRoot) skipCase(test, 'a cluster on a Docker engine', 'an engine needs root');
else
  test('pods on a Docker engine: streams, probes, kill -9 of the agents, another runtime and back, and nothing is left', async (t) => {
    t.timeout(300_000);
    const before = hostNetwork();
    const folder = mkdtempSync(join(tmpdir(), 'pintle-docker-cluster-'));
    const host = await EngineHost.make();
    t.teardown(async () => {
      await host.end();
      rmSync(folder, { recursive: true, force: true, maxRetries: 10 });
    });
    const docker = await startEngine(join(folder, 'engine'), host);
    const tar = createReadStream(makeBusyboxTar(folder, 'web'));
    const stream = await docker.importImage(tar, { repo: 'pintle.test/web', tag: '1' });
    for await (const { error } of progressLines(stream)) t.is(error, undefined);

    const runtime = { name: 'docker', config: { engine: `unix://${join(folder, 'engine/docker.sock')}` } };
    const own = await EngineCluster.start(host, folder, runtime);
    const { cluster, pods } = own;
    t.teardown(() => cluster.stop());
    await own.deploys(t, image, /^docker:\/\/\d/);
    const labels = (await docker.listContainers()).map(({ Labels }) => Labels);
    t.deepEqual([...new Set(labels.map((one) => one['dev.pintle.node']))].sort(), ['node-1', 'node-2']);
    const names = (await own.webPods()).map(({ metadata }) => metadata!.name!);
    t.true(names.every((name) => labels.some((one) => one['io.kubernetes.pod.name'] === name)));
    await own.streams(t, image);

    const containers = async () => (await docker.listContainers({ all: true })).map(({ Id }) => Id).sort();
    // What ended pods left goes a moment after them.
    await eventually(async () => ((await containers()).length === 9 ? true : undefined));
    const made = await containers();
    await own.outlivesAgents(t, image);
    await eventually(async () => ((await containers()).length === 9 ? true : undefined));
    t.deepEqual(await containers(), made);

    const images = (...words: readonly string[]) => {
      const argv = [process.execPath, program, 'image', ...words, '--state-dir', cluster.folder];
      const [command, ...args] = host.onHost(argv);
      return run(command, args);
    };
    const imported = await images('import', join(folder, 'web.tar'), 'pintle.test/other:2');
    t.regex(imported.stdout, /^node-1: pintle.test\/other:2/, imported.stderr);
    t.regex((await images('ls')).stdout, /node-2 .*pintle\.test\/other:2/);
    t.not((await images('rm', image)).code, 0);
    t.is((await images('rm', 'pintle.test/other:2')).code, 0);
    t.notRegex((await images('ls')).stdout, /other:2/);
    await own.empties();

    // An image of this name is on every runtime. A pod that is there when its node gets another one is made anew on it.
    await docker.getImage(image).tag({ repo: 'host', tag: 'latest' });
    const more = { imagePullPolicy: 'Never' };
    for (const nodeName of ['node-1', 'node-2'])
      await pods.create(`moves-${nodeName}`, { nodeName, containers: [shell('c', 'exec sleep 1000000', more)] });
    const marker = async (node: string) => {
      const { code, stdout } = await pods.kubectl(['exec', `moves-${node}`, '--', 'sh', '-c', 'cat /etc/marker; true']);
      return code === 0 ? stdout : undefined;
    };
    const runsOn = (text: string) =>
      Promise.all(
        ['node-1', 'node-2'].map(async (node) => {
          await pods.ready(`moves-${node}`);
          await eventually(async () => ((await marker(node)) === text ? true : undefined));
        }),
      );
    await runsOn('web\n');
    await pods.create('once', { restartPolicy: 'Never', containers: [shell('c', 'exec sleep 1000000', more)] });
    await pods.ready('once');
    await own.restartAgents({ name: 'process' });
    // On the file system of the machine.
    await runsOn('');
    const once = await pods.phase('once', 'Failed');
    t.is(once.status!.containerStatuses![0]!.state!.terminated!.reason, 'ContainerStatusUnknown');
    t.is(once.status!.containerStatuses![0]!.restartCount, 0);
    t.deepEqual(await containers(), [], 'the engine still has containers of the cluster');
    t.notRegex((await images('ls')).stdout, /pintle\.test/);
    const left = () => own.agents.map((agent) => agent.inventory());
    t.true(left().every(({ sandboxes }) => sandboxes!.length === 1));
    await own.restartAgents(runtime);
    await runsOn('web\n');
    for (const { sandboxes, containers: here, cgroups } of left())
      t.deepEqual([sandboxes, here, cgroups], [[], [], []]);
    await own.restartAgents({ name: 'process' });
    await runsOn('');

    t.is(await cluster.interrupt(), 0, cluster.printed());
    t.deepEqual(await containers(), [], 'the engine still has containers of the cluster');
    t.is(hostNetwork(), before);
  });
