/** What a node does with pods: life, environment, volumes, probes, logs, streams. One cluster, real kubectl. */
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DiscoveryV1Api, KubeConfig, type CoreV1Api } from '@kubernetes/client-node';
import test from 'ava';
import { kubectls, TestCluster } from './support/cluster.ts';
import { eventually, isPodReady, Pods, shell, statusOf } from './support/pods.ts';

const configuration = `
apiVersion: pintle.dev/v1
kind: ClusterConfiguration
plugins:
  use:
    component:
      - defaults
      - { name: node-agent, config: { maxLogBytes: 16384, maxLogFiles: 3, backoffSeconds: 0.5, maxBackoffSeconds: 2 } }
`;
const namespace = 'default';
const sleep = 'exec sleep infinity';
/** Answers every request with its own name, or 503 while /tmp/down is there. */
const server = (port: number) => [
  process.execPath,
  '-e',
  `require('http').createServer((q, r) => {
     r.statusCode = require('fs').existsSync('/tmp/down') ? 503 : 200;
     r.end(require('os').hostname() + '\\n');
   }).listen(${port})`,
];

let folder: string;
let cluster: TestCluster;
let pods: Pods;
let core: CoreV1Api;
test.before(async () => {
  folder = mkdtempSync(join(tmpdir(), 'pintle-agent-'));
  writeFileSync(join(folder, 'config.yaml'), configuration);
  cluster = await TestCluster.start({ nodes: 2, flags: ['--config', join(folder, 'config.yaml')] });
  pods = new Pods(cluster);
  ({ core } = pods);
});
test.after.always(async () => {
  await cluster?.stop();
  rmSync(folder, { recursive: true, force: true });
});

test.serial('a container that fails is restarted with back-off, and its last end is told', async (t) => {
  await pods.create('crash', {
    containers: [shell('c', 'echo "start $(date +%N)"; echo the reason > /dev/termination-log; exit 3')],
  });
  const waiting = await pods.until('crash', (pod) => {
    const status = pod.status?.containerStatuses?.[0];
    return status?.state?.waiting?.reason === 'CrashLoopBackOff' && status.restartCount >= 2;
  });
  const status = statusOf(waiting, 'c');
  t.is(waiting.status?.phase, 'Running');
  t.regex(status.state!.waiting!.message!, /^back-off \d+s restarting failed container=c pod=crash_default\(/);
  t.like(status.lastState?.terminated, { exitCode: 3, reason: 'Error', message: 'the reason\n' });
  // In this order: a restart in between makes them differ more, not less. One that has just begun has not said it yet.
  const before = await pods.logs('crash', '--previous');
  const now = await eventually(async () => (await pods.logs('crash')) || undefined);
  t.regex(now, /^start \d+\n$/);
  t.regex(before, /^start \d+\n$/);
  t.not(now, before);
  await eventually(async () => (await pods.events('crash')).find((event) => event.reason === 'BackOff'));
  await pods.delete('crash');
});

test.serial('restart policies: Never, OnFailure, Always', async (t) => {
  const onceThenDone = 'if [ -e /d/once ]; then exit 0; fi; touch /d/once; exit 1';
  const volumes = [{ name: 'd', emptyDir: {} }];
  const volumeMounts = [{ name: 'd', mountPath: '/d' }];
  await Promise.all([
    pods.create('never-fails', { restartPolicy: 'Never', containers: [shell('c', 'exit 4')] }),
    pods.create('never-done', { restartPolicy: 'Never', containers: [shell('c', 'exit 0')] }),
    pods.create('on-failure', {
      restartPolicy: 'OnFailure',
      containers: [shell('c', onceThenDone, { volumeMounts })],
      volumes,
    }),
    pods.create('always', { containers: [shell('c', 'sleep 0.1')] }),
  ]);
  t.like(statusOf(await pods.phase('never-fails', 'Failed'), 'c'), { restartCount: 0 });
  t.is(statusOf((await pods.get('never-fails'))!, 'c').state?.terminated?.exitCode, 4);
  t.is(statusOf(await pods.phase('never-done', 'Succeeded'), 'c').state?.terminated?.reason, 'Completed');
  const onFailure = statusOf(await pods.phase('on-failure', 'Succeeded'), 'c');
  t.is(onFailure.restartCount, 1);
  t.is(onFailure.lastState?.terminated?.exitCode, 1);
  const always = await pods.until('always', (pod) => (pod.status?.containerStatuses?.[0]?.restartCount ?? 0) >= 1);
  t.is(always.status?.phase, 'Running');
  await Promise.all(['never-fails', 'never-done', 'on-failure', 'always'].map((name) => pods.delete(name)));
});

test.serial(
  'init containers run in order, one after the other; a failing one is tried again or fails the pod',
  async (t) => {
    const volumes = [{ name: 'd', emptyDir: {} }];
    const step = (name: string, command: string) =>
      shell(name, command, { volumeMounts: [{ name: 'd', mountPath: '/d' }] });
    await Promise.all([
      pods.create('inits', {
        restartPolicy: 'Never',
        initContainers: [step('one', 'sleep 0.3; echo one >> /d/log'), step('two', 'echo two >> /d/log')],
        containers: [step('c', 'echo main >> /d/log; cat /d/log')],
        volumes,
      }),
      pods.create('init-retried', {
        restartPolicy: 'OnFailure',
        initContainers: [step('i', '[ -e /d/once ] || { touch /d/once; exit 1; }')],
        containers: [step('c', 'exit 0')],
        volumes,
      }),
      pods.create('init-fails', {
        restartPolicy: 'Never',
        initContainers: [step('i', 'exit 9')],
        containers: [step('c', 'exit 0')],
        volumes,
      }),
    ]);
    await pods.phase('inits', 'Succeeded');
    t.is(await pods.logs('inits', '-c', 'c'), 'one\ntwo\nmain\n');
    t.is(statusOf(await pods.phase('init-retried', 'Succeeded'), 'i').restartCount, 1);
    const failed = await pods.phase('init-fails', 'Failed');
    t.is(statusOf(failed, 'i').state?.terminated?.exitCode, 9);
    t.is(statusOf(failed, 'c').state?.waiting?.reason, 'PodInitializing');
    await Promise.all(['inits', 'init-retried', 'init-fails'].map((name) => pods.delete(name)));
  },
);

test.serial('a sidecar starts first, and ends when the work is done', async (t) => {
  await pods.create('sidecar', {
    restartPolicy: 'Never',
    initContainers: [
      shell('s', `touch /d/up; ${sleep}`, {
        restartPolicy: 'Always',
        volumeMounts: [{ name: 'd', mountPath: '/d' }],
        startupProbe: {
          exec: { command: ['test', '-e', '/d/up'] },
          periodSeconds: 1,
          timeoutSeconds: 60,
          failureThreshold: 600,
        },
      }),
    ],
    containers: [shell('c', 'ls /d', { volumeMounts: [{ name: 'd', mountPath: '/d' }] })],
    volumes: [{ name: 'd', emptyDir: {} }],
  });
  const done = await pods.until(
    'sidecar',
    (pod) => pod.status?.phase === 'Succeeded' && statusOf(pod, 's').state?.terminated !== undefined,
  );
  t.is(statusOf(done, 'c').state?.terminated?.exitCode, 0);
  t.is(await pods.logs('sidecar', '-c', 'c'), 'up\n');
  await pods.delete('sidecar');
});

test.serial('containers of a pod share their network and an emptyDir; one in memory is a tmpfs', async (t) => {
  const volumeMounts = [
    { name: 'disk', mountPath: '/disk' },
    { name: 'memory', mountPath: '/memory' },
  ];
  await pods.create('shared', {
    containers: [
      { name: 'a', image: 'host', command: server(8080), volumeMounts },
      shell('b', `echo from b > /disk/b; ${sleep}`, { volumeMounts }),
    ],
    volumes: [
      { name: 'disk', emptyDir: {} },
      { name: 'memory', emptyDir: { medium: 'Memory', sizeLimit: '1Mi' } },
    ],
  });
  await pods.ready('shared');
  const fetch = `fetch('http://127.0.0.1:8080').then((r) => r.text()).then((x) => process.stdout.write(x))`;
  const answer = await eventually(async () => {
    const { code, stdout } = await pods.kubectl(['exec', 'shared', '-c', 'b', '--', process.execPath, '-e', fetch]);
    return code === 0 ? stdout : undefined;
  });
  t.is(answer, 'shared\n');
  // It runs before it has written.
  const written = await eventually(
    async () => (await pods.kubectl(['exec', 'shared', '-c', 'a', '--', 'cat', '/disk/b'])).stdout || undefined,
  );
  t.is(written, 'from b\n');
  const mount = await pods.kubectl(['exec', 'shared', '-c', 'a', '--', 'grep', ' /memory ', '/proc/mounts']);
  t.regex(mount.stdout, /^tmpfs \/memory tmpfs rw.*size=1024k/);
  await pods.delete('shared');
});

test.serial('the environment: fields, resources, maps, expansion', async (t) => {
  await core.createNamespacedConfigMap({
    namespace,
    body: { metadata: { name: 'env' }, data: { KEY: 'value', OTHER: '2' } },
  });
  await core.createNamespacedSecret({
    namespace,
    body: { metadata: { name: 'env' }, stringData: { PASSWORD: 'hush' } },
  });
  const field = (name: string, fieldPath: string) => ({ name, valueFrom: { fieldRef: { fieldPath } } });
  const container = shell('c', 'env; echo "ARGS $0 $1"', {
    args: ['$(GREETING)', '$$(GREETING)'],
    resources: { limits: { cpu: '500m', memory: '64Mi' } },
    envFrom: [{ configMapRef: { name: 'env' }, prefix: 'MAP_' }, { secretRef: { name: 'env' } }],
    env: [
      field('NAME', 'metadata.name'),
      field('LABEL', `metadata.labels['app']`),
      field('NODE', 'spec.nodeName'),
      field('POD_IP', 'status.podIP'),
      { name: 'CPU', valueFrom: { resourceFieldRef: { resource: 'limits.cpu', divisor: '1m' } } },
      { name: 'MEMORY', valueFrom: { resourceFieldRef: { resource: 'limits.memory', divisor: '1Mi' } } },
      { name: 'ONE', valueFrom: { configMapKeyRef: { name: 'env', key: 'KEY' } } },
      { name: 'ABSENT', valueFrom: { secretKeyRef: { name: 'none', key: 'x', optional: true } } },
      { name: 'GREETING', value: 'hello $(NAME) $(MAP_OTHER) $(NOBODY) $$(NAME)' },
    ],
  });
  await pods.create('env', { restartPolicy: 'Never', containers: [container] }, { app: 'blue' });
  const pod = await pods.phase('env', 'Succeeded');
  const lines = (await pods.logs('env')).trim().split('\n');
  const expected = [
    'NAME=env',
    'LABEL=blue',
    `NODE=${pod.spec?.nodeName}`,
    `POD_IP=${pod.status?.podIP}`,
    'CPU=500',
    'MEMORY=64',
    'ONE=value',
    'MAP_KEY=value',
    'PASSWORD=hush',
    'GREETING=hello env 2 $(NOBODY) $(NAME)',
    'ARGS hello env 2 $(NOBODY) $(NAME) $(GREETING)',
    'KUBERNETES_SERVICE_HOST=10.96.0.1',
  ];
  for (const line of expected) t.true(lines.includes(line), `${line} in ${lines.join('|')}`);
  t.false(lines.some((line) => line.startsWith('ABSENT=')));
  t.is(pod.status?.qosClass, 'Guaranteed');
  await pods.delete('env');
});

test.serial('volumes of ConfigMaps, Secrets, fields, projections and host paths', async (t) => {
  await core.createNamespacedConfigMap({ namespace, body: { metadata: { name: 'files' }, data: { a: 'A', b: 'B' } } });
  await core.createNamespacedSecret({ namespace, body: { metadata: { name: 'files' }, stringData: { key: 'S' } } });
  const host = join(folder, 'host');
  await pods.create(
    'volumes',
    {
      restartPolicy: 'Never',
      containers: [
        shell(
          'c',
          'cd /v; exec 2>&1; head map/* secret/* fields/* all/name one; stat -c "%a %n" -L map/x secret/key; echo H > host/h; touch map/no',
          {
            volumeMounts: [
              ...['map', 'secret', 'fields', 'all', 'host'].map((name) => ({ name, mountPath: `/v/${name}` })),
              { name: 'all', mountPath: '/v/one', subPath: 'deep/b' },
            ],
          },
        ),
      ],
      volumes: [
        { name: 'map', configMap: { name: 'files', items: [{ key: 'a', path: 'x', mode: 0o600 }] } },
        { name: 'secret', secret: { secretName: 'files', defaultMode: 0o440 } },
        { name: 'fields', downwardAPI: { items: [{ path: 'labels', fieldRef: { fieldPath: 'metadata.labels' } }] } },
        {
          name: 'all',
          projected: {
            sources: [
              { configMap: { name: 'files', items: [{ key: 'b', path: 'deep/b' }] } },
              { secret: { name: 'absent', optional: true } },
              { downwardAPI: { items: [{ path: 'name', fieldRef: { fieldPath: 'metadata.name' } }] } },
            ],
          },
        },
        { name: 'host', hostPath: { path: host, type: 'DirectoryOrCreate' } },
      ],
    },
    { app: 'blue' },
  );
  await pods.until('volumes', (pod) => pod.status?.phase === 'Succeeded' || pod.status?.phase === 'Failed');
  const text = await pods.logs('volumes');
  t.regex(text, /==> map\/x <==\nA\n==> secret\/key <==\nS\n==> fields\/labels <==\napp="blue"\n/);
  t.regex(text, /==> all\/name <==\nvolumes\n/);
  t.regex(text, /==> one <==\nB600 map\/x\n440 secret\/key\n/);
  t.regex(text, /touch: cannot touch 'map\/no': Read-only file system/);
  t.is(readFileSync(join(host, 'h'), 'utf8'), 'H\n');
  await pods.delete('volumes');
});

test.serial('what is missing is said, and made good when it comes', async (t) => {
  const later = (name: string) => ({
    name,
    containers: [shell('c', sleep, { volumeMounts: [{ name: 'v', mountPath: '/v' }] })],
  });
  await Promise.all([
    pods.create('no-map', { ...later('no-map'), volumes: [{ name: 'v', configMap: { name: 'late' } }] }),
    pods.create('no-path', {
      ...later('no-path'),
      volumes: [{ name: 'v', hostPath: { path: join(folder, 'late'), type: 'Directory' } }],
    }),
    pods.create('no-secret', { containers: [shell('c', sleep, { envFrom: [{ secretRef: { name: 'late' } }] })] }),
    pods.create('no-image', { containers: [{ name: 'c', image: 'nobody/knows:1', command: ['true'] }] }),
    pods.create('no-command', {
      restartPolicy: 'Never',
      containers: [{ name: 'c', image: 'host', command: ['/no/such/program'] }],
    }),
  ]);
  const event = (name: string, text: RegExp) =>
    eventually(async () => (await pods.events(name)).find((each) => text.test(`${each.reason}: ${each.message}`)));
  await event('no-map', /^FailedMount: MountVolume.SetUp failed for volume "v" : configmap "late" not found$/);
  await event('no-path', /^FailedMount: .*hostPath type check failed: .*late is not a directory$/);
  const waits =
    (reason: string) => (pod: { status?: { containerStatuses?: { state?: { waiting?: { reason?: string } } }[] } }) =>
      pod.status?.containerStatuses?.[0]?.state?.waiting?.reason === reason;
  const noSecret = await pods.until('no-secret', waits('CreateContainerConfigError'));
  t.is(statusOf(noSecret, 'c').state!.waiting!.message, 'secret "late" not found');
  await pods.until('no-map', waits('ContainerCreating'));
  await pods.until('no-image', waits('ImagePullBackOff'));
  await event('no-image', /^Failed: Failed to pull image "nobody\/knows:1": /);
  const noCommand = statusOf(await pods.phase('no-command', 'Failed'), 'c').state!.terminated!;
  t.is(noCommand.exitCode, 127);
  t.regex(noCommand.message!, /\/no\/such\/program: command not found/);

  await core.createNamespacedConfigMap({ namespace, body: { metadata: { name: 'late' }, data: { a: '1' } } });
  await core.createNamespacedSecret({ namespace, body: { metadata: { name: 'late' }, stringData: { a: '1' } } });
  await pods.create('makes-path', {
    restartPolicy: 'Never',
    containers: [shell('c', 'true', { volumeMounts: [{ name: 'v', mountPath: '/v' }] })],
    volumes: [{ name: 'v', hostPath: { path: join(folder, 'late'), type: 'DirectoryOrCreate' } }],
  });
  await Promise.all(['no-map', 'no-path', 'no-secret'].map((name) => pods.ready(name)));
  await Promise.all(
    ['no-map', 'no-path', 'no-secret', 'no-image', 'no-command', 'makes-path'].map((name) => pods.delete(name)),
  );
});

test.serial(
  'readiness by http, tcp and exec decides who is in the EndpointSlice; terminating pods leave it',
  async (t) => {
    const config = new KubeConfig();
    config.loadFromFile(cluster.kubeconfig);
    const discovery = config.makeApiClient(DiscoveryV1Api);
    const probes = {
      http: { httpGet: { path: '/', port: 8080 } },
      tcp: { tcpSocket: { port: 8080 } },
      exec: { exec: { command: ['sh', '-c', '! test -e /tmp/down'] } },
    };
    const body = {
      metadata: { name: 'probed' },
      spec: { selector: { app: 'probed' }, ports: [{ port: 80, targetPort: 8080 }] },
    };
    await core.createNamespacedService({ namespace, body });
    for (const [name, probe] of Object.entries(probes)) {
      await pods.create(
        `ready-${name}`,
        {
          terminationGracePeriodSeconds: 60,
          containers: [
            {
              name: 'c',
              image: 'host',
              command: server(8080),
              readinessProbe: { ...probe, periodSeconds: 1, timeoutSeconds: 30, failureThreshold: 1 },
            },
          ],
        },
        { app: 'probed' },
      );
    }
    const endpoints = async () => {
      const labelSelector = 'kubernetes.io/service-name=probed';
      const { items } = await discovery.listNamespacedEndpointSlice({ namespace, labelSelector });
      return items
        .flatMap((slice) => slice.endpoints)
        .filter((endpoint) => endpoint.conditions?.ready)
        .map((endpoint) => endpoint.targetRef?.name)
        .sort()
        .join();
    };
    const inService = (names: string) => eventually(async () => ((await endpoints()) === names ? true : undefined));
    await inService('ready-exec,ready-http,ready-tcp');
    for (const name of ['http', 'exec']) {
      await pods.kubectl(['exec', `ready-${name}`, '--', 'touch', '/tmp/down']);
      await pods.ready(`ready-${name}`, false);
    }
    await inService('ready-tcp');
    await pods.kubectl(['exec', 'ready-http', '--', 'rm', '/tmp/down']);
    await inService('ready-http,ready-tcp');
    // One that takes its time to end is out of service at once.
    await pods.create(
      'slow-end',
      {
        terminationGracePeriodSeconds: 60,
        containers: [
          shell(
            'c',
            'trap "touch /d/told; while ! test -e /d/go; do sleep 0.1; done; exit 0" TERM; touch /d/up; while :; do sleep 0.1; done',
            { volumeMounts: [{ name: 'd', mountPath: '/d' }] },
          ),
        ],
        volumes: [{ name: 'd', hostPath: { path: join(folder, 'slow'), type: 'DirectoryOrCreate' } }],
      },
      { app: 'probed' },
    );
    await inService('ready-http,ready-tcp,slow-end');
    // It runs before it heeds the signal.
    await eventually(() => existsSync(join(folder, 'slow/up')) || undefined);
    await pods.delete('slow-end');
    await inService('ready-http,ready-tcp');
    t.truthy((await pods.get('slow-end'))?.metadata?.deletionTimestamp);
    await eventually(() => {
      try {
        return readFileSync(join(folder, 'slow/told'), 'utf8') === '' ? true : undefined;
      } catch {
        return undefined;
      }
    });
    t.truthy(await pods.get('slow-end'), 'it has its time to end');
    writeFileSync(join(folder, 'slow/go'), '');
    await pods.gone('slow-end');
    await Promise.all(Object.keys(probes).map((name) => pods.delete(`ready-${name}`, 1)));
  },
);

test.serial('a failed liveness or startup probe restarts; a passing startup probe lets the others begin', async (t) => {
  const once = { periodSeconds: 1, failureThreshold: 1 };
  const upExists = { exec: { command: ['test', '-e', '/tmp/up'] }, periodSeconds: 1, timeoutSeconds: 60 };
  await Promise.all([
    pods.create('unlive', {
      containers: [
        shell('c', `rm -f /tmp/ok; touch /tmp/ok; sleep 1; rm /tmp/ok; ${sleep}`, {
          livenessProbe: { ...once, exec: { command: ['test', '-e', '/tmp/ok'] } },
        }),
      ],
    }),
    pods.create('unstarted', {
      containers: [shell('c', sleep, { startupProbe: { ...once, tcpSocket: { port: 9 } } })],
    }),
    pods.create('starts', {
      containers: [
        // Probes of what is to live have time: a busy machine makes no failure of them.
        shell('c', sleep, {
          startupProbe: { ...upExists, failureThreshold: 600 },
          livenessProbe: { ...upExists, failureThreshold: 1 },
        }),
      ],
    }),
  ]);
  const early = await pods.until('starts', (pod) => pod.status?.phase === 'Running');
  t.false(isPodReady(early));
  t.is((await pods.kubectl(['exec', 'starts', '--', 'touch', '/tmp/up'])).code, 0);
  const unlive = await pods.until('unlive', (pod) => (pod.status?.containerStatuses?.[0]?.restartCount ?? 0) >= 1);
  t.truthy(unlive);
  const killed = (name: string, text: RegExp) =>
    eventually(async () => (await pods.events(name)).find((event) => text.test(event.message)));
  await killed('unlive', /^Container c failed liveness probe/);
  await pods.until('unstarted', (pod) => (pod.status?.containerStatuses?.[0]?.restartCount ?? 0) >= 1);
  await killed('unstarted', /^Container c failed startup probe/);
  t.is(statusOf(await pods.ready('starts'), 'c').restartCount, 0);
  await Promise.all(['unlive', 'unstarted', 'starts'].map((name) => pods.delete(name)));
});

test.serial('the grace period is kept, and a shorter one counts at once', async (t) => {
  const deaf = shell('c', `trap "" TERM; echo up; while :; do sleep 1; done`);
  await pods.create('deaf', { terminationGracePeriodSeconds: 1, containers: [deaf] });
  await pods.create('deafer', { terminationGracePeriodSeconds: 3600, containers: [deaf] });
  await Promise.all(
    ['deaf', 'deafer'].map((name) =>
      eventually(async () => ((await pods.kubectl(['logs', name])).stdout === 'up\n' ? true : undefined)),
    ),
  );
  await pods.delete('deaf');
  await pods.gone('deaf');
  await pods.delete('deafer');
  t.is((await pods.get('deafer'))?.metadata?.deletionGracePeriodSeconds, 3600);
  await eventually(async () => (await pods.events('deafer')).find((event) => event.reason === 'Killing'));
  await pods.delete('deafer', 1);
  await pods.gone('deafer');
});

test.serial("a pod in the node's network; a deadline for a pod", async (t) => {
  await pods.create('on-host', { hostNetwork: true, containers: [shell('c', `hostname; ${sleep}`)] });
  await pods.create('late', { containers: [shell('c', sleep)] });
  const pod = await pods.ready('on-host');
  t.is(pod.status?.podIP, pod.status?.hostIP);
  t.true(await pods.says('on-host', `${pod.spec?.nodeName}\n`));
  // Counted from its start, which is over a second ago when its container surely runs.
  await pods.ready('late');
  t.is((await pods.kubectl(['patch', 'pod', 'late', '-p', '{"spec":{"activeDeadlineSeconds":1}}'])).code, 0);
  const late = await pods.phase('late', 'Failed');
  t.is(late.status?.reason, 'DeadlineExceeded');
  t.truthy(statusOf(late, 'c').state?.terminated);
  await Promise.all(['on-host', 'late'].map((name) => pods.delete(name)));
});

test.serial('logs: rotation, time stamps, since, tail, follow, all containers', async (t) => {
  const lines = 'i=0; while [ $i -lt 1500 ]; do i=$((i+1)); echo "line $i"; done';
  await pods.create('logs', {
    containers: [shell('c', `${lines}; ${sleep}`), shell('d', `echo other; echo wrong >&2; ${sleep}`)],
  });
  await pods.create('chatter', {
    restartPolicy: 'Never',
    containers: [
      shell('c', 'i=0; while [ $i -lt 3000 ]; do i=$((i+1)); echo "line $i"; [ $((i % 50)) = 0 ] && sleep 0.1; done'),
    ],
  });
  await eventually(async () => {
    const { code } = await pods.kubectl(['get', 'pod', 'chatter', '-o', 'jsonpath={.status.podIP}']);
    return code === 0 && (await pods.kubectl(['logs', 'chatter', '--tail=1'])).code === 0 ? true : undefined;
  });
  // 3 files of 16 KiB hold about 880 lines: the follower sees all 3000 of them only over the rotations.
  const followed = await pods.logs('chatter', '-f', '--tail=-1');
  const numbers = [...followed.matchAll(/^line (\d+)$/gm)].map((match) => Number(match[1]));
  t.is(numbers.at(-1), 3000);
  numbers.forEach(
    (number, index) =>
      index > 0 && number !== numbers[index - 1]! + 1 && t.fail(`${number} after ${numbers[index - 1]}`),
  );

  await eventually(async () =>
    (await pods.kubectl(['logs', 'logs', '-c', 'c', '--tail=1'])).stdout === 'line 1500\n' ? true : undefined,
  );
  const kept = (await pods.logs('logs', '-c', 'c')).trim().split('\n');
  t.true(kept.length > 300 && kept.length < 1500, String(kept.length));
  t.deepEqual(
    kept,
    kept.map((_, index) => `line ${1500 - kept.length + 1 + index}`),
  );
  const [stamped] = (await pods.logs('logs', '-c', 'c', '--tail=1', '--timestamps')).split('\n');
  t.regex(stamped!, /^\d{4}-\d\d-\d\dT[\d:]+\.\d+Z line 1500$/);
  t.is(await pods.logs('logs', '-c', 'c', `--since-time=${new Date(Date.now() + 60_000).toISOString()}`), '');
  t.is((await pods.logs('logs', '-c', 'c', '--since=1h')).trim().split('\n').length, kept.length);
  const all = await pods.logs('logs', '--all-containers', '--tail=2');
  t.deepEqual(all.trim().split('\n').sort(), ['line 1499', 'line 1500', 'other', 'wrong']);
  await Promise.all(['logs', 'chatter'].map((name) => pods.delete(name)));
});

for (const [index, binary] of kubectls().entries()) {
  test.serial(`exec with a terminal, attach, port-forward and cp (kubectl ${index})`, async (t) => {
    const name = `streams-${index}`;
    await pods.create(name, {
      containers: [
        shell('c', 'read line; echo "got $line"; exec sleep infinity', { stdin: true, stdinOnce: false }),
        {
          name: 'web',
          image: 'host',
          command: server(8080),
          readinessProbe: { tcpSocket: { port: 8080 }, periodSeconds: 1, timeoutSeconds: 10 },
        },
      ],
    });
    await pods.ready(name);
    const env = { PATH: process.env['PATH'], HOME: folder, KUBECONFIG: cluster.kubeconfig, SHELL: '/bin/sh' };

    // script(1) gives kubectl a terminal of its own.
    const typed = spawn('script', ['-qec', `${binary} exec -it ${name} -c c -- sh`, '/dev/null'], { env });
    let screen = '';
    typed.stdout.on('data', (chunk: Buffer) => (screen += chunk.toString('utf8')));
    typed.stdin.write('tty; echo $((6*7))!\n');
    await eventually(() => (/\/dev\/pts\/\d+\s+42!/.test(screen) ? true : undefined));
    const ended = new Promise<number | null>((resolve) => typed.once('close', resolve));
    typed.stdin.write('exit 5\n');
    t.is(await ended, 5);

    const attached = spawn(binary, ['attach', '-i', name, '-c', 'c'], { env });
    let seen = '';
    attached.stdout.on('data', (chunk: Buffer) => (seen += chunk.toString('utf8')));
    attached.stdin.write('hello\n');
    await eventually(() => (seen.includes('got hello') ? true : undefined));
    attached.kill('SIGKILL');

    const forward = spawn(binary, ['port-forward', `pod/${name}`, ':8080'], { env });
    let port: number | undefined;
    forward.stdout.on('data', (chunk: Buffer) => {
      port ??= Number(/127\.0\.0\.1:(\d+)/.exec(chunk.toString('utf8'))?.[1]);
    });
    await eventually(() => port);
    for (let round = 0; round < 2; round += 1) {
      const answer = await new Promise<string>((resolve, reject) => {
        let text = '';
        const socket = connect(port!, '127.0.0.1', () => socket.write('GET / HTTP/1.0\r\n\r\n'));
        socket.on('data', (chunk: Buffer) => (text += chunk.toString('utf8')));
        socket.on('end', () => resolve(text));
        socket.on('error', reject);
      });
      t.regex(answer, new RegExp(`200 OK[\\s\\S]*${name}\n$`));
    }
    forward.kill('SIGKILL');

    const local = join(folder, `local-${index}`);
    writeFileSync(local, 'x'.repeat(300_000));
    const copy = (from: string, to: string) => pods.kubectl(['cp', '-c', 'c', from, to], undefined, binary);
    t.like(await copy(local, `${name}:/tmp/copied`), { code: 0 });
    t.like(await copy(`${name}:/tmp/copied`, `${local}.back`), { code: 0 });
    t.is(readFileSync(`${local}.back`, 'utf8'), readFileSync(local, 'utf8'));
    await pods.delete(name);
  });
}
