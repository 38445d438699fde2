import test from 'ava';
import type { ConfigMap, Container, Pod, Secret, SecurityContext } from '../../../kernel/contract/kubernetes.ts';
import { isPintleError } from '../../../kernel/contract/index.ts';
import {
  containerSpec,
  environmentOf,
  expandVariables,
  resourceField,
  type SpecSources,
} from '../../../plugins/components/node-agent/container-spec.ts';
import { dnsConfig, etcHosts } from '../../../plugins/components/node-agent/pod-files.ts';
import { serviceVariables } from '../../../plugins/components/node-agent/node-agent.ts';
import type { Service } from '../../../kernel/contract/kubernetes.ts';

const pod: Pod = {
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: {
    name: 'p',
    namespace: 'd',
    uid: 'u',
    resourceVersion: '1',
    creationTimestamp: '',
    labels: { b: '2', a: 'x"y' },
    annotations: { note: 'n' },
  },
  spec: { nodeName: 'n1', containers: [] },
};
const sources: SpecSources = {
  configMap: async (_namespace, name) =>
    name === 'cm' ? ({ data: { k: 'v', other: 'o' } } as unknown as ConfigMap) : undefined,
  secret: async (_namespace, name) =>
    name === 's' ? ({ data: { pw: Buffer.from('geheim').toString('base64') } } as unknown as Secret) : undefined,
  serviceAccountToken: async () => 'a token',
  serviceVariables: () => new Map([['KUBERNETES_SERVICE_HOST', '10.96.0.1']]),
  podIps: ['10.244.0.5', 'fd00::5'],
  hostIps: ['192.0.2.1'],
  nodeAllocatable: { cpu: '4', memory: '8Gi' },
};
const settings = { id: 'i', sandboxId: 's', attempt: 0, logPath: '/l', maxLogBytes: 1, maxLogFiles: 1, mounts: [] };
const container = (more: Partial<Container>): Container => ({ name: 'c', image: 'host', ...more });
const values = async (more: Partial<Container>) =>
  Object.fromEntries(await environmentOf(pod, container(more), sources));

const known = new Map([
  ['A', '1'],
  ['B', '$(A)'],
]);
for (const [text, expected] of [
  ['$(A)', '1'],
  ['x$(A)y$(B)', 'x1y$(A)'],
  ['$$(A)', '$(A)'],
  ['$(C)', '$(C)'],
  ['$A $', '$A $'],
  ['$(A', '$(A'],
  ['$$$(A)', '$1'],
] as const) {
  test(`expands ${text}`, (t) => t.is(expandVariables(text, known), expected));
}

test('variables: literals see earlier ones, later win', async (t) => {
  const env = await values({
    env: [
      { name: 'A', value: '1' },
      { name: 'B', value: '$(A)2' },
      { name: 'A', value: '3' },
    ],
  });
  t.like(env, { A: '3', B: '12', KUBERNETES_SERVICE_HOST: '10.96.0.1' });
});

test('variables from config maps, secrets, fields and resources', async (t) => {
  const env = await values({
    resources: { limits: { cpu: '1500m' }, requests: { memory: '64Mi' } },
    envFrom: [{ configMapRef: { name: 'cm' }, prefix: 'P_' }, { secretRef: { name: 'none', optional: true } }],
    env: [
      { name: 'CM', valueFrom: { configMapKeyRef: { name: 'cm', key: 'k' } } },
      { name: 'PW', valueFrom: { secretKeyRef: { name: 's', key: 'pw' } } },
      { name: 'OPT', valueFrom: { configMapKeyRef: { name: 'no', key: 'k', optional: true } } },
      { name: 'IP', valueFrom: { fieldRef: { fieldPath: 'status.podIP' } } },
      { name: 'IPS', valueFrom: { fieldRef: { fieldPath: 'status.podIPs' } } },
      { name: 'LABEL', valueFrom: { fieldRef: { fieldPath: "metadata.labels['a']" } } },
      { name: 'LABELS', valueFrom: { fieldRef: { fieldPath: 'metadata.labels' } } },
      { name: 'CPU', valueFrom: { resourceFieldRef: { resource: 'limits.cpu' } } },
      { name: 'MEM', valueFrom: { resourceFieldRef: { resource: 'requests.memory', divisor: '1Mi' } } },
    ],
  });
  t.like(env, {
    P_k: 'v',
    P_other: 'o',
    CM: 'v',
    PW: 'geheim',
    IP: '10.244.0.5',
    IPS: '10.244.0.5,fd00::5',
    LABEL: 'x"y',
    LABELS: 'a="x\\"y"\nb="2"',
    CPU: '2',
    MEM: '64',
  });
  t.false('OPT' in env);
});

test("a limit that is not set is the node's", (t) => {
  t.is(resourceField(container({}), 'limits.cpu', undefined, sources.nodeAllocatable), '4');
  t.is(resourceField(container({}), 'requests.cpu', undefined, sources.nodeAllocatable), '0');
});

for (const [title, env, message] of [
  [
    'absent config map',
    [{ name: 'X', valueFrom: { configMapKeyRef: { name: 'no', key: 'k' } } }],
    'configmap "no" not found',
  ],
  [
    'absent key',
    [{ name: 'X', valueFrom: { secretKeyRef: { name: 's', key: 'k' } } }],
    "couldn't find key k in secret d/s",
  ],
  ['odd field', [{ name: 'X', valueFrom: { fieldRef: { fieldPath: 'spec.nope' } } }], 'fieldPath "spec.nope"'],
] as const) {
  test(`refused: ${title}`, async (t) => {
    const error = await t.throwsAsync(values({ env: env as unknown as Container['env'] }));
    t.true(isPintleError(error, 'CONTAINER_INVALID'));
    t.true(error!.message.includes(message), error!.message);
  });
}

test("the spec: commands expand, security context falls back to the pod's", async (t) => {
  const withUser = {
    ...pod,
    spec: { ...pod.spec, securityContext: { runAsUser: 7, runAsGroup: 8, fsGroup: 9, supplementalGroups: [10] } },
  };
  const spec = await containerSpec(
    withUser,
    container({
      command: ['sh', '-c', 'echo $(A)'],
      args: ['$$(A)'],
      env: [{ name: 'A', value: '1' }],
      securityContext: {
        runAsUser: 70,
        readOnlyRootFilesystem: true,
        allowPrivilegeEscalation: false,
        capabilities: { drop: ['ALL'] },
      },
      resources: { limits: { memory: '64Mi', cpu: '250m' } },
    }),
    sources,
    settings,
  );
  t.like(spec, {
    command: ['sh', '-c', 'echo 1'],
    args: ['$(A)'],
    user: 70,
    group: 8,
    supplementalGroups: [10, 9],
    readOnlyRoot: true,
    noNewPrivileges: true,
    dropCapabilities: ['ALL'],
  });
  t.deepEqual(spec.limits, { memoryBytes: 64 * 1024 * 1024, cpuMillis: 250, cpuRequestMillis: 250 });
});

test("a seccomp profile is the container's, else the pod's, and stays below its folder", async (t) => {
  const confined: Pod = {
    ...pod,
    spec: { ...pod.spec, securityContext: { seccompProfile: { type: 'Localhost', localhostProfile: 'p/audit.json' } } },
  };
  const seccompOf = async (securityContext: SecurityContext): Promise<unknown> =>
    (await containerSpec(confined, container({ securityContext }), sources, settings)).seccomp;
  t.deepEqual(await seccompOf({}), { file: '/var/lib/kubelet/seccomp/p/audit.json' });
  t.is(await seccompOf({ seccompProfile: { type: 'Unconfined' } }), 'Unconfined');
  t.is((await containerSpec(pod, container({}), sources, settings)).seccomp, undefined);
  for (const localhostProfile of ['/etc/passwd', '../x', 'a/../../x', ''])
    await t.throwsAsync(seccompOf({ seccompProfile: { type: 'Localhost', localhostProfile } }), {
      code: 'CONTAINER_INVALID',
      message: /localhostProfile/,
    });
});

test('runAsNonRoot asks the image when nobody else says who', async (t) => {
  const strict = container({ securityContext: { runAsNonRoot: true } });
  t.is((await containerSpec(pod, strict, sources, { ...settings, imageUser: 1000 })).user, undefined);
  await t.throwsAsync(containerSpec(pod, strict, sources, { ...settings, imageUser: 0 }), {
    code: 'CONTAINER_INVALID',
    message: /image will run as root \(pod: /,
  });
  const root = container({ securityContext: { runAsNonRoot: true, runAsUser: 0 } });
  await t.throwsAsync(containerSpec(pod, root, sources, { ...settings, imageUser: 1000 }), {
    message: /runAsUser breaks non-root policy/,
  });
});

test('runAsNonRoot refuses root', async (t) => {
  await t.throwsAsync(containerSpec(pod, container({ securityContext: { runAsNonRoot: true } }), sources, settings), {
    message: /runAsNonRoot/,
  });
  await t.notThrowsAsync(
    containerSpec(pod, container({ securityContext: { runAsNonRoot: true, runAsUser: 5 } }), sources, settings),
  );
});

test('/etc/hosts and /etc/resolv.conf', (t) => {
  const hosts = etcHosts(
    {
      ...pod,
      spec: {
        ...pod.spec,
        hostname: 'h',
        subdomain: 'sub',
        hostAliases: [{ ip: '192.0.2.9', hostnames: ['a.test', 'b.test'] }],
      },
    },
    ['10.244.0.5'],
    'cluster.local',
  );
  t.regex(hosts, /10\.244\.0\.5\th\.sub\.d\.svc\.cluster\.local\th\n/);
  t.regex(hosts, /192\.0\.2\.9\ta\.test\tb\.test\n/);
  const dns = { clusterDomain: 'cluster.local', servers: ['10.96.0.10'] };
  t.is(
    dnsConfig(pod, dns, '/nonexistent'),
    'search d.svc.cluster.local svc.cluster.local cluster.local\nnameserver 10.96.0.10\noptions ndots:5\n',
  );
  const custom = {
    ...pod,
    spec: {
      ...pod.spec,
      dnsPolicy: 'None',
      dnsConfig: { nameservers: ['1.1.1.1'], searches: ['x'], options: [{ name: 'ndots', value: '2' }] },
    },
  } as Pod;
  t.is(dnsConfig(custom, dns, '/nonexistent'), 'search x\nnameserver 1.1.1.1\noptions ndots:2\n');
  const host = { ...pod, spec: { ...pod.spec, hostNetwork: true } };
  t.is(dnsConfig(host, dns, '/nonexistent'), '\n');
});

test('Service variables', (t) => {
  const service = (namespace: string, name: string, clusterIP: string) =>
    ({
      metadata: { namespace, name },
      spec: { clusterIP, ports: [{ name: 'web-ui', port: 80 }] },
    }) as unknown as Service;
  const services = [
    service('default', 'kubernetes', '10.96.0.1'),
    service('d', 'my-db', '10.96.0.2'),
    service('d', 'headless', 'None'),
    service('x', 'far', '10.96.0.3'),
  ];
  t.deepEqual(Object.fromEntries(serviceVariables(pod, services)), {
    KUBERNETES_SERVICE_HOST: '10.96.0.1',
    KUBERNETES_SERVICE_PORT: '80',
    KUBERNETES_SERVICE_PORT_WEB_UI: '80',
    MY_DB_SERVICE_HOST: '10.96.0.2',
    MY_DB_SERVICE_PORT: '80',
    MY_DB_SERVICE_PORT_WEB_UI: '80',
  });
  t.is(serviceVariables({ ...pod, spec: { ...pod.spec, enableServiceLinks: false } }, services).size, 3);
});
