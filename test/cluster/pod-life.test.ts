/** The life of a pod: hooks, probes with periods of their own, sidecars, ends and what is told of them. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { V1EphemeralContainer } from '@kubernetes/client-node';
import test from 'ava';
import { TestCluster } from './support/cluster.ts';
import { eventually, isPodReady, Pods, shell, statusOf } from './support/pods.ts';

const configuration = `
apiVersion: pintle.dev/v1
kind: ClusterConfiguration
plugins:
  use:
    component:
      - defaults
      - { name: node-agent, config: { backoffSeconds: 0.5, maxBackoffSeconds: 2, podPids: 100, staticPodPath: STATIC } }
`;
const sleep = 'exec sleep infinity';
let folder: string;
let cluster: TestCluster;
let pods: Pods;
test.before(async () => {
  folder = mkdtempSync(join(tmpdir(), 'pintle-life-'));
  mkdirSync(join(folder, 'static'));
  writeFileSync(join(folder, 'config.yaml'), configuration.replace('STATIC', join(folder, 'static')));
  cluster = await TestCluster.start({ nodes: 1, flags: ['--config', join(folder, 'config.yaml')] });
  pods = new Pods(cluster);
});
test.after.always(async () => {
  await cluster?.stop();
  rmSync(folder, { recursive: true, force: true });
});

const event = (name: string, text: RegExp) =>
  eventually(async () => (await pods.events(name)).find((each) => text.test(`${each.reason}: ${each.message}`)));
const mounted = { volumeMounts: [{ name: 'd', mountPath: '/d' }] };
/** A folder of the node that outlives the pod. */
const kept = (name: string) => [{ name: 'd', hostPath: { path: join(folder, name), type: 'DirectoryOrCreate' } }];
const read = async (name: string): Promise<string> => {
  const { readFile } = await import('node:fs/promises');
  return readFile(join(folder, name), 'utf8').catch(() => '');
};
/** Notes the signal, takes a moment, notes its end. */
const noting = (name: string) =>
  `trap 'echo ${name} told >> /d/log; sleep 0.3; echo ${name} ends >> /d/log; exit 0' TERM; touch /tmp/up; while :; do sleep 0.05; done`;

test.serial('postStart holds the next container and readiness back; preStop comes before the signal', async (t) => {
  await pods.create('hooks', {
    terminationGracePeriodSeconds: 60,
    volumes: kept('hooks'),
    containers: [
      shell('a', noting('a'), {
        ...mounted,
        lifecycle: {
          postStart: {
            exec: { command: ['sh', '-c', 'until [ -e /d/go ]; do sleep 0.05; done; echo started >> /d/log'] },
          },
          preStop: { exec: { command: ['sh', '-c', 'echo hook >> /d/log'] } },
        },
      }),
      shell('b', `echo b >> /d/log; ${sleep}`, { ...mounted, lifecycle: { preStop: { sleep: { seconds: 1 } } } }),
    ],
  });
  const early = await pods.until('hooks', (pod) => pod.status?.containerStatuses?.[0]?.state?.running !== undefined);
  t.false(statusOf(early, 'a').ready);
  t.is(statusOf(early, 'b').state?.waiting?.reason, 'ContainerCreating');
  writeFileSync(join(folder, 'hooks/go'), '');
  await pods.ready('hooks');
  await eventually(async () => ((await read('hooks/log')).includes('b\n') ? true : undefined));
  await pods.delete('hooks');
  await pods.gone('hooks');
  t.is(await read('hooks/log'), 'started\nb\nhook\na told\na ends\n');
});

test.serial('a hook that fails: after the start the container restarts, before the end it is only told', async (t) => {
  await pods.create('bad-hooks', {
    containers: [
      shell('a', sleep, { lifecycle: { postStart: { exec: { command: ['sh', '-c', 'echo no >&2; exit 3'] } } } }),
      shell('b', sleep, { lifecycle: { preStop: { httpGet: { port: 9, path: '/bye' } } } }),
    ],
  });
  await event('bad-hooks', /^FailedPostStartHook: Exec lifecycle hook \(\[sh -c echo no >&2; exit 3\]\) failed: no/);
  await pods.until('bad-hooks', (pod) => (pod.status?.containerStatuses?.[0]?.restartCount ?? 0) >= 1);
  await pods.until('bad-hooks', (pod) => pod.status?.containerStatuses?.[1]?.state?.running !== undefined);
  await pods.delete('bad-hooks', 5);
  await event('bad-hooks', /^FailedPreStopHook: HTTP lifecycle hook \(\/bye\) failed: Get "http:\/\/10\./);
  await pods.gone('bad-hooks');
  t.pass();
});

const grpcServer = (port: number) => [
  process.execPath,
  '-e',
  `require('http2').createServer().on('stream', (s) => {
     s.on('data', () => {}).on('end', () => {
       s.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
       s.on('wantTrailers', () => s.sendTrailers({ 'grpc-status': '0' }));
       s.end(Buffer.from([0, 0, 0, 0, 2, 8, require('fs').existsSync('/tmp/down') ? 2 : 1]));
     });
   }).listen(${port})`,
];

test.serial('gRPC probes: ready while it serves, restarted when it does not', async (t) => {
  await pods.create('grpc', {
    containers: [
      {
        name: 'c',
        image: 'host',
        command: grpcServer(7000),
        // A busy machine makes no failure of a start or an answer that takes long.
        startupProbe: { grpc: { port: 7000 }, periodSeconds: 1, timeoutSeconds: 10, failureThreshold: 600 },
        readinessProbe: { grpc: { port: 7000 }, periodSeconds: 1, timeoutSeconds: 10, failureThreshold: 1 },
        livenessProbe: {
          grpc: { port: 7000, service: 'x' },
          periodSeconds: 1,
          timeoutSeconds: 10,
          failureThreshold: 3,
          initialDelaySeconds: 1,
          terminationGracePeriodSeconds: 1,
        },
      },
    ],
  });
  await pods.ready('grpc');
  await pods.kubectl(['exec', 'grpc', '--', 'touch', '/tmp/down']);
  await event('grpc', /^Unhealthy: Readiness probe failed: service unhealthy \(responded with "NOT_SERVING"\)$/);
  const again = await pods.until('grpc', (pod) => (pod.status?.containerStatuses?.[0]?.restartCount ?? 0) >= 1);
  t.truthy(again);
  await pods.ready('grpc');
  await pods.delete('grpc');
});

test.serial('a probe may have a grace period of its own, and a preStop hook runs before a restart too', async (t) => {
  await pods.create('graces', {
    terminationGracePeriodSeconds: 3600,
    volumes: kept('graces'),
    containers: [
      shell('c', `trap '' TERM; touch /tmp/up; while :; do sleep 0.1; done`, {
        ...mounted,
        lifecycle: { preStop: { exec: { command: ['sh', '-c', 'echo hook >> /d/log'] } } },
        livenessProbe: {
          exec: { command: ['false'] },
          periodSeconds: 1,
          failureThreshold: 1,
          initialDelaySeconds: 1,
          // It holds for the hook too, whose start a busy machine may keep waiting.
          terminationGracePeriodSeconds: 6,
        },
      }),
    ],
  });
  const pod = await pods.until('graces', (each) => (each.status?.containerStatuses?.[0]?.restartCount ?? 0) >= 1);
  t.is(statusOf(pod, 'c').lastState?.terminated?.exitCode, 137);
  t.regex(await read('graces/log'), /^hook\n/);
  await pods.delete('graces', 1);
});

test.serial(
  'sidecars: started in order, outlive the work, end in reverse; the pod is over when they are',
  async (t) => {
    const side = (name: string) =>
      shell(name, noting(name), {
        ...mounted,
        restartPolicy: 'Always',
        // It has time: a busy machine makes no failure of it.
        startupProbe: {
          exec: { command: ['test', '-e', '/tmp/up'] },
          ...{ periodSeconds: 1, timeoutSeconds: 60, failureThreshold: 600 },
        },
      });
    await pods.create('sides', {
      restartPolicy: 'Never',
      terminationGracePeriodSeconds: 60,
      volumes: kept('sides'),
      initContainers: [side('one'), shell('step', 'echo step >> /d/log', mounted), side('two')],
      containers: [shell('c', 'echo work >> /d/log; until [ -e /d/go ]; do sleep 0.05; done', mounted)],
    });
    await pods.ready('sides');
    writeFileSync(join(folder, 'sides/go'), '');
    const done = await pods.until('sides', (pod) => {
      const isOver = pod.status?.phase === 'Succeeded';
      const sides = (pod.status?.initContainerStatuses ?? []).filter((each) => each.name !== 'step');
      if (isOver) for (const each of sides) t.truthy(each.state?.terminated, 'over, and a sidecar runs');
      return isOver;
    });
    t.is(statusOf(done, 'one').restartCount, 0);
    t.is(await read('sides/log'), 'step\nwork\ntwo told\ntwo ends\none told\none ends\n');
    await pods.delete('sides');
  },
);

/** As `kubectl debug` from 1.23 on does; before, the API was another. */
async function debug(name: string, container: V1EphemeralContainer): Promise<void> {
  const body = (await pods.get(name))!;
  body.spec!.ephemeralContainers = [...(body.spec!.ephemeralContainers ?? []), container];
  await pods.core.replaceNamespacedPodEphemeralcontainers({ name, namespace: 'default', body });
}

test.serial('kubectl debug: a container beside the others, that sees the processes of one of them', async (t) => {
  await pods.create('target', { containers: [shell('c', `echo here > /tmp/mine; ${sleep}`)] });
  await pods.ready('target');
  const looks = shell('d1', `ps -ef; cat /proc/*/root/tmp/mine; ${sleep}`);
  await debug('target', { ...looks, targetContainerName: 'c' });
  const pod = await pods.until('target', (each) =>
    (each.status?.ephemeralContainerStatuses ?? []).some((status) => status.state?.running !== undefined),
  );
  t.true(isPodReady(pod));
  const printed = await eventually(async () => {
    const { stdout } = await pods.kubectl(['logs', 'target', '-c', 'd1']);
    return stdout.includes('here') ? stdout : undefined;
  });
  t.regex(printed, /sleep infinity/);
  const inside = await pods.kubectl(['exec', 'target', '-c', 'd1', '--', 'sh', '-c', 'ls /tmp; hostname']);
  t.is(inside.stdout, 'target\n', 'a file system of its own');

  // One that ends is not started again; one of which the target is gone waits.
  await debug('target', shell('d2', 'exit 4'));
  const ended = await pods.until('target', (each) =>
    (each.status?.ephemeralContainerStatuses ?? []).some((status) => status.state?.terminated !== undefined),
  );
  t.like(
    ended.status?.ephemeralContainerStatuses?.find(({ name }) => name === 'd2'),
    { restartCount: 0, state: { terminated: { exitCode: 4 } } },
  );
  await pods.delete('target');
  await pods.gone('target');
});

test.serial('shared process namespace: one sees and signals the other, and each restarts alone', async (t) => {
  await pods.create('shared', {
    shareProcessNamespace: true,
    containers: [
      shell(
        'a',
        'until [ -e /tmp/go ] && pgrep -x tail; do sleep 0.05; done; ps -e -o args; pkill -x -TERM tail; exec sleep infinity',
      ),
      { name: 'b', image: 'host', command: ['tail', '-f', '/dev/null'] },
    ],
  });
  await pods.ready('shared');
  await pods.kubectl(['exec', 'shared', '-c', 'a', '--', 'touch', '/tmp/go']);
  const again = await pods.until('shared', (pod) => (pod.status?.containerStatuses?.[1]?.restartCount ?? 0) >= 1);
  t.is(statusOf(again, 'a').restartCount, 0);
  t.is(statusOf(again, 'b').lastState?.terminated?.exitCode, 143);
  const printed = await eventually(async () => (await pods.logs('shared', '-c', 'a')) || undefined);
  t.regex(printed, /^tail -f \/dev\/null$/m);
  await pods.delete('shared');
  await pods.gone('shared');
});

test.serial('bad pods are told in the words that kubectl users know, and the others go on', async (t) => {
  const bomb = 'bomb() { bomb | bomb & }; bomb; sleep 1; echo survived; exec sleep infinity';
  await Promise.all([
    pods.create('calm', { containers: [shell('c', sleep)] }),
    pods.create('bomb', { containers: [shell('c', bomb)] }),
    pods.create('greedy', {
      restartPolicy: 'Never',
      containers: [
        { name: 'c', image: 'host', command: ['tail', '/dev/zero'], resources: { limits: { memory: '32Mi' } } },
      ],
    }),
    pods.create('unsafe', {
      securityContext: { sysctls: [{ name: 'kernel.msgmax', value: '1' }] },
      containers: [shell('c', sleep)],
    }),
    pods.create('mute', { restartPolicy: 'Never', containers: [{ name: 'c', image: 'host' }] }),
    pods.create('vast', {
      nodeName: 'node-1',
      containers: [shell('c', sleep, { resources: { requests: { cpu: '1000' } } })],
    }),
    pods.create('safe', {
      restartPolicy: 'Never',
      securityContext: { sysctls: [{ name: 'net.ipv4.ip_unprivileged_port_start', value: '7' }] },
      containers: [shell('c', 'cat /proc/sys/net/ipv4/ip_unprivileged_port_start')],
    }),
    pods.create('root', { containers: [shell('c', sleep, { securityContext: { runAsNonRoot: true } })] }),
    pods.create('named', {
      restartPolicy: 'Never',
      hostAliases: [{ ip: '192.0.2.7', hostnames: ['alias.example'] }],
      dnsPolicy: 'None',
      dnsConfig: { nameservers: ['192.0.2.9'], searches: ['a.example'], options: [{ name: 'ndots', value: '3' }] },
      containers: [shell('c', 'grep alias /etc/hosts; cat /etc/resolv.conf')],
    }),
  ]);
  const greedy = await pods.phase('greedy', 'Failed');
  t.like(statusOf(greedy, 'c').state?.terminated, { reason: 'OOMKilled', exitCode: 137 });
  const unsafe = await pods.phase('unsafe', 'Failed');
  t.is(unsafe.status?.reason, 'SysctlForbidden');
  t.regex((await pods.kubectl(['get', 'pod', 'unsafe'])).stdout, / SysctlForbidden /);
  t.is(unsafe.status?.message, 'forbidden sysctl: "kernel.msgmax" not allowlisted');
  const vast = await pods.phase('vast', 'Failed');
  t.is(vast.status?.reason, 'OutOfcpu');
  t.regex(
    vast.status?.message ?? '',
    /Node didn't have enough resource: cpu, requested: 1000000, used: \d+, capacity: /,
  );
  await pods.phase('safe', 'Succeeded');
  t.is(await pods.logs('safe'), '7\n');
  const root = await pods.until(
    'root',
    (pod) => pod.status?.containerStatuses?.[0]?.state?.waiting?.reason === 'CreateContainerConfigError',
  );
  t.regex(statusOf(root, 'c').state!.waiting!.message!, /container has runAsNonRoot and image will run as root/);
  const mute = await pods.until(
    'mute',
    (pod) => pod.status?.containerStatuses?.[0]?.state?.waiting?.message !== undefined,
  );
  t.is(statusOf(mute, 'c').state?.waiting?.reason, 'CreateContainerConfigError');
  t.is(mute.status?.phase, 'Pending', 'nothing ran, so that nothing has failed');
  await pods.phase('named', 'Succeeded');
  t.is(await pods.logs('named'), '192.0.2.7\talias.example\nsearch a.example\nnameserver 192.0.2.9\noptions ndots:3\n');
  // The limit of processes is reached in the pod and nowhere else.
  await pods.ready('calm');
  const beside = await pods.kubectl(['exec', 'calm', '--', 'sh', '-c', 'echo $(($(echo 40) + 2))']);
  t.is(beside.stdout, '42\n');
  await Promise.all(
    ['calm', 'bomb', 'greedy', 'unsafe', 'mute', 'vast', 'safe', 'root', 'named'].map((name) => pods.delete(name, 0)),
  );
});

test.serial(
  'static pods: run from a folder, are shown by mirrors, outlive these, end with their manifest',
  async (t) => {
    const manifest = (name: string, text: string) => writeFileSync(join(folder, 'static', name), text);
    const pod = (command: string) =>
      JSON.stringify({
        apiVersion: 'v1',
        kind: 'Pod',
        metadata: { name: 'fixed' },
        spec: { terminationGracePeriodSeconds: 1, containers: [shell('c', command)] },
      });
    manifest('fixed.json', pod(`echo first; ${sleep}`));
    manifest(
      'bad.yaml',
      'apiVersion: v1\nkind: Pod\nmetadata: { name: bad }\nspec: { containers: [], contaners: [] }\n',
    );
    const mirror = await pods.ready('fixed-node-1');
    const hash = mirror.metadata?.annotations?.['kubernetes.io/config.hash'];
    t.is(mirror.metadata?.annotations?.['kubernetes.io/config.mirror'], hash);
    t.like(mirror.metadata?.ownerReferences?.[0], { kind: 'Node', name: 'node-1' });
    t.true(await pods.says('fixed-node-1', 'first\n'));
    t.is((await pods.kubectl(['exec', 'fixed-node-1', '--', 'echo', 'in'])).stdout, 'in\n');
    const told = await eventually(async () =>
      (await pods.events('node-1')).find((each) => each.reason === 'InvalidStaticPod'),
    );
    t.regex(told.message, /^static pod bad.yaml cannot be used: .*contaners/);

    // Deleting the mirror ends nothing, and it comes back.
    await pods.delete('fixed-node-1', 0);
    const again = await pods.until('fixed-node-1', (each) => each.metadata?.uid !== mirror.metadata?.uid);
    t.truthy(again);
    const same = await pods.ready('fixed-node-1');
    t.is(statusOf(same, 'c').containerID, statusOf(mirror, 'c').containerID);
    t.is(statusOf(same, 'c').restartCount, 0);

    manifest('fixed.json', pod(`echo second; ${sleep}`));
    await pods.until('fixed-node-1', (each) => each.metadata?.annotations?.['kubernetes.io/config.hash'] !== hash);
    await pods.ready('fixed-node-1');
    t.true(await pods.says('fixed-node-1', 'second\n'));
    rmSync(join(folder, 'static/fixed.json'));
    await pods.gone('fixed-node-1');
  },
);
