import test from 'ava';
import { nearest, suggestion } from '../../../kernel/registry/nearest.ts';

const known = ['vxlan', 'host-gw', 'flannel-udp', 'nftables', 'iptables', 'config', 'name'];

const cases: readonly (readonly [written: string, expected: string | undefined])[] = [
  ['vxlan', 'vxlan'],
  ['vxlna', 'vxlan'],
  ['VXLAN', 'vxlan'],
  ['hostgw', 'host-gw'],
  ['nftable', 'nftables'],
  ['iptabels', 'iptables'],
  ['conf', 'config'],
  ['nam', 'name'],
  ['geneve', undefined],
  ['x', undefined],
  ['', undefined],
  ['n'.repeat(10_000), undefined],
];
for (const [written, expected] of cases)
  test(`nearest of ${JSON.stringify(written.slice(0, 20))} is ${expected ?? 'nothing'}`, (t) => {
    t.is(nearest(written, known), expected);
  });

test('a suggestion names what is known, sorted', (t) => {
  t.is(suggestion('vxlam', ['vxlan', 'geneve']), 'did you mean `vxlan`? Known: geneve, vxlan');
  t.is(suggestion('zzz', ['b', 'a']), 'Known: a, b');
  t.is(suggestion('zzz', []), 'none is known');
});
