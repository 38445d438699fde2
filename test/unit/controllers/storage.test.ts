import { existsSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import type { PersistentVolumeSpec } from '../../../kernel/contract/kubernetes.ts';
import { resources } from '../../../kernel/machinery/resources.ts';
import { eventually, podSpec, quiescence } from './control-plane.ts';
import { openStorage } from './storage-bed.ts';

const namespace = 'default';
const on = (...nodes: string[]): PersistentVolumeSpec['nodeAffinity'] => ({
  required: {
    nodeSelectorTerms: [{ matchExpressions: [{ key: 'kubernetes.io/hostname', operator: 'In', values: nodes }] }],
  },
});

test('a claim waits for its first pod, gets a volume on that pod’s node, and keeps its pods there', async (t) => {
  const bed = await openStorage(t);
  for (const name of ['a', 'b']) await bed.node(name);
  const made = await bed.makeClaim('data');
  t.is(made.spec.storageClassName, 'local', 'the default class');
  t.deepEqual(made.metadata.finalizers, ['kubernetes.io/pvc-protection']);
  t.is(await bed.event('data', 'WaitForFirstConsumer'), 'waiting for first consumer to be created before binding');
  t.is((await bed.claim('data'))?.status?.phase, 'Pending');

  await bed.makePod('one', 'data');
  const { nodeName } = (await bed.placed('one')).spec;
  const claim = await bed.claimPhase('data', 'Bound');
  t.is(claim.metadata.annotations?.['volume.kubernetes.io/selected-node'], nodeName);
  t.deepEqual(claim.status?.capacity, { storage: '1Mi' });
  const volume = (await bed.volume(claim.spec.volumeName!))!;
  t.is(volume.metadata.name, `pvc-${claim.metadata.uid}`);
  t.is(volume.spec.persistentVolumeReclaimPolicy, 'Delete');
  t.deepEqual(volume.spec.nodeAffinity, on(nodeName!));
  t.is(volume.status?.phase, 'Bound');
  t.true(volume.spec.local?.path.startsWith(join(bed.folder, nodeName!)));
  t.is(await bed.event('data', 'ProvisioningSucceeded'), `Successfully provisioned volume ${volume.metadata.name}`);
  await bed.event('data', 'ExternalProvisioning');

  for (const name of ['two', 'three', 'four']) {
    await bed.makePod(name, 'data');
    t.is((await bed.placed(name)).spec.nodeName, nodeName);
  }
});

test('what is in use does not go; then it goes with its data', async (t) => {
  const bed = await openStorage(t);
  await bed.node('a');
  await bed.makeClaim('data');
  await bed.makePod('one', 'data');
  await bed.placed('one');
  const { spec } = await bed.claimPhase('data', 'Bound');
  const volume = (await bed.volume(spec.volumeName!))!;
  const path = volume.spec.local!.path;
  writeFileSync(join(path, 'file'), 'x');
  await bed.deleteClaim('data');
  await bed.cluster.delete(resources.persistentVolumes, { name: spec.volumeName! });
  await quiescence(bed.cluster);
  t.truthy((await bed.claim('data'))?.metadata.deletionTimestamp);
  t.is((await bed.volume(spec.volumeName!))?.status?.phase, 'Bound');
  t.true(existsSync(join(path, 'file')));
  await bed.makePod('late', 'data');
  await bed.unschedulable('late', '0/1 nodes are available: persistentvolumeclaim "data" is being deleted.');
  await bed.endPod('one');
  await eventually('the claim is gone', async () => (await bed.claim('data')) === undefined);
  await eventually('the volume is gone', async () => (await bed.volume(spec.volumeName!)) === undefined);
  t.deepEqual(readdirSync(join(bed.folder, 'a')), []);
});

test('Retain keeps volume and data; a volume whose claim was taken off it is free again', async (t) => {
  const bed = await openStorage(t);
  await bed.node('a');
  await bed.makeClass('kept', { reclaimPolicy: 'Retain', volumeBindingMode: 'Immediate' });
  await bed.makeClaim('data', { storageClassName: 'kept' });
  const { spec } = await bed.claimPhase('data', 'Bound');
  const name = spec.volumeName!;
  const path = (await bed.volume(name))!.spec.local!.path;
  writeFileSync(join(path, 'file'), 'x');
  await bed.deleteClaim('data');
  await bed.volumePhase(name, 'Released');
  t.true(existsSync(join(path, 'file')));
  await bed.makeClaim('data', { storageClassName: 'kept', volumeName: name });
  await bed.event('data', 'FailedBinding');
  await bed.cluster.patch(resources.persistentVolumes, { name }, { kind: 'merge', body: { spec: { claimRef: null } } });
  await bed.claimPhase('data', 'Bound');
  t.true(existsSync(join(path, 'file')));
  await bed.deleteClaim('data');
  await bed.volumePhase(name, 'Released');
  await bed.cluster.delete(resources.persistentVolumes, { name });
  await eventually('the volume is gone', async () => (await bed.volume(name)) === undefined);
  t.true(existsSync(join(path, 'file')), 'its data is not');
});

test('volumes made by hand: the smallest that fits, by mode, class, selector and name', async (t) => {
  const bed = await openStorage(t);
  await bed.makeVolume('big', { capacity: { storage: '5Gi' } });
  await bed.makeVolume('small', { capacity: { storage: '1Gi' } });
  await bed.makeVolume('many', { accessModes: ['ReadWriteMany', 'ReadOnlyMany'] });
  await bed.makeVolume('classy', { storageClassName: 'gold' });
  await bed.makeVolume('labelled', { accessModes: ['ReadOnlyMany'] }, { tier: 'fast' });
  await bed.makeVolume('reserved', { claimRef: { namespace, name: 'mine' } });
  for (const name of ['big', 'small', 'many', 'classy', 'labelled', 'reserved'])
    t.is((await bed.volumePhase(name, 'Available')).spec.claimRef?.uid, undefined);
  const none = { storageClassName: '' };
  const expected: Record<string, string> = {};
  const ask = async (name: string, more: object, volume: string, size = '500Mi') => {
    await bed.makeClaim(name, more, size);
    expected[name] = volume;
    const claim = await bed.claimPhase(name, 'Bound');
    t.is(claim.spec.volumeName, volume);
    t.is((await bed.volume(volume))?.spec.claimRef?.uid, claim.metadata.uid);
  };
  await ask('mine', none, 'reserved');
  await ask('first', none, 'small');
  await ask('second', none, 'big');
  await ask('shared', { ...none, accessModes: ['ReadWriteMany'] }, 'many');
  await ask('gold', { storageClassName: 'gold' }, 'classy');
  const selector = { matchLabels: { tier: 'fast' } };
  await ask('fast', { ...none, accessModes: ['ReadOnlyMany'], selector }, 'labelled');
  t.is((await bed.claim('second'))?.status?.capacity?.['storage'], '5Gi');

  await bed.makeClaim('nothing', none);
  const message = 'no persistent volumes available for this claim and no storage class is set';
  t.is(await bed.event('nothing', 'FailedBinding'), message);
  await bed.makeClaim('taken', { ...none, volumeName: 'small' });
  t.is(await bed.event('taken', 'FailedBinding'), 'volume "small" already bound to a different claim.');
  await bed.makeVolume('tiny', { capacity: { storage: '1Mi' }, storageClassName: 'tiny' });
  await bed.makeClaim('greedy', { storageClassName: 'tiny', volumeName: 'tiny' }, '2Mi');
  t.is(
    await bed.event('greedy', 'VolumeMismatch'),
    'Cannot bind to requested volume "tiny": requested PV is too small',
  );
  await bed.makeClaim('classless', { storageClassName: 'nobody-made' });
  t.is(await bed.event('classless', 'ProvisioningFailed'), 'storageclass.storage.k8s.io "nobody-made" not found');
  await bed.makeVolume('more');
  await bed.claimPhase('nothing', 'Bound');
});

test('a volume by hand that its claim leaves with policy Delete has Failed, since nobody can delete it', async (t) => {
  const bed = await openStorage(t);
  await bed.makeVolume('hand', { persistentVolumeReclaimPolicy: 'Delete' });
  await bed.makeClaim('data', { storageClassName: '' });
  await bed.claimPhase('data', 'Bound');
  await bed.deleteClaim('data');
  await bed.volumePhase('hand', 'Failed');
  t.regex(await bed.event('hand', 'VolumeFailedDelete'), /no deletable volume plugin matched/);
});

test('a claim that loses its volume is Lost, and its pods know', async (t) => {
  const bed = await openStorage(t);
  await bed.node('a');
  await bed.makeVolume('hand');
  await bed.makeClaim('data', { storageClassName: '' });
  await bed.claimPhase('data', 'Bound');
  const body = { metadata: { finalizers: null } };
  await bed.cluster.delete(resources.persistentVolumes, { name: 'hand' });
  await bed.cluster.patch(resources.persistentVolumes, { name: 'hand' }, { kind: 'merge', body });
  await bed.claimPhase('data', 'Lost');
  t.regex(await bed.event('data', 'ClaimLost'), /Data on the volume is lost!/);
  await bed.makePod('one', 'data');
  const message =
    '0/1 nodes are available: persistentvolumeclaim "data" bound to non-existent persistentvolume "hand".';
  await bed.unschedulable('one', message);
});

test('local volumes by hand: two pods that come at once get one each, a third waits', async (t) => {
  const bed = await openStorage(t);
  for (const name of ['a', 'b', 'c']) await bed.node(name);
  await bed.makeClass('hand', {
    provisioner: 'kubernetes.io/no-provisioner',
    volumeBindingMode: 'WaitForFirstConsumer',
  });
  for (const name of ['a', 'b'])
    await bed.makeVolume(`on-${name}`, {
      storageClassName: 'hand',
      hostPath: undefined as never,
      local: { path: `/srv/${name}` },
      nodeAffinity: on(name)!,
    });
  for (const name of ['x', 'y', 'z']) await bed.makeClaim(name, { storageClassName: 'hand' });
  await Promise.all(['x', 'y'].map((name) => bed.makePod(name, name)));
  const nodes = await Promise.all(['x', 'y'].map(async (name) => (await bed.placed(name)).spec.nodeName));
  t.deepEqual(nodes.toSorted(), ['a', 'b']);
  for (const [index, name] of ['x', 'y'].entries())
    t.is((await bed.claimPhase(name, 'Bound')).spec.volumeName, `on-${nodes[index]}`);
  await bed.makePod('z', 'z');
  const message = "0/3 nodes are available: 3 node(s) didn't find available persistent volumes to bind.";
  await bed.unschedulable('z', message);
  await bed.makeVolume('on-c', { storageClassName: 'hand', nodeAffinity: on('c')! });
  t.is((await bed.placed('z')).spec.nodeName, 'c');
});

test('why a pod with claims waits, in kube-scheduler’s words, and that it goes on', async (t) => {
  const bed = await openStorage(t);
  await bed.node('a');
  await bed.node('b');
  await bed.makePod('no-claim', 'later');
  await bed.unschedulable('no-claim', '0/2 nodes are available: persistentvolumeclaim "later" not found.');
  await bed.makeClaim('later');
  await bed.placed('no-claim');

  await bed.makeClaim('immediate', { storageClassName: '' });
  await bed.makePod('unbound', 'immediate');
  const unbound = '0/2 nodes are available: pod has unbound immediate PersistentVolumeClaims.';
  await bed.unschedulable('unbound', unbound);
  await bed.makeVolume('hand', { nodeAffinity: on('b')! });
  t.is((await bed.placed('unbound')).spec.nodeName, 'b');

  await bed.cluster.patch(resources.nodes, { name: 'b' }, { kind: 'merge', body: { spec: { unschedulable: true } } });
  await bed.makePod('bound', 'immediate');
  const conflict =
    '0/2 nodes are available: 1 node(s) had volume node affinity conflict, 1 node(s) were unschedulable.';
  await bed.unschedulable('bound', conflict);

  await bed.makeClaim('single', { accessModes: ['ReadWriteOncePod'] });
  await bed.makePod('first', 'single');
  await bed.placed('first');
  await bed.makePod('second', 'single');
  await bed.unschedulable(
    'second',
    /1 node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode/,
  );
  await bed.endPod('first');
  t.is((await bed.placed('second')).spec.nodeName, 'a');
});

test('a node without room gives the claim back, and the pod goes elsewhere', async (t) => {
  const bed = await openStorage(t);
  await bed.node('full', { maxBytes: 0 });
  await bed.makeClaim('data');
  await bed.makePod('one', 'data');
  t.regex(await bed.event('data', 'ProvisioningFailed'), /of the 0 that this node gives to volumes 0 are taken/);
  await bed.node('empty');
  t.is((await bed.placed('one')).spec.nodeName, 'empty');
  await bed.makeClass('now');
  await bed.makeClaim('immediate', { storageClassName: 'now' });
  const { spec } = await bed.claimPhase('immediate', 'Bound');
  t.deepEqual((await bed.volume(spec.volumeName!))?.spec.nodeAffinity, on('empty'));
});

test('expansion: when the class allows it, for a bound claim, and never less', async (t) => {
  const bed = await openStorage(t);
  await bed.node('a');
  await bed.makeClass('fixed', { allowVolumeExpansion: false });
  await bed.makeClaim('data');
  const resize = (name: string, storage: string) =>
    bed.cluster.patch(
      resources.persistentVolumeClaims,
      { namespace, name },
      { kind: 'merge', body: { spec: { resources: { requests: { storage } } } } },
    );
  await t.throwsAsync(resize('data', '2Mi'), { code: 'FORBIDDEN', message: /Only bound persistent volume claims/ });
  await bed.makePod('one', 'data');
  const { spec } = await bed.claimPhase('data', 'Bound');
  await resize('data', '3Mi');
  await eventually('the claim has grown', async () => {
    const { status } = (await bed.claim('data'))!;
    return status?.capacity?.['storage'] === '3Mi' && status.conditions === undefined;
  });
  t.is((await bed.volume(spec.volumeName!))?.spec.capacity?.['storage'], '3Mi');
  t.is(await bed.event('data', 'VolumeResizeSuccessful'), 'Resize volume succeeded');
  await t.throwsAsync(resize('data', '2Mi'), { code: 'INVALID' });
  await bed.makeClaim('fixed', { storageClassName: 'fixed' });
  await bed.claimPhase('fixed', 'Bound');
  await t.throwsAsync(resize('fixed', '2Mi'), {
    code: 'FORBIDDEN',
    message: /the storageclass that provisions the pvc must support resize/,
  });
});

test('an ephemeral volume has a claim of the pod’s own; somebody else’s claim of that name is not taken', async (t) => {
  const bed = await openStorage(t);
  await bed.node('a');
  const volumeClaimTemplate = { metadata: { labels: { of: 'pod' } }, spec: bed.claimSpec() };
  const spec = podSpec({ volumes: [{ name: 'v', ephemeral: { volumeClaimTemplate } }] });
  await bed.cluster.create(resources.pods, { metadata: { namespace, name: 'one' }, spec });
  const pod = await bed.placed('one');
  const claim = await bed.claimPhase('one-v', 'Bound');
  t.is(claim.metadata.ownerReferences?.[0]?.uid, pod.metadata.uid);
  t.deepEqual(claim.metadata.labels, { of: 'pod' });
  await bed.makeClaim('two-v');
  await bed.cluster.create(resources.pods, { metadata: { namespace, name: 'two' }, spec });
  await bed.unschedulable('two', /PVC default\/two-v was not created for pod default\/two \(pod is not owner\)/);
  await bed.event('two', 'FailedBinding');
});

test('a class that comes later is the class of claims that named none; the node of a claim that is gone is chosen anew', async (t) => {
  const bed = await openStorage(t);
  await bed.cluster.delete(resources.storageClasses, { name: 'local' });
  const made = await bed.makeClaim('data');
  t.is(made.spec.storageClassName, undefined);
  await bed.event('data', 'FailedBinding');
  const annotations = { 'storageclass.kubernetes.io/is-default-class': 'true' };
  await bed.makeClass('later', {
    metadata: { name: 'later', annotations } as never,
    volumeBindingMode: 'WaitForFirstConsumer',
  });
  await eventually('the class', async () => (await bed.claim('data'))?.spec.storageClassName === 'later');
  const key = { namespace, name: 'data' };
  const body = { metadata: { annotations: { 'volume.kubernetes.io/selected-node': 'never-was' } } };
  await bed.cluster.patch(resources.persistentVolumeClaims, key, { kind: 'merge', body });
  await bed.node('a');
  await bed.makePod('one', 'data');
  t.is((await bed.placed('one')).spec.nodeName, 'a');
});

test('the volume of a node that is no more goes with its claim', async (t) => {
  const bed = await openStorage(t);
  await bed.makeVolume('orphan', {
    persistentVolumeReclaimPolicy: 'Delete',
    nodeAffinity: on('gone')!,
    claimRef: { namespace, name: 'was', uid: 'there' },
  });
  const metadata = {
    annotations: { 'pv.kubernetes.io/provisioned-by': 'pintle.dev/local' },
    finalizers: ['external-provisioner.volume.kubernetes.io/finalizer'],
  };
  await bed.cluster.patch(resources.persistentVolumes, { name: 'orphan' }, { kind: 'merge', body: { metadata } });
  await bed.makeClaim('nudge');
  await eventually('the volume is gone', async () => (await bed.volume('orphan')) === undefined);
  t.pass();
});
