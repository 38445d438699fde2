import test from 'ava';
import type { PersistentVolumeClaim, PersistentVolumeSpec, StatefulSet } from '../../../kernel/contract/kubernetes.ts';
import type { NewObject } from '../../../kernel/contract/index.ts';
import { resources } from '../../../kernel/machinery/resources.ts';
import { openControlPlane } from '../controllers/control-plane.ts';

const namespace = 'default';
const storage = (size = '1Gi') => ({ requests: { storage: size } });
const claim = (name: string, more: object = {}): NewObject<PersistentVolumeClaim> => ({
  metadata: { namespace, name },
  spec: { accessModes: ['ReadWriteOnce'], resources: storage(), ...more },
});
const volume = (name: string, more: Partial<PersistentVolumeSpec>) => ({
  metadata: { name },
  spec: { accessModes: ['ReadWriteOnce'], capacity: { storage: '1Gi' }, ...more },
});

test('a claim without a class gets the newest default one; with one, even none, it stays as it is', async (t) => {
  const { cluster } = await openControlPlane(t);
  const create = async (name: string, more?: object) =>
    (await cluster.create(resources.persistentVolumeClaims, claim(name, more))).spec.storageClassName;
  t.is(await create('before'), undefined);
  const annotations = { 'storageclass.kubernetes.io/is-default-class': 'true' };
  for (const name of ['b-class', 'a-class'])
    await cluster.create(resources.storageClasses, { metadata: { name, annotations }, provisioner: 'x' });
  await cluster.create(resources.storageClasses, { metadata: { name: 'other' }, provisioner: 'x' });
  const made = await create('default');
  t.true(made === 'a-class' || made === 'b-class', made);
  t.is(await create('named', { storageClassName: 'other' }), 'other');
  t.is(await create('none', { storageClassName: '' }), '');
});

test('what is refused of claims and volumes', async (t) => {
  const { cluster } = await openControlPlane(t);
  const cases: readonly (readonly [() => Promise<unknown>, string])[] = [
    [
      () =>
        cluster.create(
          resources.persistentVolumeClaims,
          claim('a', { accessModes: ['ReadWriteOncePod', 'ReadOnlyMany'] }),
        ),
      'spec.accessModes',
    ],
    [() => cluster.create(resources.persistentVolumeClaims, claim('a', { volumeMode: 'Tape' })), 'spec.volumeMode'],
    [() => cluster.create(resources.persistentVolumes, volume('a', { local: { path: '/x' } })), 'spec.nodeAffinity'],
    [
      () => cluster.create(resources.persistentVolumes, volume('a', { hostPath: { path: '/x/../y' } })),
      'spec.hostPath.path',
    ],
    [() => cluster.create(resources.persistentVolumes, volume('a', { hostPath: { path: '' } })), 'spec.hostPath.path'],
    [
      () =>
        cluster.create(
          resources.persistentVolumes,
          volume('a', { hostPath: { path: '/x' }, capacity: { storage: '0' } }),
        ),
      'spec.capacity[storage]',
    ],
    [
      () =>
        cluster.create(resources.storageClasses, {
          metadata: { name: 'a' },
          provisioner: 'x',
          volumeBindingMode: 'Later',
        }),
      'volumeBindingMode',
    ],
    [
      () =>
        cluster.create(resources.pods, {
          metadata: { namespace, name: 'a' },
          spec: { containers: [{ name: 'c', image: 'x' }], volumes: [{ name: 'v', ephemeral: {} }] },
        }),
      'spec.volumes[0].ephemeral.volumeClaimTemplate',
    ],
  ];
  for (const [create, field] of cases) {
    const error = (await t.throwsAsync(create, { code: 'INVALID' }, field)) as unknown as {
      details: { causes: { field: string }[] };
    };
    t.true(
      error.details.causes.some((cause) => cause.field === field),
      `${field} in ${JSON.stringify(error.details.causes)}`,
    );
  }
});

test('the node affinity of a volume can be given once', async (t) => {
  const { cluster } = await openControlPlane(t);
  await cluster.create(resources.persistentVolumes, volume('a', { hostPath: { path: '/x' } }));
  const patch = (node: string) => {
    const matchExpressions = [{ key: 'kubernetes.io/hostname', operator: 'In', values: [node] }];
    const nodeAffinity = { required: { nodeSelectorTerms: [{ matchExpressions }] } };
    return cluster.patch(
      resources.persistentVolumes,
      { name: 'a' },
      { kind: 'merge', body: { spec: { nodeAffinity } } },
    );
  };
  await patch('one');
  await t.throwsAsync(patch('two'), { code: 'INVALID' });
});

test('containers of a StatefulSet mount the claims that are made for each pod, and no others', async (t) => {
  const { cluster } = await openControlPlane(t);
  const set = (mount: string): NewObject<StatefulSet> => ({
    metadata: { namespace, name: 'db' },
    spec: {
      selector: { matchLabels: { app: 'db' } },
      template: {
        metadata: { labels: { app: 'db' } },
        spec: { containers: [{ name: 'c', image: 'x', volumeMounts: [{ name: mount, mountPath: '/d' }] }] },
      },
      volumeClaimTemplates: [{ ...claim('data'), apiVersion: 'v1', kind: 'PersistentVolumeClaim' } as never],
    },
  });
  await t.throwsAsync(cluster.create(resources.statefulSets, set('other')), { code: 'INVALID' });
  await cluster.create(resources.statefulSets, set('data'));
});

test('immutable ConfigMaps and Secrets refuse other data, and to be mutable again; labels may change', async (t) => {
  const { cluster } = await openControlPlane(t);
  const metadata = { namespace, name: 'x' };
  for (const [type, data] of [
    [resources.configMaps, { a: '1' }],
    [resources.secrets, { a: 'MQ==' }],
  ] as const) {
    await cluster.create(type, { metadata, data, immutable: true } as never);
    const patch = (body: object) =>
      cluster.patch(type as typeof resources.configMaps, metadata, { kind: 'merge', body });
    await t.throwsAsync(patch({ data: { a: 'Mg==' } }), { code: 'INVALID', message: /immutable/ });
    await t.throwsAsync(patch({ data: { b: 'Mg==' } }), { code: 'INVALID' });
    await t.throwsAsync(patch({ immutable: false }), { code: 'INVALID' });
    t.deepEqual((await patch({ metadata: { labels: { of: 'x' } } })).metadata.labels, { of: 'x' });
  }
});
