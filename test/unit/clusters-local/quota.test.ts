import test from 'ava';
import type { NewObject } from '../../../kernel/contract/index.ts';
import type { Pod, PodSpec, ResourceQuota } from '../../../kernel/contract/kubernetes.ts';
import { isPintleError } from '../../../kernel/contract/index.ts';
import { quotaText, usageOf } from '../../../kernel/machinery/quota/usage.ts';
import { ns, open, pod, refusal, types } from './harness.ts';

const quota = (name: string, hard: Record<string, string>, spec: Partial<ResourceQuota['spec']> = {}) => ({
  metadata: { name, namespace: ns },
  spec: { hard, ...spec },
});
const asking = (name: string, requests: Record<string, string>, limits: Record<string, string> = {}): NewObject<Pod> =>
  pod(name, { containers: [{ name: 'main', image: 'host', resources: { requests, limits } }] });

test('a quota is exceeded in kube-apiserver’s words, and what goes gives back', async (t) => {
  const { cluster } = await open(t);
  await cluster.create(types.resourceQuotas, quota('q', { 'requests.cpu': '1', memory: '1Gi', pods: '3' }));
  await cluster.create(types.pods, asking('a', { cpu: '600m', memory: '256Mi' }));
  const error = await refusal(t, cluster.create(types.pods, asking('b', { cpu: '500m', memory: '1Gi' })), 'FORBIDDEN');
  t.is(
    error.message,
    'pods "b" is forbidden: exceeded quota: q, requested: memory=1Gi,requests.cpu=500m, used: memory=256Mi,requests.cpu=600m, limited: memory=1Gi,requests.cpu=1',
  );
  const missing = await refusal(t, cluster.create(types.pods, pod('c')), 'FORBIDDEN');
  t.is(
    missing.message,
    'pods "c" is forbidden: failed quota: q: must specify memory for: main; requests.cpu for: main',
  );
  await cluster.delete(types.pods, { namespace: ns, name: 'a' });
  await cluster.create(types.pods, asking('b', { cpu: '1', memory: '1Gi' }));
  const running = await cluster.get(types.pods, { namespace: ns, name: 'b' });
  await cluster.update(types.pods, { ...running, status: { phase: 'Succeeded' } }, { subresource: 'status' });
  await cluster.create(types.pods, asking('d', { cpu: '1', memory: '1Gi' }));
  t.pass();
});

test('many at once never get more than there is', async (t) => {
  const { cluster } = await open(t);
  await cluster.create(types.resourceQuotas, quota('q', { pods: '7', 'count/configmaps': '5', services: '2' }));
  const outcomes = async (make: (index: number) => Promise<unknown>) => {
    const results = await Promise.allSettled(Array.from({ length: 40 }, (_, index) => make(index)));
    for (const each of results)
      if (each.status === 'rejected' && !isPintleError(each.reason, 'FORBIDDEN')) throw each.reason;
    return results.filter(({ status }) => status === 'fulfilled').length;
  };
  t.is(await outcomes((i) => cluster.create(types.pods, pod(`p${i}`))), 7);
  t.is(await outcomes((i) => cluster.create(types.configMaps, { metadata: { namespace: ns, name: `c${i}` } })), 5);
  const service = (i: number) => ({ metadata: { namespace: ns, name: `s${i}` }, spec: { ports: [{ port: 80 }] } });
  // Service kubernetes is there already.
  t.is(await outcomes((i) => cluster.create(types.services, service(i))), 1);
  t.is((await cluster.list(types.pods, { namespace: ns })).items.length, 7);
});

test('a failed call and a dry run keep nothing', async (t) => {
  const { cluster } = await open(t);
  await cluster.create(types.resourceQuotas, quota('q', { pods: '1' }));
  await cluster.create(types.pods, pod('a'), { dryRun: true });
  await refusal(t, cluster.create(types.pods, pod('a', { containers: [] })), 'INVALID');
  await cluster.create(types.pods, pod('a'));
  await refusal(t, cluster.create(types.pods, pod('a')), 'FORBIDDEN');
  await cluster.create(types.namespaces, { metadata: { name: 'other' }, spec: {} });
  await cluster.create(types.pods, { ...pod('a'), metadata: { name: 'a', namespace: 'other' } });
});

test('an update that uses more is charged for the difference', async (t) => {
  const { cluster } = await open(t);
  await cluster.create(types.resourceQuotas, quota('q', { 'services.nodeports': '2' }));
  const ports = [{ port: 80 }, { name: 'b', port: 81 }].map((each, i) => ({ ...each, name: `p${i}` }));
  const made = await cluster.create(types.services, { metadata: { namespace: ns, name: 's' }, spec: { ports } });
  const asNodePort = await cluster.update(types.services, { ...made, spec: { ...made.spec, type: 'NodePort' } });
  const more = {
    ...asNodePort,
    spec: { ...asNodePort.spec, ports: [...asNodePort.spec.ports!, { name: 'c', port: 82 }] },
  };
  await refusal(t, cluster.update(types.services, more), 'FORBIDDEN');
  await cluster.update(types.services, { ...asNodePort, metadata: { ...asNodePort.metadata, labels: { a: 'b' } } });
});

for (const [scope, spec, inside, outside] of [
  ['Terminating', {}, { activeDeadlineSeconds: 5 }, {}],
  ['NotTerminating', {}, {}, { activeDeadlineSeconds: 5 }],
  ['BestEffort', {}, {}, { containers: asking('x', { cpu: '1' }).spec.containers }],
  ['NotBestEffort', {}, { containers: asking('x', { cpu: '1' }).spec.containers }, {}],
] as const)
  test(`scope ${scope}`, async (t) => {
    const { cluster } = await open(t);
    await cluster.create(types.resourceQuotas, quota('q', { pods: '0' }, { scopes: [scope], ...spec }));
    await refusal(t, cluster.create(types.pods, pod('in', inside as Partial<PodSpec>)), 'FORBIDDEN');
    await cluster.create(types.pods, pod('out', outside as Partial<PodSpec>));
    t.pass();
  });

test('scope by priority class', async (t) => {
  const { cluster } = await open(t);
  await cluster.create(types.priorityClasses, { metadata: { name: 'high' }, value: 10 });
  const matchExpressions = [{ scopeName: 'PriorityClass', operator: 'In', values: ['high'] }];
  await cluster.create(types.resourceQuotas, quota('q', { pods: '0' }, { scopeSelector: { matchExpressions } }));
  await refusal(t, cluster.create(types.pods, pod('in', { priorityClassName: 'high' })), 'FORBIDDEN');
  await cluster.create(types.pods, pod('out'));
});

test('what claims use, by class as well, and how amounts are written', (t) => {
  const claim = {
    apiVersion: 'v1',
    kind: 'PersistentVolumeClaim',
    metadata: { name: 'c', namespace: ns },
    spec: { storageClassName: 'fast', resources: { requests: { storage: '2Gi' } } },
  };
  t.deepEqual(usageOf('persistentvolumeclaims', claim as never), {
    'count/persistentvolumeclaims': 1,
    persistentvolumeclaims: 1,
    'requests.storage': 2 ** 31,
    'fast.storageclass.storage.k8s.io/persistentvolumeclaims': 1,
    'fast.storageclass.storage.k8s.io/requests.storage': 2 ** 31,
  });
  t.is(quotaText('requests.storage', 2 ** 31), '2Gi');
  t.is(quotaText('limits.cpu', 1500), '1500m');
  t.is(quotaText('cpu', 2000), '2');
  t.is(quotaText('pods', 12), '12');
});

const range = (limits: object[]) => ({ metadata: { name: 'l', namespace: ns }, spec: { limits: limits as never } });

test('a limit range gives what containers leave out, and refuses what is out of bounds', async (t) => {
  const { cluster } = await open(t);
  await cluster.create(
    types.limitRanges,
    range([
      { type: 'Container', max: { cpu: '1' }, min: { cpu: '100m' }, defaultRequest: { cpu: '200m', memory: '64Mi' } },
    ]),
  );
  const made = await cluster.create(types.pods, pod('a'));
  t.deepEqual(made.spec.containers[0]!.resources, { requests: { cpu: '200m', memory: '64Mi' }, limits: { cpu: '1' } });
  t.is(made.status?.qosClass, 'Burstable');
  t.is(
    made.metadata.annotations?.['kubernetes.io/limit-ranger'],
    'LimitRanger plugin set: cpu, memory request for container main; cpu limit for container main',
  );
  const limited = await cluster.create(types.pods, asking('b', {}, { cpu: '500m' }));
  t.is(limited.spec.containers[0]!.resources!.requests!['cpu'], '500m', 'its own limit goes before the default');
  const large = await refusal(t, cluster.create(types.pods, asking('c', {}, { cpu: '2' })), 'FORBIDDEN');
  t.is(large.message, 'pods "c" is forbidden: maximum cpu usage per Container is 1, but limit is 2');
  const small = await refusal(t, cluster.create(types.pods, asking('d', { cpu: '50m' })), 'FORBIDDEN');
  t.is(small.message, 'pods "d" is forbidden: minimum cpu usage per Container is 100m, but request is 50m');
});

test('limit ranges of pods, claims and ratios', async (t) => {
  const { cluster } = await open(t);
  await cluster.create(
    types.limitRanges,
    range([
      { type: 'Pod', max: { memory: '1Gi' } },
      { type: 'Container', maxLimitRequestRatio: { cpu: '2' } },
      { type: 'PersistentVolumeClaim', min: { storage: '1Gi' }, max: { storage: '2Gi' } },
    ]),
  );
  const error = await refusal(
    t,
    cluster.create(types.pods, asking('a', { cpu: '100m' }, { cpu: '300m', memory: '2Gi' })),
    'FORBIDDEN',
  );
  t.is(
    error.message,
    'pods "a" is forbidden: [cpu max limit to request ratio per Container is 2, but provided ratio is 3.000000, maximum memory usage per Pod is 1Gi, but limit is 2Gi]',
  );
  const claim = (storage: string) =>
    cluster.create(types.persistentVolumeClaims, {
      metadata: { namespace: ns, name: `c-${storage.toLowerCase()}` },
      spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage } } },
    });
  await claim('1Gi');
  await refusal(t, claim('512Mi'), 'FORBIDDEN');
  t.is(
    (await refusal(t, claim('3Gi'), 'FORBIDDEN')).message,
    'persistentvolumeclaims "c-3gi" is forbidden: maximum storage usage per PersistentVolumeClaim is 2Gi, but request is 3Gi',
  );
  await refusal(
    t,
    cluster.create(types.limitRanges, {
      ...range([{ type: 'Container', min: { cpu: '2' }, max: { cpu: '1' } }]),
      metadata: { name: 'x', namespace: ns },
    }),
    'INVALID',
  );
});
