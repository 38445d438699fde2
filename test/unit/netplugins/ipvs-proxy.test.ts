import test from 'ava';
import type { ProxyPort } from '../../../kernel/contract/index.ts';
import { keyText } from '../../../netplugins/linux/ipvs-codec.ts';
import type { Context } from '../../../netplugins/linux/service-addresses.ts';
import { Claims } from '../../../netplugins/linux/claims.ts';
import { isOwnMark, markOf } from '../../../netplugins/proxies/ipvs/marks.ts';
import { renderPort, type Fragment } from '../../../netplugins/proxies/ipvs/render-port.ts';
import { rulesPicture } from '../../../netplugins/proxies/ipvs/rules.ts';
import { kernelSetName, setNames } from '../../../netplugins/proxies/ipvs/sets.ts';
import { plainEndpoint as endpoint, plainPort } from '../../../kernel/conformance/proxy/plain-port.ts';

const context: Context = {
  family: 'ip',
  nodeAddresses: ['192.0.2.9'],
  clusterCidrs: ['10.244.0.0/16'],
  serviceCidrs: ['10.96.0.0/12'],
};
const options = { scheduler: 'lc', affinityScheduler: 'mh' };

function port(change: Partial<ProxyPort> = {}): ProxyPort {
  return plainPort({
    clusterIps: ['10.96.0.1', 'fd96::1'],
    endpoints: [endpoint('10.244.1.2', { local: true }), endpoint('10.244.2.2')],
    ...change,
  });
}

/** Services as "key scheduler: address/weight ...", elements as "set element". */
function text({ services, entries, addresses }: Fragment): {
  services: string[];
  entries: string[];
  addresses: readonly string[];
} {
  return {
    services: services.map(
      ({ key, scheduler, persistenceSeconds, backends }) =>
        `${keyText(key)} ${scheduler}${persistenceSeconds === undefined ? '' : ` ${persistenceSeconds} s`}: ${backends.map(({ address, weight }) => `${address}/${weight}`).join(' ')}`,
    ),
    entries: entries.map(({ set, element }) => `${set} ${element}`).sort(),
    addresses,
  };
}
const render = (change: Partial<ProxyPort>, of = context) => text(renderPort(port(change), of, options));
const both = '10.244.1.2/1 10.244.2.2/1';
const hairpin = 'hairpin 10.244.1.2,tcp:8080,10.244.1.2';

test('a cluster address is one virtual service with all endpoints of the family', (t) => {
  t.deepEqual(render({}), {
    services: [`tcp 10.96.0.1 80 lc: ${both}`],
    entries: ['addresses 10.96.0.1', 'cluster 10.96.0.1,tcp:80', hairpin, 'served 10.96.0.1,tcp:80'],
    addresses: ['10.96.0.1'],
  });
});

test('without endpoints there is no virtual service', (t) => {
  const { services, entries } = render({ endpoints: [] });
  t.deepEqual(services, []);
  t.true(entries.includes('refuse 10.96.0.1,tcp:80'));
});

test('an endpoint that terminates and serves keeps what it has; alone, it gets all', (t) => {
  const leaving = endpoint('10.244.2.2', { ready: false, terminating: true });
  t.deepEqual(render({ endpoints: [endpoint('10.244.1.2'), leaving] }).services, [
    'tcp 10.96.0.1 80 lc: 10.244.1.2/1 10.244.2.2/0',
  ]);
  t.deepEqual(render({ endpoints: [leaving] }).services, ['tcp 10.96.0.1 80 lc: 10.244.2.2/1']);
});

test('when only the internal policy leaves none, packets are dropped', (t) => {
  const { services, entries } = render({ internalPolicy: 'Local', endpoints: [endpoint('10.244.2.2')] });
  t.deepEqual(services, []);
  t.true(entries.includes('drop 10.96.0.1,tcp:80'));
});

test('policy Local: outsiders reach local endpoints, pods and the node all of them by a mark', (t) => {
  const change = { clusterIps: [], nodePort: 30080, externalPolicy: 'Local' } as const;
  const mark = markOf(port(change));
  t.deepEqual(render(change), {
    services: [`mark ${mark} 2 lc: ${both}`, 'tcp 192.0.2.9 30080 lc: 10.244.1.2/1'],
    entries: [hairpin, 'inside 192.0.2.9,tcp:30080', 'served 192.0.2.9,tcp:30080'],
    addresses: [],
  });
  const remote = render({ ...change, endpoints: [endpoint('10.244.2.2')] });
  t.deepEqual(remote.services, [`mark ${mark} 2 lc: 10.244.2.2/1`]);
  t.true(remote.entries.includes('drop-outside 192.0.2.9,tcp:30080'));
});

test('affinity is persistence, with the scheduler that sends a client to one endpoint by all addresses', (t) => {
  t.deepEqual(render({ affinitySeconds: 600, nodePort: 30080 }).services, [
    `tcp 10.96.0.1 80 mh 600 s: ${both}`,
    `tcp 192.0.2.9 30080 mh 600 s: ${both}`,
  ]);
});

test('source ranges restrict the balancer address; a balancer address of the node stays the node’s', (t) => {
  const change = { clusterIps: [], loadBalancerIps: ['192.0.2.9'], loadBalancerSourceRanges: ['203.0.113.0/24'] };
  const { entries, addresses } = render(change);
  t.deepEqual(addresses, []);
  t.deepEqual(
    entries.filter((entry) => /^(allowed|restricted|addresses)/.test(entry)),
    ['allowed 192.0.2.9,tcp:80,203.0.113.0/24', 'restricted 192.0.2.9,tcp:80'],
  );
});

test('marks are told from others, and leave the bits of kube-proxy alone', (t) => {
  for (const service of ['a', 'b', 'c', 'd']) {
    const mark = markOf(port({ service }));
    t.true(isOwnMark(mark));
    t.is(mark & 0xc000, 0);
  }
  t.false(isOwnMark(0x4000));
  t.false(isOwnMark(0x50001000));
});

test('the rules name every set and nothing of a Service', (t) => {
  const rules = JSON.stringify(
    Object.values(rulesPicture(context, 12)).map(({ chains, hooks }) => [[...chains], hooks]),
  );
  // Only the record of what is served is read by the proxy itself, and by the rules too.
  for (const set of setNames) t.true(rules.includes(kernelSetName('ip', set)), set);
  t.notRegex(rules, /10\.96\.0\.[1-9]/);
});

test('of two claims the first counts until it is let go', (t) => {
  const claims = new Claims<number>();
  const [one, two] = [{}, {}];
  claims.add(one, 'a', 1);
  claims.add(two, 'a', 2);
  t.deepEqual(claims.takeChanges(), [{ key: 'a', before: undefined, after: 1 }]);
  claims.remove(one, 'a');
  t.deepEqual(claims.takeChanges(), [{ key: 'a', before: 1, after: 2 }]);
  claims.add(one, 'a', 2);
  claims.remove(two, 'a');
  t.deepEqual(claims.takeChanges(), []);
  claims.remove(one, 'a');
  t.deepEqual(claims.takeChanges(), [{ key: 'a', before: 2, after: undefined }]);
  t.is(claims.size, 0);
});
