/** What `pintle doctor --cluster` concludes from the probes of a pair; each fault on real nodes: test/cluster/diagnose.test.ts. */
import test from 'ava';
import { judge } from '../../../cli/diagnose/check-cluster.ts';
import type { Listening, ProbeResult } from '../../../kernel/contract/network-view.ts';

const well = { roundTripMs: 0.2, fullSize: true, largestBytes: 1500, bulk: true };
const silent = { roundTripMs: undefined, fullSize: false, largestBytes: undefined, bulk: false };
const small = { roundTripMs: 0.2, fullSize: false, largestBytes: 1300, bulk: false };
const stalls = { ...well, bulk: false };
type Seen = Omit<ProbeResult, 'node' | 'address'>;

function probe(over: 'overlay' | 'underlay', seen: Seen) {
  const at = { node: 'b', address: over === 'overlay' ? '10.244.2.0' : '192.168.77.12' };
  return { from: 'a', over, target: { ...at, tcpPort: 1, udpPort: 2, mtuBytes: 1450 }, result: { ...at, ...seen } };
}

for (const [what, overlay, underlay, expected] of [
  ['all is well', well, well, []],
  ['nothing over the overlay', silent, well, ['overlay-reach']],
  ['nothing at all', silent, silent, ['underlay-reach']],
  ['small packets only over the overlay', small, well, ['overlay-mtu']],
  ['small packets only', small, small, ['underlay-mtu']],
  ['small packets only, and nothing over the overlay', silent, small, ['overlay-reach', 'underlay-mtu']],
  ['connections stall over the overlay', stalls, well, ['overlay-bulk']],
  ['connections stall beside the overlay', well, stalls, ['underlay-bulk']],
  ['connections stall everywhere', stalls, stalls, ['underlay-bulk']],
] as const)
  test(`judge: ${what}`, (t) => {
    const found = judge([probe('overlay', overlay), probe('underlay', underlay)], new Map());
    t.deepEqual(found.map(({ check }) => check).sort(), expected);
    for (const { where, cure, text } of found) {
      t.is(where, 'a -> b');
      t.truthy(cure);
      t.notRegex(text, /undefined|NaN/);
    }
  });

test('judge: a node without an address in its pod range is said, not passed over', (t) => {
  const listening = { overlay: [], underlay: ['192.168.77.12'] } as unknown as Listening;
  const [finding, ...more] = judge([probe('underlay', well)], new Map([['b', listening]]));
  t.deepEqual(more, []);
  t.like(finding, { where: 'b', check: 'overlay', isFatal: false });
});
