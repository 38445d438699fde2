import test from 'ava';
import { formatAddress, parseAddress, parseCidr } from '../../../kernel/machinery/cidr.ts';

test('addresses survive the round trip in canonical form', (t) => {
  for (const [text, canonical] of [
    ['0.0.0.0', '0.0.0.0'],
    ['255.255.255.255', '255.255.255.255'],
    ['10.244.1.2', '10.244.1.2'],
    ['::', '::'],
    ['::1', '::1'],
    ['1::', '1::'],
    ['fd00:10:244::', 'fd00:10:244::'],
    ['2001:DB8:0:0:1:0:0:1', '2001:db8::1:0:0:1'],
    ['2001:db8:0:1:1:1:1:1', '2001:db8:0:1:1:1:1:1'],
    ['10:0:0:0:0:0:0:10', '10::10'],
    ['100:0:0:10:0:0:0:1', '100:0:0:10::1'],
    ['::ffff:192.0.2.1', '::ffff:c000:201'],
  ] as const) {
    const address = parseAddress(text);
    t.is(address && formatAddress(address.value, address.bits), canonical, text);
  }
  for (const text of ['', '10.0.0', '10.0.0.256', 'fe80::1%eth0', 'x']) t.is(parseAddress(text), undefined, text);
});

test('ranges: host bits are cleared, bad ones are none', (t) => {
  t.deepEqual(parseCidr('10.1.2.3/16'), { base: 0x0a010000n, bits: 32, prefix: 16 });
  t.deepEqual(parseCidr('0.0.0.0/0'), { base: 0n, bits: 32, prefix: 0 });
  t.is(parseCidr('fd00::ff/120')?.base, 0xfd00n << 112n);
  for (const text of ['10.0.0.0', '10.0.0.0/33', '::/129', '10.0.0.0/-1', '/8', '10.0.0.0/8/8'])
    t.is(parseCidr(text), undefined, text);
});
