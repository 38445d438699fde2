import test from 'ava';
import type { ProxyEndpoint, ProxyPort, ProxyState } from '../../../kernel/contract/index.ts';
import { decide } from '../../../netplugins/linux/service-decision.ts';
import { accepts, parse } from '../../../netplugins/linux/trace/sockets.ts';
import { plainPort } from '../../../kernel/conformance/proxy/plain-port.ts';

const tcp = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1
   1: 0201F40A:0050 0301F40A:C350 01 00000000:00000000 00:00000000 00000000     0        0 2 1
   2: 00000000:0051 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 3 1
`;
const tcp6 = `  sl  local_address                         remote_address                        st
   0: 00000000000000000000000000000000:1F91 00000000000000000000000000000000:0000 0A
   1: 0000000000000000FFFF00000100007F:1F92 00000000000000000000000000000000:0000 0A
   2: 000080FE00000000FF005450AABBCCFE:1F93 00000000000000000000000000000000:0000 0A
`;

test('listening sockets are read as the kernel prints them; connections are none', (t) => {
  t.deepEqual(parse(tcp, 'TCP'), [
    { address: '127.0.0.1', port: 8080 },
    { address: '0.0.0.0', port: 81 },
  ]);
  t.deepEqual(
    parse(tcp6, 'TCP').map(({ address, port }) => [address, port]),
    [
      ['::', 8081],
      ['127.0.0.1', 8082],
      ['fe80::5054:ff:fecc:bbaa', 8083],
    ],
  );
  t.true(accepts({ address: '::', port: 81 }, '10.244.1.2', 81));
  t.false(accepts({ address: '127.0.0.1', port: 81 }, '10.244.1.2', 81));
  t.false(accepts({ address: '0.0.0.0', port: 82 }, '10.244.1.2', 81));
});

const endpoint = (address: string, local: boolean, ready = true): ProxyEndpoint => ({
  address,
  port: 8080,
  local,
  ready,
  serving: ready,
  terminating: false,
});
const port = (more: Partial<ProxyPort>): ProxyPort =>
  plainPort({
    clusterIps: ['10.96.0.9'],
    nodePort: 30080,
    endpoints: [endpoint('10.244.1.2', true), endpoint('10.244.2.2', false)],
    ...more,
  });
const state = (...ports: readonly ProxyPort[]): ProxyState => ({
  nodeAddresses: ['192.0.2.1'],
  clusterCidrs: ['10.244.0.0/16'],
  serviceCidrs: ['10.96.0.0/12'],
  ports,
});
const to = (destination: string, number: number) => ({ protocol: 'TCP', destination, port: number }) as const;

test('a proxy is said to do what it does: by address, policy and who asks', (t) => {
  const all = ['10.244.1.2', '10.244.2.2'];
  const addresses = (given: ReturnType<typeof decide>) => given?.endpoints.map(({ address }) => address);
  t.is(decide(state(port({})), to('10.112.0.1', 80), 'pod'), undefined, 'outside the service range');
  t.is(decide(state(port({})), to('fd96::1', 80), 'pod'), undefined, 'no range of its family');
  t.is(decide(state(port({})), to('192.0.2.1', 80), 'pod'), undefined, 'the node itself');
  t.like(decide(state(port({})), to('10.96.0.10', 80), 'pod'), {
    ...{ service: undefined, via: 'service range', verdict: 'rejected', subject: '10.96.0.0/12', endpoints: [] },
    reason: 'no Service has this address of the service range 10.96.0.0/12',
  });
  t.like(decide(state(port({})), to('10.96.0.9', 81), 'pod'), {
    ...{ service: 'default/web', via: 'cluster address', verdict: 'rejected', subject: '10.96.0.9' },
    reason: 'the Service has no TCP port 81',
  });
  t.like(decide(state(port({})), { ...to('10.96.0.9', 80), protocol: 'UDP' }, 'pod'), {
    reason: 'the Service has no UDP port 80',
  });
  t.like(decide(state(port({})), to('10.96.0.9', 80), 'pod'), { via: 'cluster address', verdict: 'translated' });
  t.deepEqual(addresses(decide(state(port({})), to('10.96.0.9', 80), 'pod')), all);
  t.like(decide(state(port({})), to('192.0.2.1', 30080), 'outside'), { via: 'node port', verdict: 'translated' });
  const local = state(port({ externalPolicy: 'Local', internalPolicy: 'Local' }));
  t.deepEqual(addresses(decide(local, to('10.96.0.9', 80), 'pod')), ['10.244.1.2']);
  t.deepEqual(addresses(decide(local, to('192.0.2.1', 30080), 'outside')), ['10.244.1.2']);
  t.deepEqual(addresses(decide(local, to('192.0.2.1', 30080), 'pod')), all, 'pods are not outside');
  const away = state(port({ externalPolicy: 'Local', endpoints: [endpoint('10.244.2.2', false)] }));
  t.like(decide(away, to('192.0.2.1', 30080), 'outside'), { verdict: 'dropped' });
  t.like(decide(state(port({ endpoints: [] })), to('10.96.0.9', 80), 'pod'), {
    verdict: 'rejected',
    reason: 'the Service has no endpoints',
  });
  const unready = state(port({ endpoints: [endpoint('10.244.1.2', true, false)] }));
  t.like(decide(unready, to('10.96.0.9', 80), 'pod'), {
    verdict: 'rejected',
    reason: 'no endpoint of the Service is ready',
  });
});
