import test from 'ava';
import { decodeElement, encodeElement } from '../../../netplugins/linux/ipset.ts';
import { attributes } from '../../../netplugins/linux/netlink-socket.ts';

const elements: readonly (readonly [type: string, element: string, mark?: number])[] = [
  ['hash:ip', '10.96.0.1'],
  ['hash:ip', 'fd96::1'],
  ['hash:ip,port', '10.96.0.1,tcp:80'],
  ['hash:ip,port', 'fd96::1,sctp:65535'],
  ['hash:ip,port', '10.96.0.1,udp:53', 0x5abc0def],
  ['hash:ip,port,ip', '10.244.1.2,tcp:8080,10.244.1.2'],
  ['hash:ip,port,net', '10.96.0.1,tcp:80,192.0.2.0/24'],
  ['hash:ip,port,net', 'fd96::1,tcp:80,fd02::/48'],
];

for (const [type, element, mark] of elements)
  test(`an element of ${type} reads back as it was written: ${element}`, (t) => {
    const data = attributes(encodeElement(element, mark)).get(7);
    t.deepEqual(decodeElement(data ?? Buffer.alloc(0), type), { element, ...(mark === undefined ? {} : { mark }) });
  });

test('numbers say that they are in network order', (t) => {
  // IP 1 { IPv4 1 | NET_BYTEORDER }, PORT 4 | NET_BYTEORDER, PROTO 7, inside DATA 7.
  t.is(
    encodeElement('10.96.0.1,tcp:80').toString('hex'),
    '20000780' + '0c000180' + '08000140' + '0a600001' + '06000440' + '00500000' + '05000700' + '06000000',
  );
});
