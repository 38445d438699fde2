import test from 'ava';
import type { EndpointSlice, Service } from '../../../kernel/contract/kubernetes.ts';
import { ServicePorts } from '../../../plugins/components/service-proxy/proxy-state.ts';

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
const portsOf = (services: Map<string, Service>, found: () => EndpointSlice[], zone?: string): ServicePorts => {
  const ports = new ServicePorts({
    serviceOf: (key) => services.get(key),
    slicesOf: found,
    whereabouts: () => ({ nodeName: 'n1', zone }),
  });
  for (const key of services.keys()) ports.touch(key);
  return ports;
};
const state = (services: Service[], found: EndpointSlice[] = [], zone?: string) =>
  portsOf(new Map(services.map((one) => [`a/${one.metadata.name}`, one])), () => found, zone).current();

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

test('a Service that did not change keeps its very ports; order does not depend on when one came', (t) => {
  const services = new Map(['c', 'a'].map((name) => [`a/${name}`, service(name, {})]));
  let found = slices([{ addresses: ['10.0.0.1'] }]);
  const ports = portsOf(services, () => found);
  const [a, c] = ports.current();
  t.deepEqual([a!.service, c!.service], ['a', 'c']);
  services.set('a/b', service('b', {}));
  ports.touch('a/b');
  const three = ports.current();
  t.deepEqual(
    three.map((port) => port.service),
    ['a', 'b', 'c'],
  );
  t.true(three[0] === a && three[2] === c);
  ports.touch('a/a');
  t.is(ports.current(), three, 'touched, but the same');
  found = slices([{ addresses: ['10.0.0.2'] }]);
  ports.touch('a/a');
  const moved = ports.current();
  t.is(moved[0]!.endpoints[0]!.address, '10.0.0.2');
  t.is(moved[2], c);
  services.delete('a/b');
  services.set('a/c', service('c', {}, { 'service.kubernetes.io/headless': '' }));
  for (const key of ['a/b', 'a/c', 'a/unknown']) ports.touch(key);
  t.deepEqual(
    ports.current().map((port) => port.service),
    ['a'],
  );
});

const hinted = (address: string, forZones: string[], forNodes: string[] = [], ready = true) => ({
  addresses: [address],
  conditions: { ready, serving: true },
  hints: {
    ...(forZones.length > 0 ? { forZones: forZones.map((name) => ({ name })) } : {}),
    ...(forNodes.length > 0 ? { forNodes: forNodes.map((name) => ({ name })) } : {}),
  },
});
const readyOnes = (endpoints: EndpointSlice['endpoints'], zone?: string): string[] =>
  state([service('web', {})], slices(endpoints), zone)[0]!
    .endpoints.filter(({ ready }) => ready)
    .map(({ address }) => address);

test('hints: endpoints meant for the zone or the node, unless some have none or none are meant for it', (t) => {
  const zones = [hinted('10.0.0.1', ['x']), hinted('10.0.0.2', ['y']), hinted('10.0.0.3', ['x', 'y'])];
  t.deepEqual(readyOnes(zones, 'x'), ['10.0.0.1', '10.0.0.3']);
  t.deepEqual(readyOnes(zones, 'z'), ['10.0.0.1', '10.0.0.2', '10.0.0.3'], 'none for our zone');
  t.deepEqual(readyOnes(zones), ['10.0.0.1', '10.0.0.2', '10.0.0.3'], 'no zone');
  t.deepEqual(readyOnes([...zones, { addresses: ['10.0.0.4'] }], 'x').length, 4, 'one has no hints');
  t.deepEqual(readyOnes([...zones, hinted('10.0.0.4', [], [], false)], 'x').length, 2, 'it is not ready anyway');
  const nodes = [hinted('10.0.0.1', ['x'], ['n1']), hinted('10.0.0.2', ['x'], ['n2'])];
  t.deepEqual(readyOnes(nodes, 'x'), ['10.0.0.1'], 'the node comes first');
  t.deepEqual(readyOnes(nodes.slice(1), 'x'), ['10.0.0.2'], 'else the zone');
  const [port] = state([service('web', {})], slices(zones), 'x');
  t.true(port!.endpoints[1]!.serving, 'what it has it keeps');
});

test('health check ports: ready endpoints of this node, each address once; not those that terminate', (t) => {
  const spec = {
    externalTrafficPolicy: 'Local',
    healthCheckNodePort: 31_000,
    ports: [{ port: 80 }, { name: 'b', port: 81 }],
  };
  const services = new Map([
    ['a/web', service('web', spec)],
    ['a/plain', service('plain', {})],
  ]);
  const found = slices(
    [
      { addresses: ['10.0.0.1'], nodeName: 'n1' },
      { addresses: ['10.0.0.2'], nodeName: 'n2' },
      { addresses: ['10.0.0.3'], nodeName: 'n1', conditions: { ready: false, serving: true, terminating: true } },
    ],
    [{ port: 8080 }, { name: 'b', port: 8081 }],
  );
  const ports = portsOf(services, () => found);
  ports.current();
  t.deepEqual([...ports.checked()], [{ namespace: 'a', name: 'web', port: 31_000, localEndpoints: 1 }]);
  services.delete('a/web');
  ports.touch('a/web');
  ports.current();
  t.deepEqual([...ports.checked()], []);
});
