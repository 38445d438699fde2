/** What pods keep, and what follows its source: claims, volumes, ConfigMaps and Secrets as files. One cluster, real kubectl. */
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { Agent } from './support/agents.ts';
import { TestCluster } from './support/cluster.ts';
import { eventually, isPodReady, Pods, shell } from './support/pods.ts';

const configuration = `
apiVersion: pintle.dev/v1
kind: ClusterConfiguration
plugins:
  use:
    controller:
      - defaults
      - { name: node-lifecycle, config: { gracePeriodSeconds: 10, checkPeriodSeconds: 1 } }
    component:
      - defaults
      - { name: node-agent, config: { leaseSeconds: 4, volumeSeconds: 0.5 } }
`;

let folder: string;
let cluster: TestCluster;
let pods: Pods;
let agents: Agent[];
test.before(async () => {
  folder = mkdtempSync(join(tmpdir(), 'pintle-storage-'));
  writeFileSync(join(folder, 'config.yaml'), configuration);
  cluster = await TestCluster.start({ nodes: 2, flags: ['--config', join(folder, 'config.yaml')] });
  pods = new Pods(cluster);
  agents = ['node-1', 'node-2'].map((node) => new Agent(cluster, node));
});
test.after.always(async () => {
  await cluster?.stop();
  rmSync(folder, { recursive: true, force: true });
});

async function kubectl(t: ExecutionContext, ...argv: string[]): Promise<string> {
  const { code, stdout, stderr } = await pods.kubectl(argv);
  t.is(code, 0, `kubectl ${argv.join(' ')}: ${stderr}`);
  return stdout;
}

async function apply(t: ExecutionContext, manifest: string): Promise<void> {
  const { code, stderr } = await pods.kubectl(['apply', '-f', '-'], manifest);
  t.is(code, 0, stderr);
}

const claim = (name: string, more = '') => `
apiVersion: v1
kind: PersistentVolumeClaim
metadata: { name: ${name} }
spec:
  accessModes: [ReadWriteOnce]
  resources: { requests: { storage: 1Mi } }
  ${more}
---`;

/** Prints one field of one object. */
const field = async (t: ExecutionContext, kind: string, name: string, path: string): Promise<string> =>
  (await kubectl(t, 'get', kind, name, '-o', `jsonpath={${path}}`, '--ignore-not-found')).trim();

const until = (t: ExecutionContext, kind: string, name: string, path: string, value: string | RegExp) =>
  eventually(async () => {
    const found = await field(t, kind, name, path);
    return (typeof value === 'string' ? found === value : value.test(found)) ? found : undefined;
  });

const event = (name: string, text: RegExp) =>
  eventually(async () => (await pods.events(name)).find((each) => text.test(`${each.reason}: ${each.message}`)));

/** An agent that has just been started may not be connected for streams yet. */
const exec = (pod: string, command: string): Promise<string> =>
  eventually(async () => {
    const { code, stdout } = await pods.kubectl(['exec', pod, '--', 'sh', '-c', command]);
    return code === 0 ? stdout : undefined;
  });

/** A pod without probes is ready before its first command has done its work. */
const holds = async (pod: string, file: string, text: string): Promise<true> => {
  let last = '';
  return eventually(
    async () => ((last = await exec(pod, `cat ${file}`)) === text ? true : undefined),
    () => `${file} of ${pod} is ${JSON.stringify(last)}, expected ${JSON.stringify(text)}`,
  );
};

/** Folders of volumes that a node has. */
const volumesOf = (agent: Agent) => {
  const path = join(agent.stateDir, 'volume/local/volumes');
  return existsSync(path) ? readdirSync(path) : [];
};

const user = (name: string, claimName: string, command = 'exec sleep infinity', more: object = {}) =>
  pods.create(name, {
    containers: [shell('c', command, { volumeMounts: [{ name: 'v', mountPath: '/v' }] })],
    volumes: [{ name: 'v', persistentVolumeClaim: { claimName } }],
    ...more,
  });

test.serial('a StatefulSet keeps its data: a pod’s end, its agent’s end, its node’s death', async (t) => {
  await apply(
    t,
    `
apiVersion: apps/v1
kind: StatefulSet
metadata: { name: db }
spec:
  serviceName: db
  replicas: 2
  podManagementPolicy: Parallel
  selector: { matchLabels: { app: db } }
  template:
    metadata: { labels: { app: db } }
    spec:
      terminationGracePeriodSeconds: 1
      tolerations:
      - { key: node.kubernetes.io/not-ready, operator: Exists, effect: NoExecute, tolerationSeconds: 1 }
      - { key: node.kubernetes.io/unreachable, operator: Exists, effect: NoExecute, tolerationSeconds: 1 }
      containers:
      - name: c
        image: host
        command: [sh, -c, 'hostname >> /data/log; exec sleep infinity']
        volumeMounts: [{ name: data, mountPath: /data }]
  volumeClaimTemplates:
  - metadata: { name: data }
    spec: { accessModes: [ReadWriteOnce], resources: { requests: { storage: 1Gi } } }
`,
  );
  await Promise.all(['db-0', 'db-1'].map((name) => pods.ready(name)));
  for (const name of ['db-0', 'db-1']) await holds(name, '/data/log', `${name}\n`);
  t.is(await field(t, 'pvc', 'data-db-0', '.status.phase'), 'Bound');
  t.is(await field(t, 'pvc', 'data-db-0', '.status.capacity.storage'), '1Gi');
  const first = (await pods.get('db-0'))!;
  const node = first.spec!.nodeName!;
  const agent = agents.find((each) => each.node === node)!;
  const again = (before: string) =>
    pods.until('db-0', (pod) => pod.metadata?.uid !== before && isPodReady(pod) && !pod.metadata?.deletionTimestamp);

  await pods.delete('db-0');
  const second = await again(first.metadata!.uid!);
  t.is(second.spec?.nodeName, node);
  await holds('db-0', '/data/log', 'db-0\n'.repeat(2));

  await agent.kill();
  agent.start();
  await pods.delete('db-0');
  const third = await again(second.metadata!.uid!);
  await holds('db-0', '/data/log', 'db-0\n'.repeat(3));

  await agent.kill();
  await until(t, 'node', node, '.status.conditions[?(@.type=="Ready")].status', 'Unknown');
  await pods.until('db-0', (pod) => pod.metadata?.deletionTimestamp !== undefined);
  t.is((await pods.get('db-0'))?.metadata?.uid, third.metadata?.uid, 'nobody but its node can say that it has ended');
  await kubectl(t, 'delete', 'pod', 'db-0', '--force', '--grace-period=0');
  const waiting = await pods.until(
    'db-0',
    (pod) => pod.status?.conditions?.some(({ type, status }) => type === 'PodScheduled' && status === 'False') ?? false,
  );
  const { message } = waiting.status!.conditions!.find(({ type }) => type === 'PodScheduled')!;
  t.regex(message!, /^0\/2 nodes are available: 1 node\(s\) had (untolerated taint|volume node affinity conflict)/);
  t.regex(message!, /1 node\(s\) had volume node affinity conflict/);
  t.true(isPodReady((await pods.get('db-1'))!), 'the other goes on');
  agent.start();
  const last = await again(third.metadata!.uid!);
  t.is(last.spec?.nodeName, node);
  await holds('db-0', '/data/log', 'db-0\n'.repeat(4));

  await kubectl(t, 'delete', 'statefulset', 'db');
  await Promise.all(['db-0', 'db-1'].map((name) => pods.gone(name)));
  t.is((await kubectl(t, 'get', 'pvc', '-o', 'name')).trim().split('\n').length, 2, 'claims outlive their set');
  await kubectl(t, 'delete', 'pvc', '--all');
  await eventually(() => (agents.every((each) => volumesOf(each).length === 0) ? true : undefined));
  await eventually(async () => ((await kubectl(t, 'get', 'pv', '-o', 'name')) === '' ? true : undefined));
});

test.serial('in use, grown, kept: a claim’s life under kubectl', async (t) => {
  await apply(
    t,
    `${claim('data', 'storageClassName: kept')}
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: { name: kept }
provisioner: pintle.dev/local
reclaimPolicy: Retain
volumeBindingMode: Immediate
allowVolumeExpansion: true
`,
  );
  await until(t, 'pvc', 'data', '.status.phase', 'Bound');
  await user('uses', 'data', 'echo kept > /v/file; exec sleep infinity', {
    securityContext: { fsGroup: 4321, supplementalGroups: [] },
  });
  await pods.ready('uses');
  if (process.getuid!() === 0) t.is(await exec('uses', 'stat -c %g /v/file'), '4321\n');
  const resize = '{"spec":{"resources":{"requests":{"storage":"3Mi"}}}}';
  await kubectl(t, 'patch', 'pvc', 'data', '-p', resize);
  await until(t, 'pvc', 'data', '.status.capacity.storage', '3Mi');
  const volume = await field(t, 'pvc', 'data', '.spec.volumeName');
  t.is(await field(t, 'pv', volume, '.spec.capacity.storage'), '3Mi');
  const path = await field(t, 'pv', volume, '.spec.local.path');

  await kubectl(t, 'delete', 'pvc', 'data', '--wait=false');
  t.regex(await kubectl(t, 'get', 'pvc', 'data'), /Terminating/);
  t.is(await exec('uses', 'cat /v/file'), 'kept\n');
  await pods.delete('uses');
  await until(t, 'pvc', 'data', '.metadata.name', '');
  await until(t, 'pv', volume, '.status.phase', 'Released');
  t.is(readFileSync(join(path, 'file'), 'utf8'), 'kept\n');
  await kubectl(t, 'delete', 'pv', volume);
  t.true(existsSync(join(path, 'file')));
});

test.serial(
  'what cannot be bound or mounted waits with its reason, the rest goes on, and it is made good',
  async (t) => {
    const late = join(folder, 'late');
    const handMade = (name: string, storageClass: string, source: string) => `
apiVersion: v1
kind: PersistentVolume
metadata: { name: ${name} }
spec:
  capacity: { storage: 1Gi }
  accessModes: [ReadWriteOnce]
  storageClassName: ${storageClass}
  ${source}
---`;
    await apply(
      t,
      `${claim('nobody', 'storageClassName: none-such')}
${claim('hand', 'storageClassName: hand')}
${handMade('hand', 'hand', `hostPath: { path: ${late}, type: Directory }`)}
${claim('fine')}
apiVersion: apps/v1
kind: StatefulSet
metadata: { name: stuck }
spec:
  serviceName: stuck
  replicas: 2
  selector: { matchLabels: { app: stuck } }
  template:
    metadata: { labels: { app: stuck } }
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - { name: c, image: host, command: [sleep, infinity], volumeMounts: [{ name: data, mountPath: /data }] }
  volumeClaimTemplates:
  - metadata: { name: data }
    spec: { accessModes: [ReadWriteOnce], storageClassName: none-such, resources: { requests: { storage: 1Mi } } }
`,
    );
    await Promise.all([user('waits', 'nobody'), user('no-mount', 'hand'), user('fine', 'fine')]);
    await pods.ready('fine');
    await event('nobody', /^ProvisioningFailed: storageclass.storage.k8s.io "none-such" not found$/);
    await event(
      'waits',
      /^FailedScheduling: 0\/2 nodes are available: pod has unbound immediate PersistentVolumeClaims\. preemption: /,
    );
    await event('stuck-0', /^FailedScheduling: .*unbound immediate/);
    await event(
      'no-mount',
      /^FailedMount: MountVolume.SetUp failed for volume "hand" : hostPath ".*late" does not exist/,
    );
    await pods.until(
      'no-mount',
      (pod) => pod.status?.containerStatuses?.[0]?.state?.waiting?.reason === 'ContainerCreating',
    );
    await until(t, 'statefulset', 'stuck', '.status.replicas', /^[12]$/);
    t.is(await field(t, 'statefulset', 'stuck', '.status.replicas'), '1', 'in order: the second waits for the first');
    t.is((await pods.get('waits'))?.status?.phase, 'Pending');

    mkdirSync(late);
    await apply(
      t,
      ['a', 'b', 'c'].map((name) => handMade(name, 'none-such', `hostPath: { path: ${late} }`)).join('\n'),
    );
    await Promise.all(['no-mount', 'waits', 'stuck-0', 'stuck-1'].map((name) => pods.ready(name)));
    await kubectl(t, 'delete', 'statefulset', 'stuck');
    await Promise.all(['no-mount', 'waits', 'fine'].map((name) => pods.delete(name)));
    await kubectl(t, 'delete', 'pvc', '--all');
    await kubectl(t, 'delete', 'pv', '--all');
  },
);

test.serial(
  'files follow their ConfigMaps and Secrets, whole sets at a time; a subPath and the environment do not',
  async (t) => {
    await kubectl(
      t,
      'create',
      'configmap',
      'live',
      ...['a=1', 'b=1', '1st.key=odd'].map((each) => `--from-literal=${each}`),
    );
    await kubectl(t, 'create', 'secret', 'generic', 'live', '--from-literal=s=1');
    const mount = (name: string, subPath?: string) => ({ name, mountPath: `/${name}${subPath ?? ''}`, subPath });
    // Whoever opens the set once and reads both files from it never sees a mixture.
    const watch =
      'while :; do cd -P /map/..data; a=$(cat a); b=$(cat b); [ -z "$a" ] || [ -z "$b" ] || [ "$a" = "$b" ] || echo torn; done';
    await pods.create('reads', {
      containers: [
        shell('c', 'exec sleep infinity', {
          envFrom: [{ configMapRef: { name: 'live' } }],
          volumeMounts: [mount('map'), mount('all'), mount('later'), mount('map', 'a')],
        }),
        { name: 'environment', image: 'host', command: ['env'], envFrom: [{ configMapRef: { name: 'live' } }] },
        shell('watcher', `${watch} 2>/dev/null`, { volumeMounts: [mount('map')] }),
      ],
      volumes: [
        { name: 'map', configMap: { name: 'live' } },
        { name: 'later', configMap: { name: 'later', optional: true } },
        {
          name: 'all',
          projected: {
            sources: [
              { secret: { name: 'live' } },
              { configMap: { name: 'live', items: [{ key: 'a', path: 'x/a' }] } },
            ],
          },
        },
      ],
    });
    // One of its containers ends again and again: the pod as a whole is hardly ever ready.
    await pods.until('reads', (pod) =>
      ['c', 'watcher'].every((name) => pod.status?.containerStatuses?.some((each) => each.name === name && each.ready)),
    );
    const read = (command: string) => kubectl(t, 'exec', 'reads', '-c', 'c', '--', 'sh', '-c', command);
    t.is(await read('cat /map/a /all/s /all/x/a /mapa; ls /later'), '1111');
    for (let round = 2; round < 6; round++) {
      await kubectl(t, 'patch', 'configmap', 'live', '-p', `{"data":{"a":"${round}","b":"${round}"}}`);
      await eventually(async () => ((await read('cat /map/b')) === String(round) ? true : undefined));
    }
    await kubectl(t, 'patch', 'secret', 'live', '-p', '{"stringData":{"s":"new"}}');
    await kubectl(t, 'create', 'configmap', 'later', '--from-literal=here=yes');
    await eventually(async () => ((await read('cat /all/s')) === 'new' ? true : undefined));
    await eventually(async () => ((await read('cat /later/here 2>/dev/null || true')) === 'yes' ? true : undefined));
    t.is(await read('cat /all/x/a /mapa; printf $a'), '511', 'subPath and environment stay as they were at the start');
    t.is(await pods.logs('reads', '-c', 'watcher'), '');
    await kubectl(t, 'patch', 'configmap', 'live', '-p', '{"immutable":true}');
    const refused = await pods.kubectl(['patch', 'configmap', 'live', '-p', '{"data":{"a":"9"}}']);
    t.not(refused.code, 0);
    t.regex(refused.stderr, /immutable/);
    await pods.delete('reads');
  },
);

test.serial(
  'volumes that live as long as their pod: ephemeral claims, emptyDirs with a limit, parts by name',
  async (t) => {
    const spec = { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1Mi' } } };
    await pods.create('scratch', {
      containers: [
        shell('c', 'echo x > /v/file; exec sleep infinity', {
          env: [{ name: 'NAME', valueFrom: { fieldRef: { fieldPath: 'metadata.name' } } }],
          volumeMounts: [
            { name: 'v', mountPath: '/v', subPathExpr: 'of-$(NAME)' },
            { name: 'v', mountPath: '/whole', readOnly: true },
          ],
        }),
      ],
      volumes: [{ name: 'v', ephemeral: { volumeClaimTemplate: { spec } } }],
    });
    await pods.create('greedy', {
      containers: [
        shell('c', 'dd if=/dev/zero of=/v/file bs=1k count=2000; exec sleep infinity', {
          volumeMounts: [{ name: 'v', mountPath: '/v' }],
        }),
      ],
      volumes: [{ name: 'v', emptyDir: { sizeLimit: '1Mi' } }],
    });
    await pods.ready('scratch');
    t.is(await exec('scratch', 'cat /whole/of-scratch/file'), 'x\n');
    t.is(await field(t, 'pvc', 'scratch-v', '.metadata.ownerReferences[0].name'), 'scratch');
    await pods.delete('scratch');
    await until(t, 'pvc', 'scratch-v', '.metadata.name', '');
    const evicted = await pods.phase('greedy', 'Failed');
    t.is(evicted.status?.reason, 'Evicted');
    t.is(evicted.status?.message, 'Usage of EmptyDir volume "v" exceeds the limit "1Mi". ');
    await pods.delete('greedy');
    await eventually(async () => ((await kubectl(t, 'get', 'pv', '-o', 'name')) === '' ? true : undefined));
  },
);
