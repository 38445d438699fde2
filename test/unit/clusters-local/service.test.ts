import test from 'ava';
import type { NewObject } from '../../../kernel/contract/index.ts';
import type { Service } from '../../../kernel/contract/kubernetes.ts';
import { eventually, handClock, memoryStore, ns, open, refusal, types } from './harness.ts';

const key = (name: string) => ({ namespace: ns, name });
const service = (name: string, spec: Service['spec'] = {}): NewObject<Service> => ({
  metadata: { name, namespace: ns },
  spec: { ports: [{ port: 80 }], ...spec },
});

test('Service kubernetes has the first address', async (t) => {
  const { cluster } = await open(t, {});
  const { spec } = await cluster.get(types.services, key('kubernetes'));
  t.is(spec.clusterIP, '10.96.0.1');
  t.is(spec.ports![0]!.targetPort, 6443);
});

test('what every cluster has comes back when it is deleted', async (t) => {
  const clock = handClock();
  const { cluster } = await open(t, { clock, serviceCidrs: ['10.9.0.0/28'] });
  const made = await cluster.get(types.services, key('kubernetes'));
  await cluster.delete(types.services, key('kubernetes'));
  for (let index = 0; index < 13; index++) await cluster.create(types.services, service(`s${index}`));
  clock.advance(60_000);
  await eventually(
    async () => (await cluster.list(types.services, { fieldSelector: 'metadata.name=kubernetes' })).items.length === 1,
  );
  const again = await cluster.get(types.services, key('kubernetes'));
  t.not(again.metadata.uid, made.metadata.uid);
  t.is(again.spec.clusterIP, '10.9.0.1', 'nobody else was given its address');
});

test('a ClusterIP service gets an address, defaults and an empty status', async (t) => {
  const { cluster } = await open(t);
  const { spec, status } = await cluster.create(types.services, service('a'));
  t.regex(spec.clusterIP!, /^10\.(9[6-9]|10\d|11[01])\.\d+\.\d+$/);
  t.deepEqual(spec.clusterIPs, [spec.clusterIP!]);
  t.like(spec, {
    type: 'ClusterIP',
    sessionAffinity: 'None',
    internalTrafficPolicy: 'Cluster',
    ipFamilies: ['IPv4'],
    ipFamilyPolicy: 'SingleStack',
    ports: [{ port: 80, protocol: 'TCP', targetPort: 80 }],
  });
  t.deepEqual(status, { loadBalancer: {} });
});

test('addresses are held once, given back, and known after a restart', async (t) => {
  const store = memoryStore(t);
  const one = await open(t, { store });
  const clusterIP = '10.96.7.7';
  await one.cluster.create(types.services, service('a', { clusterIP }));
  const taken = await refusal(t, one.cluster.create(types.services, service('b', { clusterIP })), 'INVALID');
  t.is(
    taken.message,
    'Service "b" is invalid: spec.clusterIPs: Invalid value: ["10.96.7.7"]: failed to allocate IP 10.96.7.7: provided IP is already allocated',
  );
  await one.cluster[Symbol.asyncDispose]();
  const { cluster } = await open(t, { store });
  await refusal(t, cluster.create(types.services, service('b', { clusterIP })), 'INVALID');
  await cluster.delete(types.services, key('a'));
  t.is((await cluster.create(types.services, service('b', { clusterIP }))).spec.clusterIP, clusterIP);
  await refusal(t, cluster.create(types.services, service('c', { clusterIP }), { dryRun: true }), 'INVALID');
});

test('a small range is used to its last address; a dry run and a refusal hold nothing', async (t) => {
  const { cluster } = await open(t, { serviceCidrs: ['10.9.0.0/29'] });
  // 8 addresses less network, broadcast and Service kubernetes.
  await cluster.create(types.services, service('dry'), { dryRun: true });
  await refusal(t, cluster.create(types.services, service('kubernetes')), 'ALREADY_EXISTS');
  const results = await Promise.all(
    Array.from({ length: 5 }, (_, index) => cluster.create(types.services, service(`s${index}`))),
  );
  const addresses = new Set(results.map(({ spec }) => spec.clusterIP));
  t.is(addresses.size, 5);
  t.regex(
    (await refusal(t, cluster.create(types.services, service('full')), 'INVALID')).message,
    /range 10\.9\.0\.0\/29 is full/,
  );
  await cluster.delete(types.services, key('s3'));
  t.true(addresses.has((await cluster.create(types.services, service('again'))).spec.clusterIP));
});

test('node ports', async (t) => {
  const { cluster } = await open(t, { nodePorts: { first: 30_000, last: 30_003 } });
  const a = await cluster.create(types.services, service('a', { type: 'NodePort' }));
  const port = a.spec.ports![0]!.nodePort!;
  t.true(port >= 30_000 && port <= 30_003);
  t.is(a.spec.externalTrafficPolicy, 'Cluster');
  const clash = service('b', { type: 'NodePort', ports: [{ port: 1, nodePort: port }] });
  t.regex(
    (await refusal(t, cluster.create(types.services, clash), 'INVALID')).message,
    /provided port is already allocated/,
  );
  const far = service('b', { type: 'NodePort', ports: [{ port: 1, nodePort: 40_000 }] });
  t.regex(
    (await refusal(t, cluster.create(types.services, far), 'INVALID')).message,
    /The range of valid ports is 30000-30003/,
  );
  const both: Service['spec']['ports'] = [
    { name: 'tcp', port: 53, protocol: 'TCP' },
    { name: 'udp', port: 53, protocol: 'UDP' },
    { name: 'x', port: 54 },
  ];
  const { spec } = await cluster.create(types.services, service('dns', { type: 'LoadBalancer', ports: both }));
  t.is(spec.ports![0]!.nodePort, spec.ports![1]!.nodePort);
  t.not(spec.ports![0]!.nodePort, spec.ports![2]!.nodePort);
  await cluster.create(types.services, service('last', { type: 'NodePort' }));
  t.regex(
    (await refusal(t, cluster.create(types.services, service('more', { type: 'NodePort' })), 'INVALID')).message,
    /range 30000-30003 is full/,
  );
});

test('types change into each other, and what the client leaves out stays', async (t) => {
  const { cluster } = await open(t);
  const a = await cluster.create(types.services, service('a', { type: 'NodePort' }));
  const nodePort = a.spec.ports![0]!.nodePort!;
  const put = (spec: Service['spec']) =>
    cluster.update(types.services, {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name: 'a', namespace: ns },
      spec,
    } as Service);
  const same = await put({ type: 'NodePort', ports: [{ port: 80, targetPort: 8080 }] });
  t.is(same.spec.clusterIP, a.spec.clusterIP);
  t.is(same.spec.ports![0]!.nodePort, nodePort);
  const patch = (body: object) => cluster.patch(types.services, key('a'), { kind: 'merge', body: { spec: body } });
  const plain = await patch({ type: 'ClusterIP' });
  t.is(plain.spec.ports![0]!.nodePort, undefined);
  t.is(plain.spec.externalTrafficPolicy, undefined);
  t.is(plain.spec.clusterIP, a.spec.clusterIP);
  await cluster.create(types.services, service('b', { type: 'NodePort', ports: [{ port: 1, nodePort }] }));
  const external = await patch({ type: 'ExternalName', externalName: 'example.com' });
  t.is(external.spec.clusterIP, undefined);
  t.is(external.spec.clusterIPs, undefined);
  await cluster.create(types.services, service('c', { clusterIP: a.spec.clusterIP! }));
  const back = await patch({ type: 'ClusterIP', externalName: null });
  t.truthy(back.spec.clusterIP);
  t.not(back.spec.clusterIP, a.spec.clusterIP, 'the old address belongs to somebody else now');
  const moved = await refusal(t, patch({ clusterIP: '10.96.9.9', clusterIPs: ['10.96.9.9'] }), 'INVALID');
  t.regex(moved.message, /spec\.clusterIPs\[0\]: Invalid value: \["10\.96\.9\.9"\]: may not change once set/);
});

test('headless and ExternalName services hold no address', async (t) => {
  const { cluster } = await open(t);
  const headless = await cluster.create(types.services, {
    metadata: { name: 'h', namespace: ns },
    spec: { clusterIP: 'None' },
  });
  t.deepEqual(headless.spec.clusterIPs, ['None']);
  const external = await cluster.create(types.services, {
    metadata: { name: 'e', namespace: ns },
    spec: { type: 'ExternalName', externalName: 'a.b' },
  });
  t.is(external.spec.clusterIP, undefined);
  t.is(external.spec.internalTrafficPolicy, undefined);
});

test('two families', async (t) => {
  const { cluster } = await open(t, { serviceCidrs: ['10.96.0.0/12', 'fd00:10:96::/112'] });
  const { spec } = await cluster.create(types.services, service('a', { ipFamilyPolicy: 'PreferDualStack' }));
  t.deepEqual(spec.ipFamilies, ['IPv4', 'IPv6']);
  t.regex(spec.clusterIPs![1]!, /^fd00:10:96::[0-9a-f]{1,4}$/);
  const six = await cluster.create(types.services, service('b', { clusterIP: 'fd00:10:96::77' }));
  t.deepEqual(six.spec.ipFamilies, ['IPv6']);
  for (const clusterIP of ['fd00:10:96::77', 'FD00:0010:96::0077']) {
    await refusal(t, cluster.create(types.services, service('c', { clusterIP })), 'INVALID');
  }
  t.is((await cluster.create(types.services, service('d'))).spec.clusterIPs!.length, 1);
});

test('a service is given its second address later, and gives it back', async (t) => {
  const { cluster } = await open(t, { serviceCidrs: ['10.96.0.0/12', 'fd00:10:96::/112'] });
  const { metadata, spec } = await cluster.create(types.services, service('a'));
  const patch = (body: Partial<Service['spec']>) =>
    cluster.patch(types.services, metadata, { kind: 'merge', body: { spec: body } });
  const two = await patch({ ipFamilyPolicy: 'RequireDualStack' });
  t.deepEqual(two.spec.ipFamilies, ['IPv4', 'IPv6']);
  t.deepEqual(two.spec.clusterIPs!.slice(0, 1), spec.clusterIPs);
  t.is(two.spec.clusterIPs!.length, 2);
  const contradicted = { ipFamilyPolicy: 'SingleStack', ipFamilies: ['IPv6', 'IPv4'] };
  await refusal(t, patch(contradicted), 'INVALID');
  const one = await patch({ ipFamilyPolicy: 'SingleStack' });
  t.deepEqual([one.spec.clusterIPs, one.spec.ipFamilies], [spec.clusterIPs, ['IPv4']]);
  const again = await cluster.create(types.services, service('b', { clusterIP: two.spec.clusterIPs![1]! }));
  t.deepEqual(again.spec.ipFamilies, ['IPv6'], 'the address was free again');
  const selfContradicting = service('c', { ipFamilyPolicy: 'SingleStack', ipFamilies: ['IPv4', 'IPv6'] });
  await refusal(t, cluster.create(types.services, selfContradicting), 'INVALID');
});

test('what a service may not say', async (t) => {
  const { cluster } = await open(t);
  const cases: [Service['spec'], string, RegExp][] = [
    [{ ports: [] }, 'spec.ports', /Required value/],
    [{ ports: [{ port: 0 }] }, 'spec.ports[0].port', /between 1 and 65535/],
    [{ ports: [{ port: 1 }, { port: 2 }] }, 'spec.ports[0].name', /Required value/],
    [
      {
        ports: [
          { name: 'a', port: 1 },
          { name: 'a', port: 2 },
        ],
      },
      'spec.ports[1].name',
      /Duplicate value: "a"/,
    ],
    [
      {
        ports: [
          { name: 'a', port: 1 },
          { name: 'b', port: 1 },
        ],
      },
      'spec.ports[1]',
      /Duplicate value/,
    ],
    [{ ports: [{ port: 1, targetPort: 'UPPER' }] }, 'spec.ports[0].targetPort', /alpha-numeric/],
    [{ ports: [{ port: 1, protocol: 'ICMP' }] }, 'spec.ports[0].protocol', /supported values: "SCTP", "TCP", "UDP"/],
    [
      { ports: [{ port: 1, nodePort: 30_000 }] },
      'spec.ports[0].nodePort',
      /may not be used when `type` is 'ClusterIP'/,
    ],
    [{ type: 'Magic' }, 'spec.type', /supported values: "ClusterIP", "ExternalName", "LoadBalancer", "NodePort"/],
    [{ sessionAffinity: 'Magic' }, 'spec.sessionAffinity', /supported values/],
    [{ clusterIP: 'x' }, 'spec.clusterIPs[0]', /must be a valid IP address/],
    [{ clusterIP: '192.168.1.1' }, 'spec.clusterIPs', /The range of valid IPs is 10\.96\.0\.0\/12/],
    [{ clusterIP: '10.96.0.0' }, 'spec.clusterIPs', /not in the valid range/],
    [{ clusterIP: 'None', type: 'NodePort' }, 'spec.clusterIPs[0]', /may not be set to 'None' for NodePort services/],
    [{ type: 'ExternalName' }, 'spec.externalName', /Required value/],
    [{ type: 'ExternalName', externalName: 'a', clusterIP: '10.96.3.3' }, 'spec.clusterIPs', /may not be set/],
    [{ selector: { 'a b': 'c' } }, 'spec.selector', /name part/],
    [{ externalIPs: ['x'] }, 'spec.externalIPs[0]', /valid IP/],
    [{ ipFamilyPolicy: 'RequireDualStack' }, 'spec.ipFamilyPolicy', /not configured for dual-stack/],
  ];
  for (const [spec, field, message] of cases) {
    const error = await refusal(t, cluster.create(types.services, service('bad', spec)), 'INVALID');
    const cause = error.details.causes?.find((each) => each.field === field);
    t.truthy(cause, `${field} in ${error.message}`);
    if (cause) t.regex(cause.message, message);
  }
});
