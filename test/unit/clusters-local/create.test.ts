import test from 'ava';
import type { KubernetesObject } from '../../../kernel/contract/index.ts';
import { resources } from '../../../kernel/machinery/resources.ts';
import { certificateRequest } from '../certificate-request.ts';
import { configMap, ns, open, pod, refusal, types } from './harness.ts';

test('the server gives identity; what is its own is not taken from the client', async (t) => {
  const { cluster } = await open(t);
  const forged = {
    uid: 'mine',
    creationTimestamp: '1999-01-01T00:00:00Z',
    deletionTimestamp: '1999-01-01T00:00:00Z',
    generation: 77,
    selfLink: '/x',
    managedFields: [{ manager: 'x' }],
  };
  const { metadata } = await cluster.create(types.pods, pod('a', {}, forged as never));
  t.regex(metadata.uid, /^[0-9a-f-]{36}$/);
  t.regex(metadata.creationTimestamp, /^20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
  t.not(metadata.creationTimestamp, forged.creationTimestamp);
  t.is(metadata.generation, 1);
  for (const key of ['deletionTimestamp', 'selfLink', 'managedFields']) t.false(key in metadata, key);
});

test('generateName', async (t) => {
  const { cluster } = await open(t);
  const names = new Set<string>();
  for (let index = 0; index < 50; index++) {
    const { metadata } = await cluster.create(types.configMaps, { metadata: { generateName: 'web-', namespace: ns } });
    t.regex(metadata.name, /^web-[bcdfghjklmnpqrstvwxz2456789]{5}$/);
    t.is(metadata.generateName, 'web-');
    names.add(metadata.name);
  }
  t.is(names.size, 50);
  const long = await cluster.create(types.configMaps, { metadata: { generateName: 'a'.repeat(80), namespace: ns } });
  t.is(long.metadata.name.length, 63);
});

test('the namespace must exist and stay', async (t) => {
  const { cluster } = await open(t);
  const missing = await refusal(
    t,
    cluster.create(types.configMaps, configMap('a', { metadata: { namespace: 'no' } as never })),
    'NOT_FOUND',
  );
  t.is(missing.message, 'namespaces "no" not found');
  await cluster.create(types.namespaces, { metadata: { name: 'going' }, spec: {} });
  await cluster.delete(types.namespaces, { name: 'going' });
  const going = await refusal(
    t,
    cluster.create(types.configMaps, configMap('a', { metadata: { namespace: 'going' } as never })),
    'FORBIDDEN',
  );
  t.is(
    going.message,
    'configmaps "a" is forbidden: unable to create new content in namespace going because it is being terminated',
  );
  t.is(going.details.causes?.[0]?.reason, 'NamespaceTerminating');
});

test('a name is taken once', async (t) => {
  const { cluster } = await open(t);
  await cluster.create(types.configMaps, configMap('a'));
  const error = await refusal(t, cluster.create(types.configMaps, configMap('a')), 'ALREADY_EXISTS');
  t.is(error.message, 'configmaps "a" already exists');
  const results = await Promise.allSettled(
    Array.from({ length: 20 }, () => cluster.create(types.configMaps, configMap('race'))),
  );
  t.is(results.filter(({ status }) => status === 'fulfilled').length, 1);
});

test('names, labels and annotations', async (t) => {
  const { cluster } = await open(t);
  const cases: [string, object, string][] = [
    ['', {}, 'metadata.name'],
    ['Upper', {}, 'metadata.name'],
    ['a/b', {}, 'metadata.name'],
    ['..', {}, 'metadata.name'],
    ['a'.repeat(254), {}, 'metadata.name'],
    ['ok', { labels: { 'a b': 'x' } }, 'metadata.labels'],
    ['ok', { labels: { a: 'x y' } }, 'metadata.labels'],
    ['ok', { labels: { a: 'x'.repeat(64) } }, 'metadata.labels'],
    ['ok', { labels: { [`${'a'.repeat(254)}/b`]: 'x' } }, 'metadata.labels'],
    ['ok', { annotations: { a: 'x'.repeat(256 * 1024) } }, 'metadata.annotations'],
    ['ok', { annotations: { '/': 'x' } }, 'metadata.annotations'],
    ['ok', { finalizers: ['x'] }, 'metadata.finalizers[0]'],
    [
      'ok',
      { ownerReferences: [{ apiVersion: 'v1', kind: 'Pod', name: 'x', uid: '' }] },
      'metadata.ownerReferences[0].uid',
    ],
  ];
  for (const [name, metadata, field] of cases) {
    const error = await refusal(
      t,
      cluster.create(types.configMaps, configMap(name, { metadata: metadata as never })),
      'INVALID',
    );
    t.true(
      error.details.causes?.some((cause) => cause.field === field),
      `${field}: ${error.message}`,
    );
  }
  for (const namespace of ['../kube-system', 'a/b', 'UP']) {
    await refusal(
      t,
      cluster.create(types.configMaps, configMap('x', { metadata: { namespace } as never })),
      'NOT_FOUND',
    );
  }
  await refusal(
    t,
    cluster.create(types.services, { metadata: { name: '1a', namespace: ns }, spec: { ports: [{ port: 1 }] } }),
    'INVALID',
  );
  t.is((await cluster.create(types.clusterRoles, { metadata: { name: 'system:x:Y' } })).metadata.name, 'system:x:Y');
  for (const name of ['a/b', 'a%b', '.', '..']) {
    await refusal(t, cluster.create(types.clusterRoles, { metadata: { name } }), 'INVALID');
  }
  await refusal(
    t,
    cluster.create(types.nodes, { metadata: { name: 'n', namespace: ns } as never, spec: {} }),
    'INVALID',
  );
});

test('fieldValidation: Ignore, Warn, Strict', async (t) => {
  const { cluster } = await open(t);
  const odd = (name: string) => ({ ...pod(name), spec: { ...pod(name).spec, foo: 1 } }) as never;
  const plain = await cluster.create(types.pods, odd('a'));
  t.false('foo' in plain.spec);
  const warnings: string[] = [];
  await cluster.create(types.pods, odd('b'), { fieldValidation: 'Warn', warn: (message) => warnings.push(message) });
  t.deepEqual(warnings, ['unknown field "spec.foo"']);
  const error = await refusal(t, cluster.create(types.pods, odd('c'), { fieldValidation: 'Strict' }), 'BAD_REQUEST');
  t.regex(error.message, /strict decoding error: unknown field "spec\.foo"/);
  await refusal(t, cluster.get(types.pods, { namespace: ns, name: 'c' }), 'NOT_FOUND');
});

test('a kind that nothing acts on is created with a warning, a dry run too', async (t) => {
  const { cluster } = await open(t);
  const warnings: string[] = [];
  const options = { warn: (message: string) => warnings.push(message) };
  const policy = { metadata: { name: 'deny', namespace: ns }, spec: { podSelector: {} } };
  await cluster.create(resources.networkPolicies, policy, { ...options, dryRun: true });
  await cluster.create(resources.networkPolicies, policy, options);
  await cluster.create(types.configMaps, configMap('a'), options);
  t.deepEqual(warnings, Array(2).fill('NetworkPolicy is stored only: no traffic is filtered by it'));
});

test('wrong types and kinds', async (t) => {
  const { cluster } = await open(t);
  const wrong = { metadata: { name: 'x', namespace: ns }, spec: { containers: 'no' } };
  const error = await refusal(t, cluster.create(types.pods, wrong as never), 'BAD_REQUEST');
  t.regex(error.message, /spec\.containers/);
  await refusal(t, cluster.create(types.pods, { ...pod('x'), kind: 'Service' }), 'BAD_REQUEST');
  await refusal(t, cluster.create(types.pods, { ...pod('x'), apiVersion: 'v2' }), 'BAD_REQUEST');
  for (const body of [null, 'x', 7, []]) await refusal(t, cluster.create(types.pods, body as never), 'BAD_REQUEST');
  const versioned = { ...pod('x'), metadata: { name: 'x', namespace: ns, resourceVersion: '7' } };
  t.is(
    (await refusal(t, cluster.create(types.pods, versioned), 'BAD_REQUEST')).message,
    'resourceVersion should not be set on objects to be created',
  );
});

test('dry run: the whole answer, and nothing is kept', async (t) => {
  const { cluster } = await open(t);
  const before = cluster.server!.revision;
  const made = await cluster.create(types.pods, pod('a'), { dryRun: true });
  t.truthy(made.metadata.uid);
  t.is(made.spec.restartPolicy, 'Always');
  await refusal(t, cluster.create(types.pods, pod('b', { containers: [] }), { dryRun: true }), 'INVALID');
  t.is(cluster.server!.revision, before);
  await cluster.create(types.pods, pod('a'));
  await refusal(t, cluster.create(types.pods, pod('a'), { dryRun: true }), 'ALREADY_EXISTS');
});

test('every stored kind can be created as empty as its schema allows, read, and deleted', async (t) => {
  const { cluster } = await open(t);
  const bodies: Record<string, object> = {
    pods: pod('x'),
    services: { spec: { ports: [{ port: 80 }] } },
    endpointslices: { addressType: 'IPv4' },
    events: {
      involvedObject: { namespace: ns },
      regarding: { namespace: ns },
      eventTime: '2030-01-01T00:00:00.000000Z',
    },
    storageclasses: { provisioner: 'x' },
    priorityclasses: { value: 1 },
    ingresses: { spec: { defaultBackend: { service: { name: 'a', port: { number: 1 } } } } },
  };
  const claim = { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1Gi' } } };
  const once = { template: { spec: { ...pod('x').spec, restartPolicy: 'Never' } } };
  const roleRef = { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'x' };
  const attacher = { attacher: 'a', nodeName: 'n', source: { persistentVolumeName: 'p' } };
  const names = { plural: 'x', singular: 'x', kind: 'X', listKind: 'XList' };
  Object.assign(bodies, {
    persistentvolumes: { spec: { ...claim, capacity: { storage: '1Gi' }, hostPath: { path: '/x' } } },
    persistentvolumeclaims: { spec: claim },
    controllerrevisions: { revision: 1 },
    jobs: { spec: once },
    cronjobs: { spec: { schedule: '* * * * *', jobTemplate: { spec: once } } },
    horizontalpodautoscalers: { spec: { maxReplicas: 1, scaleTargetRef: { kind: 'Deployment', name: 'x' } } },
    clusterrolebindings: { roleRef },
    rolebindings: { roleRef },
    csidrivers: { spec: {} },
    csinodes: { spec: { drivers: [] } },
    csistoragecapacities: { storageClassName: 'x' },
    volumeattachments: { spec: attacher },
    volumeattributesclasses: { driverName: 'x' },
    certificatesigningrequests: {
      spec: { request: await certificateRequest('CN=x'), signerName: 'example.com/x', usages: ['client auth'] },
    },
    runtimeclasses: { handler: 'x' },
    customresourcedefinitions: {
      spec: { group: 'x', names, scope: 'Cluster', versions: [{ name: 'v1', served: true, storage: true }] },
    },
    deviceclasses: { spec: {} },
    resourceclaims: { spec: {} },
    resourceclaimtemplates: { spec: { spec: {} } },
    resourceslices: { spec: { driver: 'x', pool: { name: 'x', generation: 1, resourceSliceCount: 1 } } },
  });
  const template = { metadata: { labels: { a: 'b' } }, spec: pod('x').spec };
  const selector = { matchLabels: { a: 'b' } };
  for (const name of ['deployments', 'replicasets', 'statefulsets', 'daemonsets'])
    bodies[name] = { spec: { selector, template } };
  bodies['replicationcontrollers'] = { spec: { selector: { a: 'b' }, template } };
  const refused: string[] = [];
  for (const type of cluster.server!.resources()) {
    if (!type.verbs.includes('get') || !type.verbs.includes('create')) continue;
    const key = type.namespaced ? { namespace: ns, name: 'x' } : { name: 'x' };
    const body = { ...bodies[type.resource], metadata: key } as unknown as KubernetesObject;
    try {
      await cluster.create(type, body);
    } catch (error) {
      refused.push(`${type.resource}: ${String(error)}`);
      continue;
    }
    const got = await cluster.get(type, key);
    t.is(got.kind, type.kind);
    t.is(got.apiVersion, type.group ? `${type.group}/${type.version}` : type.version);
    // Those have finalizers, which controllers take away.
    if (!['namespaces', 'persistentvolumes', 'persistentvolumeclaims'].includes(type.resource))
      t.true((await cluster.delete(type, key, { propagationPolicy: 'Background' })).gone, type.resource);
  }
  t.deepEqual(refused, []);
});
