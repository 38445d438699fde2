import test from 'ava';
import {
  controllerOf,
  findCondition,
  keyOf,
  ownerReference,
  setCondition,
  type AnyCondition,
  splitKey,
} from '../../../kernel/machinery/metadata.ts';

test('keys', (t) => {
  t.is(keyOf({ metadata: { namespace: 'a', name: 'b' } }), 'a/b');
  t.is(keyOf({ metadata: { name: 'b' } }), 'b');
  t.deepEqual(splitKey('a/b'), { namespace: 'a', name: 'b' });
  t.deepEqual(splitKey('b'), { name: 'b' });
});

test('owners', (t) => {
  const owner = {
    apiVersion: 'apps/v1',
    kind: 'ReplicaSet',
    metadata: { name: 'r', uid: 'u', resourceVersion: '1', creationTimestamp: '' },
  };
  const reference = ownerReference(owner);
  t.deepEqual(reference, {
    apiVersion: 'apps/v1',
    kind: 'ReplicaSet',
    name: 'r',
    uid: 'u',
    controller: true,
    blockOwnerDeletion: true,
  });
  t.false(ownerReference(owner, { controller: false }).controller);
  const owned = {
    ...owner,
    metadata: { ...owner.metadata, ownerReferences: [ownerReference(owner, { controller: false }), reference] },
  };
  t.is(controllerOf(owned), reference);
  t.is(controllerOf(owner), undefined);
});

test('a condition moves its time only with its status', (t) => {
  const first = setCondition<AnyCondition>(
    undefined,
    { type: 'Ready', status: 'False', reason: 'A' },
    '2026-01-01T00:00:00Z',
  );
  t.is(findCondition(first, 'Ready')?.lastTransitionTime, '2026-01-01T00:00:00Z');
  const same = setCondition(first, { type: 'Ready', status: 'False', reason: 'A' }, '2026-01-02T00:00:00Z');
  t.is(same, first);
  const reworded = setCondition(first, { type: 'Ready', status: 'False', reason: 'B' }, '2026-01-02T00:00:00Z');
  t.is(findCondition(reworded, 'Ready')?.lastTransitionTime, '2026-01-01T00:00:00Z');
  t.is(findCondition(reworded, 'Ready')?.reason, 'B');
  const turned = setCondition(first, { type: 'Ready', status: 'True' }, '2026-01-02T00:00:00Z');
  t.is(findCondition(turned, 'Ready')?.lastTransitionTime, '2026-01-02T00:00:00Z');
  t.is(setCondition(turned, { type: 'Other', status: 'True' }).length, 2);
  t.is(first[0]?.status, 'False');
});
