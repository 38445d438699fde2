import test from 'ava';
import type { Pod } from '../../../kernel/contract/kubernetes.ts';
import { bandwidthOf } from '../../../plugins/components/node-agent/bandwidth.ts';

const pod = (annotations: Record<string, string>) => ({ metadata: { name: 'a', annotations } }) as unknown as Pod;

test('limits are read as quantities of bits a second; none is none', (t) => {
  t.is(bandwidthOf(pod({})), undefined);
  t.deepEqual(bandwidthOf(pod({ 'kubernetes.io/ingress-bandwidth': '10M' })), {
    ingressBitsPerSecond: 10_000_000,
    egressBitsPerSecond: undefined,
  });
  t.is(bandwidthOf(pod({ 'kubernetes.io/egress-bandwidth': '1k' }))?.egressBitsPerSecond, 1_000);
});

test('what is no limit is refused with the name and what was expected', (t) => {
  for (const text of ['fast', '', '999', '2P', '-1M'])
    t.throws(() => bandwidthOf(pod({ 'kubernetes.io/egress-bandwidth': text })), {
      message: /^annotation kubernetes\.io\/egress-bandwidth is ".*": expected bits a second from 1k to 1P/,
    });
});
