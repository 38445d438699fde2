import test from 'ava';
import { verdictOf, type Hop, type Verdict } from '../../../cli/diagnose/trace-packet.ts';
import type { TraceEnd } from '../../../kernel/contract/network-view.ts';

const flow = { protocol: 'TCP', destination: '10.244.2.2', port: 80 } as const;
const pod: TraceEnd = { kind: 'pod', address: '10.244.2.2' };
const leaves = (node?: string): TraceEnd => ({ kind: 'leaves', to: '192.0.2.2', node, mtuBytes: 1450 });

const hop = (...paths: readonly (readonly [TraceEnd, Hop?])[]): Hop => ({
  node: 'node-1',
  inPod: [],
  onNode: [],
  paths: paths.map(([end, next]) => ({ flow, steps: [], end, ...(next === undefined ? {} : { next }) })),
});

for (const [what, given, expected] of [
  ['a pod', hop([pod]), 'arrives'],
  ['a process of the node', hop([{ kind: 'node' }]), 'arrives'],
  ['a pod of the next node', hop([leaves('node-2'), hop([pod])]), 'arrives'],
  ['somewhere out of the cluster', hop([leaves()]), 'leaves'],
  [
    'out of the cluster from the next node, in one of two ways',
    hop([pod], [leaves('node-2'), hop([leaves()])]),
    'leaves',
  ],
  ['a node that nobody asked any more', hop([leaves('node-2'), hop([leaves('node-1')])]), 'strays'],
  ['nowhere, in one of two ways', hop([leaves()], [{ kind: 'dies' }]), 'dies'],
  ['no choice of ways at all', hop(), 'dies'],
] as const satisfies readonly (readonly [string, Hop, Verdict])[])
  test(`a packet that ends in ${what}: ${expected}`, (t) => t.is(verdictOf(given), expected));
