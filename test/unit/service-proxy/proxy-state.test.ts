import test from 'ava';
import type { EndpointSlice, Service } from '../../../kernel/contract/kubernetes.ts';
import { proxyState } from '../../../plugins/components/service-proxy/proxy-state.ts';

const metadata = (name: string, labels = {}) => ({
  name,
  namespace: 'a',
  labels,
  uid: '',
  resourceVersion: '',
  creationTimestamp: '',
});
const service = (name: string, spec: Service['spec'], labels = {}, status: Service['status'] = {}): Service => ({
  apiVersion: 'v1',
  kind: 'Service',
  metadata: metadata(name, labels),
  spec: { clusterIP: '10.96.0.9', ports: [{ port: 80 }], ...spec },
  status,
});
const slices = (endpoints: EndpointSlice['endpoints'], ports: EndpointSlice['ports'] = [{ port: 8080 }]) => [
  { apiVersion: '', kind: '', metadata: metadata('s'), addressType: 'IPv4', endpoints, ports } as EndpointSlice,
];
const state = (services: Service[], found: EndpointSlice[] = []) =>
  proxyState({ nodeName: 'n1', nodeAddresses: ['192.0.2.1'], clusterCidrs: [], services, slicesOf: () => found }).ports;

test('headless, ExternalName, and Services of other proxies are left out', (t) => {
  t.deepEqual(
    state([
      service('headless', { clusterIP: 'None' }),
      service('external', { type: 'ExternalName', externalName: 'x' }),
      service('foreign', {}, { 'service.kubernetes.io/service-proxy-name': 'other' }),
      service('labelled', {}, { 'service.kubernetes.io/headless': '' }),
      service('unassigned', { clusterIP: '' }),
    ]),
    [],
  );
});

test('endpoints: conditions, local, order, no duplicates', (t) => {
  const [port] = state(
    [service('web', {})],
    slices([
      { addresses: ['10.0.0.2'], nodeName: 'n1', conditions: { ready: true } },
      { addresses: ['10.0.0.1'], nodeName: 'n2', conditions: { ready: false, serving: true, terminating: true } },
      { addresses: ['10.0.0.2'], nodeName: 'n1', conditions: { ready: true } },
      { addresses: ['10.0.0.3'] },
    ]),
  );
  t.deepEqual(port!.endpoints, [
    { address: '10.0.0.1', port: 8080, local: false, ready: false, serving: true, terminating: true },
    { address: '10.0.0.2', port: 8080, local: true, ready: true, serving: true, terminating: false },
    { address: '10.0.0.3', port: 8080, local: false, ready: true, serving: true, terminating: false },
  ]);
});

test('ports are matched by name and protocol', (t) => {
  const ports = state(
    [
      service('dns', {
        ports: [
          { name: 'u', port: 53, protocol: 'UDP' },
          { name: 't', port: 53 },
        ],
      }),
    ],
    slices(
      [{ addresses: ['10.0.0.1'] }],
      [
        { name: 'u', port: 5353, protocol: 'UDP' },
        { name: 'x', port: 1 },
      ],
    ),
  );
  t.deepEqual(
    ports.map((port) => [port.name, port.protocol, port.endpoints.map((each) => each.port)]),
    [
      ['u', 'UDP', [5353]],
      ['t', 'TCP', []],
    ],
  );
});

test('affinity, policies, node port and load balancer', (t) => {
  const [port] = state([
    service(
      'web',
      {
        sessionAffinity: 'ClientIP',
        sessionAffinityConfig: { clientIP: { timeoutSeconds: 60 } },
        externalTrafficPolicy: 'Local',
        internalTrafficPolicy: 'Local',
        ports: [{ port: 80, nodePort: 30080 }],
        externalIPs: ['198.51.100.1'],
        loadBalancerSourceRanges: ['203.0.113.0/24'],
      },
      {},
      { loadBalancer: { ingress: [{ ip: '198.51.100.2' }, { ip: '198.51.100.3', ipMode: 'Proxy' }] } },
    ),
  ]);
  t.like(port, {
    affinitySeconds: 60,
    externalPolicy: 'Local',
    internalPolicy: 'Local',
    nodePort: 30080,
    externalIps: ['198.51.100.1'],
    loadBalancerIps: ['198.51.100.2'],
    loadBalancerSourceRanges: ['203.0.113.0/24'],
  });
  t.is(state([service('plain', { sessionAffinity: 'ClientIP' })])[0]!.affinitySeconds, 10_800);
});
