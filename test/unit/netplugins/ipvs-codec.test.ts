import test from 'ava';
import {
  decodeDestination,
  decodeService,
  decodeTimeouts,
  encodeDestination,
  encodeService,
  encodeTimeouts,
  keyText,
  type IpvsService,
} from '../../../netplugins/linux/ipvs-codec.ts';

const services: readonly IpvsService[] = [
  {
    key: { protocol: 'tcp', address: '10.96.0.1', port: 80 },
    scheduler: 'rr',
    persistenceSeconds: undefined,
  },
  { key: { protocol: 'udp', address: 'fd96::1', port: 53 }, scheduler: 'mh', persistenceSeconds: 10_800 },
  { key: { protocol: 'sctp', address: '10.96.0.2', port: 65_535 }, scheduler: 'wlc', persistenceSeconds: 1 },
  { key: { mark: 0x5fff0fff, family: 10 }, scheduler: 'sh', persistenceSeconds: undefined },
];

for (const service of services)
  test(`a service reads back as it was written: ${keyText(service.key)}`, (t) => {
    t.deepEqual(decodeService(encodeService(service)), service);
  });

for (const address of ['10.244.1.2', 'fd44::2'])
  test(`a destination reads back as it was written: ${address}`, (t) => {
    const destination = { address, port: 8080, weight: 1, method: 0 };
    t.deepEqual(decodeDestination(encodeDestination(destination), 2), {
      ...destination,
      activeConnections: 0,
      inactiveConnections: 0,
    });
  });

test('timeouts read back as they were written', (t) => {
  const timeouts = { tcpSeconds: 900, tcpFinSeconds: 120, udpSeconds: 300 };
  t.deepEqual(decodeTimeouts(encodeTimeouts(timeouts)), timeouts);
});

test('the bytes are those that the kernel (linux/ip_vs.h) expects', (t) => {
  const bytes = encodeService(services[0]!).toString('hex');
  t.is(
    bytes,
    [
      '5400' + '0180', // nested attribute 1
      '0600' + '0100' + '0200' + '0000', // family AF_INET
      '0600' + '0200' + '0600' + '0000', // protocol TCP
      '1400' + '0300' + '0a600001' + '00'.repeat(12),
      '0600' + '0400' + '0050' + '0000', // port, network order
      '0700' + '0600' + '727200' + '00', // "rr"
      '0c00' + '0700' + '00000000' + '09000000', // flags; persistence and fallback count
      '0800' + '0800' + '00000000',
      '0800' + '0900' + 'ffffffff',
    ].join(''),
  );
});

test('schedulers that choose by the client fall back to another destination', (t) => {
  const flagsOf = (scheduler: string): string =>
    encodeService({ ...services[0]!, scheduler })
      .toString('hex')
      .split('0c000700')[1]
      ?.slice(0, 8) ?? '';
  t.is(flagsOf('mh'), '08000000');
  t.is(flagsOf('sh'), '08000000');
  t.is(flagsOf('wlc'), '00000000');
});
