/**
 * A cluster of `pintle up` whose nodes share one Docker engine, started for it as on a host: in other pid and network
 * namespaces than the lab, which sees the engine's mounts. Everything is in a mount namespace of the test's own.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import {
  closeSync,
  createReadStream,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import Docker from 'dockerode';
import { skipCase } from '../../kernel/conformance/kit.ts';
import { progressLines } from '../../plugins/runtimes/docker/images.ts';
import { makeBusyboxTar, missingPackages } from '../lab/support/busybox-image.ts';
import { TestCluster, hostNetwork, program, run } from './support/cluster.ts';
import { Pods, eventually } from './support/pods.ts';
import '../overdue-end.ts';

const dockerProgram = '/usr/sbin/dockerd';
const missing = missingPackages({ [dockerProgram]: 'docker.io', '/bin/busybox': 'busybox-static' });
const isRoot = process.geteuid?.() === 0;

/** A mount namespace whose mounts are shared, as those of a host are, with a /run of its own. */
const hold = 'mount -t tmpfs tmpfs /run && mount --make-rshared / && echo ready && exec sleep infinity';
/** A pid namespace of the engine's own, with its /proc, in the same mounts. */
const engineInit = 'mount --make-rprivate /proc && mount -t proc proc /proc && exec "$@"';

async function makeHost(): Promise<{
  readonly within: (argv: readonly string[]) => readonly string[];
  end(): Promise<void>;
}> {
  const argv = ['--pdeathsig', 'KILL', '--', 'unshare', '--mount', '--propagation', 'private', 'sh', '-c', hold];
  const holder = spawn('setpriv', argv, { stdio: ['ignore', 'pipe', 'inherit'] });
  await Promise.race([
    once(holder.stdout, 'data'),
    once(holder, 'exit').then(() => Promise.reject(new Error('no namespace'))),
  ]);
  return {
    within: (words) => ['nsenter', '--mount', '--target', String(holder.pid), '--', ...words],
    end: async () => {
      const ended = once(holder, 'exit');
      holder.kill('SIGKILL');
      await ended;
    },
  };
}

function startEngine(folder: string, within: (argv: readonly string[]) => readonly string[]): ChildProcess {
  mkdirSync(folder);
  writeFileSync(join(folder, 'daemon.json'), '{}');
  const log = openSync(join(folder, 'dockerd.log'), 'a');
  const engine = [
    ...[dockerProgram, '--config-file', join(folder, 'daemon.json'), '--host', `unix://${join(folder, 'docker.sock')}`],
    ...['--data-root', join(folder, 'data'), '--exec-root', join(folder, 'exec')],
    ...['--pidfile', join(folder, 'docker.pid')],
    ...['--iptables=false', '--ip6tables=false', '--bridge=none', '--ip-forward=false', '--ip-masq=false'],
  ];
  const isolated = [
    ...['unshare', '--net', '--pid', '--fork', '--kill-child', '--mount', '--propagation', 'unchanged'],
    ...['sh', '-c', engineInit, 'engine', ...engine],
  ];
  const [command, ...args] = ['setpriv', '--pdeathsig', 'KILL', '--', ...within(isolated)];
  const child = spawn(command!, args, {
    stdio: ['ignore', log, log],
    env: { PATH: process.env['PATH'], HOME: folder },
  });
  closeSync(log);
  return child;
}

const web = (image: string): string =>
  JSON.stringify({
    apiVersion: 'v1',
    kind: 'List',
    items: [
      {
        ...{ apiVersion: 'apps/v1', kind: 'Deployment', metadata: { name: 'web' } },
        spec: {
          replicas: 3,
          selector: { matchLabels: { app: 'web' } },
          template: {
            metadata: { labels: { app: 'web' } },
            spec: {
              terminationGracePeriodSeconds: 1,
              containers: [
                {
                  ...{ name: 'web', image, imagePullPolicy: 'IfNotPresent', ports: [{ containerPort: 8080 }] },
                  command: [
                    'sh',
                    '-c',
                    'mkdir /www && hostname >/www/index.html && echo serving && exec httpd -f -p 8080 -h /www',
                  ],
                  readinessProbe: { httpGet: { path: '/', port: 8080 }, periodSeconds: 1 },
                },
              ],
            },
          },
        },
      },
      {
        ...{ apiVersion: 'v1', kind: 'Service', metadata: { name: 'web' } },
        spec: { selector: { app: 'web' }, ports: [{ port: 80, targetPort: 8080 }] },
      },
      {
        ...{ apiVersion: 'v1', kind: 'Pod', metadata: { name: 'client' } },
        spec: {
          terminationGracePeriodSeconds: 1,
          containers: [{ name: 'client', image, imagePullPolicy: 'Never', command: ['sleep', '1000000'] }],
        },
      },
      {
        ...{ apiVersion: 'v1', kind: 'Pod', metadata: { name: 'absent' } },
        spec: { containers: [{ name: 'absent', image: 'absent.test/none:1', imagePullPolicy: 'Never' }] },
      },
    ],
  });

if (missing.length > 0) skipCase(test, 'a cluster on a Docker engine', `not installed: ${missing.join(', ')}`);
else if (!isRoot) skipCase(test, 'a cluster on a Docker engine', 'an engine needs root');
else
  test('a Deployment and its Service answer on a Docker engine, and nothing is left of them', async (t) => {
    t.timeout(240_000);
    const before = hostNetwork();
    const folder = mkdtempSync(join(tmpdir(), 'pintle-docker-cluster-'));
    const host = await makeHost();
    const engine = startEngine(join(folder, 'engine'), host.within);
    t.teardown(async () => {
      const ended = once(engine, 'exit');
      engine.kill('SIGKILL');
      await ended;
      await host.end();
      rmSync(folder, { recursive: true, force: true });
    });
    const socketPath = join(folder, 'engine/docker.sock');
    const docker = new Docker({ socketPath, host: undefined });
    await eventually(async () => {
      if (engine.exitCode !== null) throw new Error(readFileSync(join(folder, 'engine/dockerd.log'), 'utf8'));
      return existsSync(socketPath) ? docker.ping().catch(() => undefined) : undefined;
    });

    const image = 'pintle.test/web:1';
    const stream = await docker.importImage(createReadStream(makeBusyboxTar(folder, 'web')), {
      repo: 'pintle.test/web',
      tag: '1',
    });
    for await (const { error } of progressLines(stream)) t.is(error, undefined);
    const config = join(folder, 'pintle.yaml');
    const runtime = { name: 'docker', config: { engine: `unix://${socketPath}` } };
    writeFileSync(
      config,
      JSON.stringify({ apiVersion: 'pintle.dev/v1', kind: 'ClusterConfiguration', plugins: { use: { runtime } } }),
    );
    const cluster = await TestCluster.start({ nodes: 2, flags: ['--config', config], within: host.within });
    t.teardown(() => cluster.stop());
    const pods = new Pods(cluster);
    const kubectl = async (...argv: readonly string[]): Promise<string> => {
      const { code, stdout, stderr } = await pods.kubectl(argv);
      if (code !== 0) throw new Error(`kubectl ${argv.join(' ')}: ${stderr}`);
      return stdout;
    };
    t.regex(
      await kubectl('get', 'nodes', '-o', 'jsonpath={.items[*].status.nodeInfo.containerRuntimeVersion}'),
      /^docker:\/\/\d+\S* docker:\/\/\d/,
    );

    t.is((await pods.kubectl(['apply', '-f', '-'], web(image))).code, 0);
    await kubectl('rollout', 'status', 'deployment/web', '--timeout=120s');
    await pods.ready('client');
    const names = (await kubectl('get', 'pods', '-l', 'app=web', '-o', 'jsonpath={.items[*].metadata.name}')).split(
      ' ',
    );
    const nodes = new Set(
      (await kubectl('get', 'pods', '-l', 'app=web', '-o', 'jsonpath={.items[*].spec.nodeName}')).split(' '),
    );
    t.is(nodes.size, 2, 'all are on one node');
    const seen = new Set<string>();
    await eventually(async () => {
      const { code, stdout } = await pods.kubectl([
        'exec',
        'client',
        '--',
        'wget',
        '-q',
        '-O',
        '-',
        'http://web.default.svc.cluster.local/',
      ]);
      if (code === 0) seen.add(stdout.trim());
      return seen.size === names.length || undefined;
    });
    t.deepEqual([...seen].sort(), [...names].sort());
    t.is(await kubectl('logs', names[0]!), 'serving\n');
    t.is(
      (await pods.kubectl(['exec', '-i', 'client', '--', 'cat'], 'through the engine\n')).stdout,
      'through the engine\n',
    );
    const never = await pods.until(
      'absent',
      (pod) => pod.status?.containerStatuses?.[0]?.state?.waiting?.reason === 'ErrImageNeverPull',
    );
    t.truthy(never);

    const labels = (await docker.listContainers()).map(({ Labels }) => Labels);
    t.deepEqual([...new Set(labels.map((one) => one['dev.pintle.node']))].sort(), ['node-1', 'node-2']);
    t.true(names.every((name) => labels.some((one) => one['io.kubernetes.pod.name'] === name)));

    const images = (...words: readonly string[]) => {
      const [command, ...args] = host.within([
        ...[process.execPath, program, 'image', ...words, '--state-dir', cluster.folder],
      ]);
      return run(command!, args);
    };
    t.regex(
      (await images('import', join(folder, 'web.tar'), 'pintle.test/other:2')).stdout,
      /^node-1: pintle.test\/other:2/,
    );
    t.regex((await images('ls')).stdout, /node-2 .*pintle\.test\/other:2/);
    t.not((await images('rm', image)).code, 0);
    t.is((await images('rm', 'pintle.test/other:2')).code, 0);
    t.notRegex((await images('ls')).stdout, /other:2/);

    await kubectl('delete', 'deployment', 'web', '--wait=false');
    // The sandboxes of client and absent, and client.
    await eventually(async () => ((await docker.listContainers()).length === 3 ? true : undefined));
    t.is(await cluster.interrupt(), 0);
    t.deepEqual(await docker.listContainers({ all: true }), [], 'the engine still has containers of the cluster');
    t.is(hostNetwork(), before);
  });
