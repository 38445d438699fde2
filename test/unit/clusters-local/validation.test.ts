import test from 'ava';
import type { Container, PodSpec } from '../../../kernel/contract/kubernetes.ts';
import type { ResourceType } from '../../../kernel/contract/index.ts';
import { configMap, ns, open, pod, refusal, types } from './harness.ts';

const main: Container = { name: 'main', image: 'host' };
const one = (more: object): Partial<PodSpec> => ({ containers: [{ ...main, ...more }] });

test('pods', async (t) => {
  const { cluster } = await open(t);
  const cases: [Partial<PodSpec>, string, RegExp][] = [
    [{ containers: [] }, 'spec.containers', /Required value/],
    [one({ name: '' }), 'spec.containers[0].name', /Required value/],
    [one({ name: 'Up' }), 'spec.containers[0].name', /RFC 1123 label/],
    [{ containers: [main, main] }, 'spec.containers[1].name', /Duplicate value: "main"/],
    [{ initContainers: [main], containers: [main] }, 'spec.initContainers[0].name', /Duplicate/],
    [one({ image: '' }), 'spec.containers[0].image', /Required value/],
    [one({ ports: [{ containerPort: 70_000 }] }), 'spec.containers[0].ports[0].containerPort', /between 1 and 65535/],
    [
      one({
        ports: [
          { containerPort: 1, name: 'a' },
          { containerPort: 2, name: 'a' },
        ],
      }),
      'spec.containers[0].ports[1].name',
      /Duplicate/,
    ],
    [
      one({ ports: [{ containerPort: 1, name: 'much-too-long-name' }] }),
      'spec.containers[0].ports[0].name',
      /no more than 15/,
    ],
    [
      one({
        ports: [
          { containerPort: 1, hostPort: 5 },
          { containerPort: 2, hostPort: 5 },
        ],
      }),
      'spec.containers[0].ports[1].hostPort',
      /Duplicate/,
    ],
    [
      { hostNetwork: true, ...one({ ports: [{ containerPort: 1, hostPort: 5 }] }) },
      'spec.containers[0].ports[0].hostPort',
      /must match/,
    ],
    [one({ env: [{ name: '' }] }), 'spec.containers[0].env[0].name', /Required value/],
    [
      one({ env: [{ name: 'a', value: 'b', valueFrom: { fieldRef: { fieldPath: 'metadata.name' } } }] }),
      'spec.containers[0].env[0].valueFrom',
      /when `value` is not empty/,
    ],
    [
      one({ volumeMounts: [{ name: 'v', mountPath: '/x' }] }),
      'spec.containers[0].volumeMounts[0].name',
      /Not found: "v"/,
    ],
    [
      {
        volumes: [{ name: 'v', emptyDir: {} }],
        ...one({
          volumeMounts: [
            { name: 'v', mountPath: '/x' },
            { name: 'v', mountPath: '/x' },
          ],
        }),
      },
      'spec.containers[0].volumeMounts[1].mountPath',
      /must be unique/,
    ],
    [
      {
        volumes: [{ name: 'v', emptyDir: {} }],
        ...one({ volumeMounts: [{ name: 'v', mountPath: '/x', subPath: '../y' }] }),
      },
      'spec.containers[0].volumeMounts[0].subPath',
      /must not contain '\.\.'/,
    ],
    [{ volumes: [{ name: 'v' }, { name: 'v' }] }, 'spec.volumes[1].name', /Duplicate/],
    [
      { volumes: [{ name: 'v', emptyDir: {}, hostPath: { path: '/' } }] },
      'spec.volumes[0].hostPath',
      /more than 1 volume type/,
    ],
    [{ volumes: [{ name: 'v', secret: {} }] }, 'spec.volumes[0].secret.secretName', /Required value/],
    [one({ livenessProbe: {} }), 'spec.containers[0].livenessProbe', /must specify a handler type/],
    [
      one({ livenessProbe: { grpc: { port: 0 } } }),
      'spec.containers[0].livenessProbe.grpc.port',
      /between 1 and 65535/,
    ],
    [
      one({ lifecycle: { preStop: { sleep: { seconds: 31 } } } }),
      'spec.containers[0].lifecycle.preStop.sleep',
      /must be non-negative and less than terminationGracePeriodSeconds \(30\)/,
    ],
    [one({ lifecycle: { postStart: {} } }), 'spec.containers[0].lifecycle.postStart', /must specify a handler type/],
    [
      one({ livenessProbe: { httpGet: { port: 1 }, exec: { command: ['a'] } } }),
      'spec.containers[0].livenessProbe.httpGet',
      /more than 1 handler/,
    ],
    [
      one({ livenessProbe: { httpGet: { port: 1 }, successThreshold: 2 } }),
      'spec.containers[0].livenessProbe.successThreshold',
      /must be 1/,
    ],
    [
      one({ readinessProbe: { tcpSocket: { port: 0 } } }),
      'spec.containers[0].readinessProbe.tcpSocket.port',
      /between 1 and/,
    ],
    [
      one({ readinessProbe: { tcpSocket: { port: 1 }, periodSeconds: -1 } }),
      'spec.containers[0].readinessProbe.periodSeconds',
      /greater than or equal to 0/,
    ],
    [
      one({ resources: { requests: { cpu: '2' }, limits: { cpu: '1' } } }),
      'spec.containers[0].resources.requests',
      /less than or equal to cpu limit of 1/,
    ],
    [
      one({ resources: { requests: { memory: '-1' } } }),
      'spec.containers[0].resources.requests[memory]',
      /greater than or equal to 0/,
    ],
    [
      one({ imagePullPolicy: 'Maybe' }),
      'spec.containers[0].imagePullPolicy',
      /supported values: "Always", "IfNotPresent", "Never"/,
    ],
    [{ restartPolicy: 'Maybe' }, 'spec.restartPolicy', /supported values: "Always", "Never", "OnFailure"/],
    [{ dnsPolicy: 'Maybe' }, 'spec.dnsPolicy', /supported values/],
    [{ dnsPolicy: 'None' }, 'spec.dnsConfig.nameservers', /at least one DNS nameserver/],
    [{ terminationGracePeriodSeconds: -1 }, 'spec.terminationGracePeriodSeconds', /greater than or equal to 0/],
    [{ activeDeadlineSeconds: 0 }, 'spec.activeDeadlineSeconds', /between 1/],
    [{ nodeSelector: { 'a b': 'c' } }, 'spec.nodeSelector', /name part/],
    [{ tolerations: [{ operator: 'Equal' }] }, 'spec.tolerations[0].operator', /must be Exists when `key` is empty/],
    [
      { tolerations: [{ key: 'a', operator: 'Exists', tolerationSeconds: 1, effect: 'NoSchedule' }] },
      'spec.tolerations[0].effect',
      /NoExecute/,
    ],
    [{ hostname: 'a.b' }, 'spec.hostname', /RFC 1123 label/],
    [
      { initContainers: [{ name: 'i', image: 'x', livenessProbe: { exec: { command: ['a'] } } }] },
      'spec.initContainers[0].livenessProbe',
      /may not be set for init containers/,
    ],
  ];
  for (const [spec, field, message] of cases) {
    const error = await refusal(t, cluster.create(types.pods, pod('bad', spec)), 'INVALID');
    const cause = error.details.causes?.find((each) => each.field === field);
    t.truthy(cause, `${field} in ${error.message}`);
    if (cause) t.regex(cause.message, message);
  }
});

test('pods are admitted: account, priority, tolerations, quality of service', async (t) => {
  const { cluster } = await open(t);
  const plain = await cluster.create(types.pods, pod('a'));
  t.like(plain.spec, { serviceAccountName: 'default', priority: 0, preemptionPolicy: 'PreemptLowerPriority' });
  t.deepEqual(
    plain.spec.tolerations!.map(({ key, effect, tolerationSeconds }) => [key, effect, tolerationSeconds]),
    [
      ['node.kubernetes.io/not-ready', 'NoExecute', 300],
      ['node.kubernetes.io/unreachable', 'NoExecute', 300],
    ],
  );
  t.like(plain.status, { phase: 'Pending', qosClass: 'BestEffort' });
  const all = await cluster.create(types.pods, pod('b', { tolerations: [{ operator: 'Exists' }] }));
  t.is(all.spec.tolerations!.length, 1);
  await cluster.create(types.priorityClasses, { metadata: { name: 'high' }, value: 1000, preemptionPolicy: 'Never' });
  const high = await cluster.create(types.pods, pod('c', { priorityClassName: 'high' }));
  t.like(high.spec, { priority: 1000, preemptionPolicy: 'Never' });
  const critical = await cluster.create(types.pods, pod('d', { priorityClassName: 'system-node-critical' }));
  t.is(critical.spec.priority, 2_000_001_000);
  const unknown = await refusal(t, cluster.create(types.pods, pod('e', { priorityClassName: 'no' })), 'FORBIDDEN');
  t.is(unknown.message, 'pods "e" is forbidden: no PriorityClass with name no was found');
  await refusal(t, cluster.create(types.pods, pod('e', { priority: 7 })), 'FORBIDDEN');
  await cluster.create(types.priorityClasses, { metadata: { name: 'usual' }, value: 5, globalDefault: true });
  t.like((await cluster.create(types.pods, pod('f'))).spec, { priorityClassName: 'usual', priority: 5 });
  const limits = { cpu: '1', memory: '1Gi' };
  const guaranteed = await cluster.create(types.pods, pod('g', one({ resources: { limits } })));
  t.is(guaranteed.status?.qosClass, 'Guaranteed');
  t.deepEqual(guaranteed.spec.containers[0]!.resources?.requests, limits);
  t.is(
    (await cluster.create(types.pods, pod('h', one({ resources: { requests: { cpu: '1m' } } })))).status?.qosClass,
    'Burstable',
  );
  const gated = await cluster.create(types.pods, pod('i', { schedulingGates: [{ name: 'x/y' }] }));
  t.is(gated.status?.conditions?.[0]?.reason, 'SchedulingGated');
});

test('workloads and the other kinds', async (t) => {
  const { cluster } = await open(t);
  const selector = { matchLabels: { a: 'b' } };
  const template = { metadata: { labels: { a: 'b' } }, spec: pod('x').spec };
  const never = { ...template, spec: { ...template.spec, restartPolicy: 'Never' } };
  const job = { template: never };
  const pdb = (spec: object) => ({ spec });
  const cases: [ResourceType, object, string, RegExp][] = [
    [types.deployments, { spec: { template } }, 'spec.selector', /Required value/],
    [types.deployments, { spec: { selector: {}, template } }, 'spec.selector', /empty selector is invalid/],
    [
      types.deployments,
      { spec: { selector: { matchLabels: { a: 'c' } }, template } },
      'spec.template.metadata.labels',
      /`selector` does not match template `labels`/,
    ],
    [
      types.deployments,
      { spec: { selector, template: never } },
      'spec.template.spec.restartPolicy',
      /Unsupported value: "Never": supported values: "Always"/,
    ],
    [types.deployments, { spec: { selector, template, replicas: -1 } }, 'spec.replicas', /greater than or equal to 0/],
    [
      types.deployments,
      { spec: { selector, template, strategy: { type: 'Recreate', rollingUpdate: { maxSurge: 1 } } } },
      'spec.strategy.rollingUpdate',
      /may not be specified/,
    ],
    [
      types.deployments,
      { spec: { selector, template, strategy: { rollingUpdate: { maxSurge: 0, maxUnavailable: 0 } } } },
      'spec.strategy.rollingUpdate.maxUnavailable',
      /may not be 0/,
    ],
    [
      types.deployments,
      { spec: { selector, template, strategy: { rollingUpdate: { maxSurge: 'x' } } } },
      'spec.strategy.rollingUpdate.maxSurge',
      /percent/,
    ],
    [
      types.deployments,
      { spec: { selector, template, minReadySeconds: 700 } },
      'spec.progressDeadlineSeconds',
      /greater than minReadySeconds/,
    ],
    [
      types.replicaSets,
      { spec: { selector: { matchExpressions: [{ key: 'a', operator: 'In', values: [] }] }, template } },
      'spec.selector.matchExpressions[0].values',
      /must be specified/,
    ],
    [
      types.statefulSets,
      { spec: { selector, template: { metadata: { labels: { a: 'b' } } } } },
      'spec.template.spec.containers',
      /Required/,
    ],
    [
      types.daemonSets,
      { spec: { selector, template, updateStrategy: { type: 'x' } } },
      'spec.updateStrategy.type',
      /supported values: "OnDelete", "RollingUpdate"/,
    ],
    [types.jobs, { spec: { template } }, 'spec.template.spec.restartPolicy', /valid values: "OnFailure", "Never"/],
    [
      types.jobs,
      { spec: { ...job, completionMode: 'Indexed', parallelism: 1 } },
      'spec.completions',
      /when completion mode is Indexed/,
    ],
    [
      types.cronJobs,
      { spec: { schedule: '61 * * * *', jobTemplate: { spec: job } } },
      'spec.schedule',
      /above maximum \(59\)/,
    ],
    [
      types.cronJobs,
      { spec: { schedule: '* * *', jobTemplate: { spec: job } } },
      'spec.schedule',
      /expected exactly 5 fields/,
    ],
    [
      types.cronJobs,
      { spec: { schedule: '@never', jobTemplate: { spec: job } } },
      'spec.schedule',
      /unrecognized descriptor/,
    ],
    [
      types.cronJobs,
      { spec: { schedule: '@daily', timeZone: 'Mars/Base', jobTemplate: { spec: job } } },
      'spec.timeZone',
      /unknown time zone/,
    ],
    [types.configMaps, { data: { 'a b': 'x' } }, 'data[a b]', /valid config key/],
    [types.configMaps, { data: { k: 'x'.repeat(1024 * 1024 + 1) } }, '', /may not be more than 1048576 bytes/],
    [types.configMaps, { data: { k: 'x' }, binaryData: { k: 'eA==' } }, 'data[k]', /duplicate of key/],
    [types.secrets, { type: 'kubernetes.io/tls' }, 'data[tls.crt]', /Required value/],
    [
      types.nodes,
      {
        spec: {
          taints: [
            { key: 'a', effect: 'NoSchedule' },
            { key: 'a', effect: 'NoSchedule' },
          ],
        },
      },
      'spec.taints[1]',
      /Duplicate/,
    ],
    [types.nodes, { spec: { podCIDRs: ['x'] } }, 'spec.podCIDRs[0]', /valid CIDR/],
    [
      types.events,
      { involvedObject: { namespace: 'elsewhere' } },
      'involvedObject.namespace',
      /does not match event\.namespace/,
    ],
    [types.endpoints, { subsets: [{ addresses: [{ ip: 'x' }] }] }, 'subsets[0].addresses[0].ip', /valid IP/],
    [
      types.endpointSlices,
      { addressType: 'IPv6', endpoints: [{ addresses: ['1.2.3.4'] }] },
      'endpoints[0].addresses[0]',
      /valid IPv6/,
    ],
    [types.endpointSlices, { addressType: 'IPvX' }, 'addressType', /supported values/],
    [
      types.persistentVolumeClaims,
      { spec: { accessModes: ['ReadWriteOnce'] } },
      'spec.resources[storage]',
      /Required value/,
    ],
    [
      types.persistentVolumes,
      { spec: { accessModes: ['ReadWriteOnce'], capacity: { storage: '1' } } },
      'spec',
      /must specify a volume type/,
    ],
    [types.ingresses, { spec: {} }, 'spec', /either `defaultBackend` or `rules`/],
    [
      types.networkPolicies,
      { spec: { podSelector: {}, policyTypes: ['x'] } },
      'spec.policyTypes[0]',
      /supported values/,
    ],
    [types.podDisruptionBudgets, pdb({ minAvailable: 1, maxUnavailable: 1 }), 'spec', /cannot be both set/],
    [types.podDisruptionBudgets, pdb({ minAvailable: '101%' }), 'spec.minAvailable', /percentage/],
    [types.roles, { rules: [{ verbs: [] }] }, 'rules[0].verbs', /at least one value/],
    [
      types.roles,
      { rules: [{ verbs: ['get'], nonResourceURLs: ['/x'] }] },
      'rules[0].nonResourceURLs',
      /namespaced rules cannot/,
    ],
    [
      types.roleBindings,
      { roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'Pod', name: 'x' } },
      'roleRef.kind',
      /supported values: "ClusterRole", "Role"/,
    ],
    [types.priorityClasses, { value: 2_000_000_000 }, 'value', /maximum allowed value/],
    [
      types.horizontalPodAutoscalers,
      { spec: { maxReplicas: 1, minReplicas: 2, scaleTargetRef: { kind: 'a', name: 'b' } } },
      'spec.maxReplicas',
      /greater than or equal to `minReplicas`/,
    ],
    [types.leases, { spec: { leaseDurationSeconds: 0 } }, 'spec.leaseDurationSeconds', /greater than 0/],
  ];
  for (const [type, body, field, message] of cases) {
    const metadata = type.namespaced ? { name: 'bad', namespace: ns } : { name: 'bad' };
    const error = await refusal(t, cluster.create(type, { ...body, metadata } as never), 'INVALID');
    const cause = error.details.causes?.find((each) => each.field === field);
    t.truthy(cause, `${type.resource} ${field} in ${error.message}`);
    if (cause) t.regex(cause.message, message);
  }
});

test('several faults are told at once, each field once', async (t) => {
  const { cluster } = await open(t);
  const bad = pod('p', { restartPolicy: 'x', containers: [{ name: 'A', image: '' }] });
  const error = await refusal(t, cluster.create(types.pods, bad), 'INVALID');
  const fields = error.details.causes!.map(({ field }) => field);
  t.deepEqual([...fields].sort(), ['spec.containers[0].image', 'spec.containers[0].name', 'spec.restartPolicy']);
  t.true(error.message.startsWith('Pod "p" is invalid: ['));
});

test('ConfigMaps and Secrets: immutable, stringData', async (t) => {
  const { cluster } = await open(t);
  await cluster.create(types.configMaps, configMap('c', { data: { k: 'v' }, immutable: true }));
  const patch = (body: object) =>
    cluster.patch(types.configMaps, { namespace: ns, name: 'c' }, { kind: 'merge', body });
  t.regex(
    (await refusal(t, patch({ data: { k: 'w' } }), 'INVALID')).message,
    /data: Forbidden: field is immutable when `immutable` is set/,
  );
  await refusal(t, patch({ immutable: false }), 'INVALID');
  t.deepEqual((await patch({ metadata: { labels: { a: 'b' } } })).metadata.labels, { a: 'b' });
  const made = await cluster.create(types.secrets, {
    metadata: { name: 's', namespace: ns },
    data: { a: 'eA==', b: 'eA==' },
    stringData: { b: 'text', c: 'é' },
  });
  t.is(made.type, 'Opaque');
  t.is(made.stringData, undefined);
  t.deepEqual(made.data, { a: 'eA==', b: 'dGV4dA==', c: 'w6k=' });
  const typed = { kind: 'merge', body: { type: 'other' } } as const;
  await refusal(t, cluster.patch(types.secrets, { namespace: ns, name: 's' }, typed), 'INVALID');
});

test('policies of a Job: what they may say, and what goes together', async (t) => {
  const { cluster } = await open(t);
  const make = (name: string, spec: object, restartPolicy = 'Never') =>
    cluster.create(types.jobs, {
      metadata: { name, namespace: ns },
      spec: { template: { spec: { ...pod('x').spec, restartPolicy } }, ...spec } as never,
    });
  const failing = (rule: object, more: object = {}) => ({ podFailurePolicy: { rules: [rule] }, ...more });
  const onExit = (onExitCodes: object, action = 'FailJob') => failing({ action, onExitCodes });
  const indexed = { completionMode: 'Indexed', completions: 3 };
  const wrong: readonly [object, RegExp, string?][] = [
    [onExit({ operator: 'In', values: [0] }), /values\[0\]: .*must not be 0 for the In operator/],
    [onExit({ operator: 'In', values: [2, 1] }), /values: .*must be ordered/],
    [onExit({ operator: 'In', values: [] }), /onExitCodes.values/],
    [onExit({ operator: 'In', values: [1], containerName: 'no' }), /containerName: .*must be one of the container/],
    [onExit({ operator: 'Between', values: [1] }), /operator: Unsupported value/],
    [onExit({ operator: 'In', values: [1] }, 'Shrug'), /action: Unsupported value/],
    [onExit({ operator: 'In', values: [1] }, 'FailIndex'), /requires the backoffLimitPerIndex to be set/],
    [onExit({ operator: 'In', values: [1] }), /only "Never" is supported when podFailurePolicy/, 'OnFailure'],
    [failing({ action: 'Ignore' }), /specifying one of OnExitCodes and OnPodConditions is required/],
    [{ backoffLimitPerIndex: 1 }, /backoffLimitPerIndex: .*requires indexed completion mode/],
    [{ maxFailedIndexes: 1, ...indexed }, /backoffLimitPerIndex: Required value: when maxFailedIndexes is specified/],
    [{ successPolicy: { rules: [{ succeededCount: 1 }] } }, /successPolicy: .*requires indexed completion mode/],
    [{ successPolicy: { rules: [] }, ...indexed }, /at least one rules must be specified/],
    [{ successPolicy: { rules: [{}] }, ...indexed }, /at least one of succeededCount or succeededIndexes/],
    [{ successPolicy: { rules: [{ succeededCount: 4 }] }, ...indexed }, /less than or equal to 3/],
  ];
  for (const [index, [spec, expected, restartPolicy]] of wrong.entries())
    t.regex((await refusal(t, make(`wrong-${index}`, spec, restartPolicy), 'INVALID')).message, expected);
  const rule = { action: 'FailIndex', onExitCodes: { operator: 'NotIn', values: [0, 3] } };
  const condition = { action: 'Ignore', onPodConditions: [{ type: 'DisruptionTarget' }] };
  const right = { podFailurePolicy: { rules: [rule, condition] }, backoffLimitPerIndex: 1, maxFailedIndexes: 2 };
  const made = await make('right', { ...right, ...indexed, successPolicy: { rules: [{ succeededIndexes: '0-1' }] } });
  t.is(made.spec.podReplacementPolicy, 'Failed');
});

test('a Job finds its own pods', async (t) => {
  const { cluster } = await open(t);
  const template = { spec: { ...pod('x').spec, restartPolicy: 'Never' } };
  const { metadata, spec } = await cluster.create(types.jobs, {
    metadata: { name: 'j', namespace: ns },
    spec: { template },
  });
  t.is(spec.selector?.matchLabels?.['batch.kubernetes.io/controller-uid'], metadata.uid);
  t.is(spec.template.metadata?.labels?.['job-name'], 'j');
  const body = { spec: { template: { metadata: { labels: { x: 'y' } } } } };
  const error = await refusal(
    t,
    cluster.patch(types.jobs, { namespace: ns, name: 'j' }, { kind: 'merge', body }),
    'INVALID',
  );
  t.regex(error.message, /spec\.template: Invalid value: .*: field is immutable/s);
});

test('a node keeps the status of its creator; its pod range is given once', async (t) => {
  const { cluster } = await open(t);
  const made = await cluster.create(types.nodes, {
    metadata: { name: 'n' },
    spec: {},
    status: { capacity: { cpu: '4' } },
  });
  t.deepEqual(made.status?.capacity, { cpu: '4' });
  const patch = (podCIDR: string) =>
    cluster.patch(types.nodes, { name: 'n' }, { kind: 'merge', body: { spec: { podCIDR, podCIDRs: [podCIDR] } } });
  t.deepEqual((await patch('10.244.1.0/24')).spec.podCIDRs, ['10.244.1.0/24']);
  await refusal(t, patch('10.244.2.0/24'), 'INVALID');
  const flannel = { kind: 'strategic', body: { metadata: { annotations: { a: 'b' }, labels: { c: 'd' } } } } as const;
  const annotated = await cluster.patch(types.nodes, { name: 'n' }, flannel, { subresource: 'status' });
  t.deepEqual([annotated.metadata.annotations, annotated.metadata.labels], [{ a: 'b' }, { c: 'd' }]);
});

test('rules of placement, resources and roll-outs in upstream’s words', async (t) => {
  const { cluster } = await open(t);
  const said = async (type: ResourceType, object: object): Promise<string> =>
    (await refusal(t, cluster.create(type, object as never, { dryRun: true }), 'INVALID')).message;
  const ofPod = (spec: Partial<PodSpec>) => said(types.pods, pod('a', spec));
  const gates = await ofPod({ schedulingGates: [{ name: 'bad name' }, { name: 'x/a' }, { name: 'x/a' }] });
  t.regex(gates, /spec\.schedulingGates\[0\]: Invalid value: "bad name": /);
  t.regex(gates, /spec\.schedulingGates\[2\]: Duplicate value: "x\/a"/);
  const spread = { maxSkew: 1, topologyKey: 'z', whenUnsatisfiable: 'ScheduleAnyway' };
  const spreads = await ofPod({ topologySpreadConstraints: [{ ...spread, minDomains: 2 }, spread] });
  t.regex(spreads, /\[0\]\.minDomains: .*can only use minDomains if whenUnsatisfiable=DoNotSchedule, not Schedul/);
  t.regex(spreads, /\[1\]\.\{topologyKey, whenUnsatisfiable\}: Duplicate value: "\{z, ScheduleAnyway\}"/);
  const required = { requiredDuringSchedulingIgnoredDuringExecution: [{ topologyKey: '' }] };
  t.regex(await ofPod({ affinity: { podAntiAffinity: required } }), /\[0\]\.topologyKey: Required value: can not be/);
  const securityContext = { allowPrivilegeEscalation: false, privileged: true };
  const container = { name: 'c', image: 'host', securityContext, resources: { limits: { foo: '1', 'x/y': '1' } } };
  const contained = await ofPod({ containers: [container] });
  t.regex(contained, /limits\[foo\]: Invalid value: "foo": must be a standard resource for containers/);
  t.notRegex(contained, /x\/y/);
  t.regex(contained, /securityContext: .*: cannot set `allowPrivilegeEscalation` to false and `privileged` to true/);

  const quota = (spec: object) => said(types.resourceQuotas, { metadata: { namespace: ns, name: 'a' }, spec });
  const hard = await quota({ hard: { pods: '1.5', foo: '1', 'count/x.y': '1', 'requests.x/gpu': '1' } });
  t.regex(hard, /hard\[pods\]: Invalid value: "1500m": must be an integer/);
  t.regex(hard, /hard\[foo\]: Invalid value: "foo": must be a standard resource for quota/);
  t.notRegex(hard, /count|gpu/);
  const scoped = await quota({ hard: { cpu: '1' }, scopes: ['BestEffort', 'NotBestEffort', 'X'] });
  t.regex(scoped, /scopes: .*: conflicting scopes/);
  t.regex(scoped, /unsupported scope applied to resource/);

  const template = { metadata: { labels: { a: 'b' } }, spec: pod('x').spec };
  const workload = (updateStrategy: object, more: object = {}) => ({
    metadata: { namespace: ns, name: 'a' },
    spec: { selector: { matchLabels: { a: 'b' } }, template, updateStrategy, ...more },
  });
  const rolling = (rollingUpdate: object) => ({ type: 'RollingUpdate', rollingUpdate });
  t.regex(
    await said(types.daemonSets, workload(rolling({ maxSurge: 1, maxUnavailable: 1 }))),
    /rollingUpdate\.maxSurge: .*: may not be set when maxUnavailable is non-zero/,
  );
  t.regex(
    await said(types.daemonSets, workload(rolling({ maxSurge: 0, maxUnavailable: '0%' }))),
    /rollingUpdate\.maxUnavailable: Required value: cannot be 0 when maxSurge is 0/,
  );
  const stateful = (strategy: object, more: object) => said(types.statefulSets, workload(strategy, more));
  const policy = { persistentVolumeClaimRetentionPolicy: { whenDeleted: 'X' } };
  const text = await stateful(rolling({ maxUnavailable: 0 }), policy);
  t.regex(text, /RetentionPolicy\.whenDeleted: Unsupported value: "X": supported values: "Delete", "Retain"/);
  t.regex(text, /maxUnavailable: Invalid value: 0: cannot be 0/);
  t.regex(
    await stateful({ type: 'OnDelete', rollingUpdate: { partition: 1 } }, {}),
    /updateStrategy\.rollingUpdate: .*: only allowed for updateStrategy 'RollingUpdate'/,
  );
});
