import test from 'ava';
import fc from 'fast-check';
import {
  addressAt,
  canonicalCidr,
  canonicalIp,
  contains,
  formatIp,
  formatMac,
  networkAddress,
  offsetIn,
  parseCidr,
  parseIp,
  parseMac,
} from '../../../netplugins/linux/ip-address.ts';

for (const [written, canonical] of [
  ['10.0.0.1', '10.0.0.1'],
  ['::', '::'],
  ['::1', '::1'],
  ['FD00:0:0:0:0:0:0:1', 'fd00::1'],
  ['2001:db8:0:1:0:0:0:2', '2001:db8:0:1::2'],
  ['2001:db8:0:1:1:1:1:1', '2001:db8:0:1:1:1:1:1'],
  ['::ffff:10.0.0.1', '::ffff:a00:1'],
  ['fe80::', 'fe80::'],
] as const)
  test(`${written} is ${canonical}`, (t) => {
    t.is(canonicalIp(written), canonical);
  });

test('bytes and text of any address go both ways', (t) => {
  for (const bytes of [fc.uint8Array({ minLength: 4, maxLength: 4 }), fc.uint8Array({ minLength: 16, maxLength: 16 })])
    fc.assert(fc.property(bytes, (one) => parseIp(formatIp(one)).equals(Buffer.from(one))));
  t.pass();
});

for (const bad of ['', '10.0.0', '10.0.0.256', '10.0.0.1/24', 'fe80::1%eth0', 'localhost', '1.2.3.4.5'])
  test(`"${bad}" is no address`, (t) => {
    t.throws(() => parseIp(bad), { message: /no IP address/ });
  });

test('ranges', (t) => {
  const range = parseCidr('10.244.1.7/24');
  t.is(networkAddress(range), '10.244.1.0');
  t.is(addressAt(range, 1n), '10.244.1.1');
  t.is(offsetIn(range, '10.244.1.9'), 9n);
  t.true(contains(range, '10.244.1.255'));
  t.false(contains(range, '10.244.2.0'));
  t.false(contains(range, 'fd00::1'));
  t.is(canonicalCidr('fd44:0:0:1:0:0:0:9/64'), 'fd44:0:0:1::/64');
  t.is(addressAt(parseCidr('fd44::/64'), 255n), 'fd44::ff');
  for (const bad of ['10.0.0.0', '10.0.0.0/33', 'fd00::/129', '/24', '10.0.0.0/x', '10.0.0.0/'])
    t.throws(() => parseCidr(bad), { message: /no address range/ }, bad);
});

test('MAC addresses', (t) => {
  t.is(formatMac(parseMac('0A:58:0a:f4:01:02')), '0a:58:0a:f4:01:02');
  for (const bad of ['', '0a:58', '0a-58-0a-f4-01-02', '0a:58:0a:f4:01:0g'])
    t.throws(() => parseMac(bad), { message: /no MAC address/ });
});
