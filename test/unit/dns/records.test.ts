import test from 'ava';
import type { EndpointSlice, Service } from '../../../kernel/contract/kubernetes.ts';
import { ClusterNames, type DnsIndex } from '../../../plugins/components/dns/records.ts';

const meta = (name: string) => ({ name, namespace: 'shop', uid: name, resourceVersion: '1', creationTimestamp: '' });
const service = (name: string, spec: Service['spec']): Service => ({
  apiVersion: 'v1',
  kind: 'Service',
  metadata: meta(name),
  spec,
});
const slice = (name: string, endpoints: EndpointSlice['endpoints'], ports: EndpointSlice['ports']): EndpointSlice =>
  ({
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: meta(name),
    addressType: 'IPv4',
    endpoints,
    ports,
  }) as EndpointSlice;

const services = [
  service('web', {
    clusterIP: '10.96.1.1',
    clusterIPs: ['10.96.1.1', 'fd00::1'],
    ports: [
      { name: 'http', port: 80 },
      { name: 'dns', port: 53, protocol: 'UDP' },
    ],
  }),
  service('db', { clusterIP: 'None', clusterIPs: ['None'], ports: [{ name: 'sql', port: 5432 }] }),
  service('empty', { clusterIP: 'None', ports: [] }),
  service('out', { type: 'ExternalName', externalName: 'example.org' }),
];
const dbSlice = slice(
  'db-1',
  [
    { addresses: ['10.244.1.5'], hostname: 'db-0', conditions: { ready: true } },
    { addresses: ['10.244.2.6'], conditions: { ready: true } },
    { addresses: ['10.244.2.7'], conditions: { ready: false } },
  ],
  [{ name: 'sql', port: 5433 }],
);
const index: DnsIndex = {
  service: (namespace, name) =>
    namespace === 'shop' ? services.find((each) => each.metadata.name === name) : undefined,
  slices: (_namespace, name) => (name === 'db' ? [dbSlice] : []),
  hasNamespace: (namespace) => namespace === 'shop',
  servicesByIp: (ip) => services.filter((each) => each.spec.clusterIPs?.includes(ip)),
  headlessByIp: (ip) => (ip === '10.244.1.5' ? { namespace: 'shop', service: 'db', hostname: 'db-0' } : undefined),
};
const names = new ClusterNames('cluster.local', index);

/** type name → "absent", "foreign", or the data of the answers. */
const cases: readonly [string, string, string | readonly string[]][] = [
  ['A', 'web.shop.svc.cluster.local', ['10.96.1.1']],
  ['A', 'WEB.Shop.SVC.cluster.local.', ['10.96.1.1']],
  ['AAAA', 'web.shop.svc.cluster.local', ['fd00::1']],
  ['MX', 'web.shop.svc.cluster.local', []],
  ['A', 'web.other.svc.cluster.local', 'absent'],
  ['A', 'none.shop.svc.cluster.local', 'absent'],
  ['A', 'pod.web.shop.svc.cluster.local', 'absent'],
  ['A', 'db.shop.svc.cluster.local', ['10.244.1.5', '10.244.2.6']],
  ['A', 'db-0.db.shop.svc.cluster.local', ['10.244.1.5']],
  ['A', '10-244-2-6.db.shop.svc.cluster.local', ['10.244.2.6']],
  ['A', '10-244-2-7.db.shop.svc.cluster.local', 'absent'],
  ['A', 'empty.shop.svc.cluster.local', 'absent'],
  ['CNAME', 'out.shop.svc.cluster.local', ['example.org']],
  ['A', 'out.shop.svc.cluster.local', ['example.org']],
  ['SRV', '_http._tcp.web.shop.svc.cluster.local', ['80 web.shop.svc.cluster.local']],
  ['SRV', '_dns._udp.web.shop.svc.cluster.local', ['53 web.shop.svc.cluster.local']],
  ['SRV', '_dns._tcp.web.shop.svc.cluster.local', 'absent'],
  [
    'SRV',
    '_sql._tcp.db.shop.svc.cluster.local',
    ['5433 db-0.db.shop.svc.cluster.local', '5433 10-244-2-6.db.shop.svc.cluster.local'],
  ],
  ['A', '10-244-1-5.shop.pod.cluster.local', ['10.244.1.5']],
  ['A', 'junk.shop.pod.cluster.local', 'absent'],
  ['A', '10-244-1-5.other.pod.cluster.local', 'absent'],
  ['PTR', '1.1.96.10.in-addr.arpa', ['web.shop.svc.cluster.local']],
  ['PTR', '5.1.244.10.in-addr.arpa', ['db-0.db.shop.svc.cluster.local']],
  ['PTR', '1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa', ['web.shop.svc.cluster.local']],
  ['PTR', '9.9.9.9.in-addr.arpa', 'foreign'],
  ['A', 'example.org', 'foreign'],
  ['A', 'mycluster.local', 'foreign'],
  ['A', 'nothing.cluster.local', 'absent'],
  ['A', 'cluster.local', []],
  ['A', 'shop.svc.cluster.local', []],
  ['TXT', 'dns-version.cluster.local', ['1.1.0']],
];

for (const [type, name, expected] of cases) {
  test(`${type} ${name}`, (t) => {
    const found = names.resolve({ name, type });
    if (found.kind !== 'answer') return t.is(found.kind as string, expected as string);
    const data = found.records.map((each) =>
      each.type === 'SRV' ? `${each.data.port} ${each.data.target}` : each.data,
    );
    return t.deepEqual(data, expected);
  });
}
