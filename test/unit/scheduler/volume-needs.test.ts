import test from 'ava';
import type { Node, NodeSelectorTerm } from '../../../kernel/contract/kubernetes.ts';
import {
  assign,
  volumeObjection,
  type UnboundClaim,
  type VolumeNeeds,
} from '../../../plugins/components/scheduler/volume-needs.ts';

const node = (name: string, zone = 'one'): Node => ({
  apiVersion: 'v1',
  kind: 'Node',
  metadata: { name, uid: name, resourceVersion: '', creationTimestamp: '', labels: { host: name, zone } },
  spec: {},
});
const on = (...hosts: string[]): NodeSelectorTerm[] => [
  { matchExpressions: [{ key: 'host', operator: 'In', values: hosts }] },
];
const unbound = (key: string, more: Partial<UnboundClaim> = {}): UnboundClaim => ({
  ...{ key, node: undefined, volumes: [], canProvision: false, topologies: undefined },
  ...more,
});
const needs = (more: Partial<VolumeNeeds>): VolumeNeeds => ({
  ...{ blocked: undefined, conflict: undefined, bound: [], unbound: [] },
  ...more,
});
const conflict = 'node(s) had volume node affinity conflict';
const nothing = "node(s) didn't find available persistent volumes to bind";

for (const [title, given, expected] of [
  ['nothing is asked', {}, undefined],
  ['a bound volume of this node', { bound: [on('a')] }, undefined],
  ['a bound volume of another node', { bound: [on('a'), on('b')] }, conflict],
  ['every node is unfit', { conflict: 'used', bound: [on('b')] }, 'used'],
  ['a volume to be made', { unbound: [unbound('x', { canProvision: true })] }, undefined],
  ['a volume that cannot be made', { unbound: [unbound('x')] }, nothing],
  ['a volume that is free', { unbound: [unbound('x', { volumes: [{ name: 'v', terms: on('a') }] })] }, undefined],
  [
    'a volume that is free elsewhere',
    { unbound: [unbound('x', { volumes: [{ name: 'v', terms: on('b') }] })] },
    nothing,
  ],
  ['its volume is being made here', { unbound: [unbound('x', { node: 'a', canProvision: true })] }, undefined],
  ['its volume is being made elsewhere', { unbound: [unbound('x', { node: 'b', canProvision: true })] }, nothing],
  [
    'made in this zone',
    {
      unbound: [
        unbound('x', {
          canProvision: true,
          topologies: [{ matchLabelExpressions: [{ key: 'zone', values: ['one'] }] }],
        }),
      ],
    },
    undefined,
  ],
  [
    'made in another zone only',
    {
      unbound: [
        unbound('x', {
          canProvision: true,
          topologies: [{ matchLabelExpressions: [{ key: 'zone', values: ['two'] }] }],
        }),
      ],
    },
    nothing,
  ],
] as const)
  test(`node a: ${title}`, (t) => t.is(volumeObjection(needs(given), node('a')), expected));

test('no volume goes to two claims; the one with less choice chooses first', (t) => {
  const [v, w] = ['v', 'w'].map((name) => ({ name, terms: undefined }));
  const both = needs({ unbound: [unbound('rich', { volumes: [v!, w!] }), unbound('poor', { volumes: [v!] })] });
  t.deepEqual(assign(both, node('a')), [
    { claim: 'poor', volume: 'v' },
    { claim: 'rich', volume: 'w' },
  ]);
  const same = needs({ unbound: [unbound('x', { volumes: [v!] }), unbound('y', { volumes: [v!] })] });
  t.is(assign(same, node('a')), undefined);
  const made = needs({
    unbound: [unbound('y', { volumes: [v!], canProvision: true }), unbound('x', { volumes: [v!] })],
  });
  t.deepEqual(assign(made, node('a')), [
    { claim: 'x', volume: 'v' },
    { claim: 'y', volume: undefined },
  ]);
});
