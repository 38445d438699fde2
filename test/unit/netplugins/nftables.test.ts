import test from 'ava';
import type { ProxyEndpoint, ProxyPort } from '../../../kernel/contract/index.ts';
import type { ConntrackEntry } from '../../../netplugins/linux/conntrack.ts';
import { NftElementWriter } from '../../../netplugins/linux/nft-element-writer.ts';
import { PortFragments } from '../../../netplugins/linux/port-fragments.ts';
import { rangesOf, usable, type Context } from '../../../netplugins/linux/service-addresses.ts';
import { affectedTargets, staleFlows, udpTargetsOf } from '../../../netplugins/linux/udp-flows.ts';
import { renderFamilyChains, renderPort, stableOrder } from '../../../netplugins/proxies/nftables/render-port.ts';
import { renderShape, sizeFor } from '../../../netplugins/proxies/nftables/shapes.ts';
import { elementChanges, renderDifference, renderSwitch } from '../../../netplugins/proxies/nftables/render-table.ts';
import {
  drawnSlots,
  isElementsOnly,
  parts,
  sizeOf,
  steps,
  type Fragment,
} from '../../../netplugins/proxies/nftables/table-change.ts';
import { TableWishes } from '../../../netplugins/proxies/nftables/table-wishes.ts';
import { plainEndpoint, plainPort } from '../../../kernel/conformance/proxy/plain-port.ts';

const context: Context = {
  family: 'ip',
  nodeAddresses: ['192.168.0.1'],
  clusterCidrs: ['10.244.0.0/16'],
  serviceCidrs: ['10.96.0.0/12'],
};
const local = plainEndpoint('10.244.1.2', { local: true });
const remote = plainEndpoint('10.244.2.2');

const port = (change: Partial<ProxyPort> = {}): ProxyPort =>
  plainPort({
    namespace: 'n',
    service: 's',
    endpoints: [local, remote],
    ...change,
  });

const elements = (one: ProxyPort): string[] =>
  renderPort(one, context).elements.map(({ set, key, data }) => `${set}: ${key}${data === '' ? '' : ` = ${data}`}`);

test('a cluster address with two endpoints: elements only', (t) => {
  t.deepEqual(elements(port()), [
    'hairpin: 10.244.1.2 . 10.244.1.2',
    'cluster-ips: 10.96.0.1',
    'slots-0: 10.96.0.1 . tcp . 80 = 10.244.1.2 . 8080',
    'slots-1: 10.96.0.1 . tcp . 80 = 10.244.2.2 . 8080',
    'masquerade-outside: 10.96.0.1 . tcp . 80',
  ]);
  t.deepEqual(renderPort(port(), context).chains, []);
});

const many = Array.from({ length: drawnSlots + 1 }, (_, index) => ({ ...remote, address: `10.244.3.${index}` }));

test('as many endpoints as the rules for all draw from are elements; so is one more, of a shape', (t) => {
  const most = renderPort(port({ endpoints: many.slice(1) }), context);
  t.deepEqual(most.chains, []);
  t.false(most.elements.some(({ set }) => set === 'shapes'));
  const more = elements(port({ endpoints: many }));
  t.true(more.includes('shapes: 10.96.0.1 . tcp . 80 = 0:a'));
  t.true(more.includes('shape-chains: 0:a = goto pick-32%'));
  t.deepEqual(
    more.filter((one) => one.startsWith('endpoints: ')),
    many.map(({ address }, slot) => `endpoints: 10.96.0.1 . tcp . 80 . 1:${slot.toString(16)} = ${address} . 8080`),
  );
  const usual = wishesOf(renderFamilyChains(context));
  usual.takeWhole();
  usual.claim(renderPort(port({ endpoints: many, affinitySeconds: 10_800, nodePort: 30080 }), context));
  t.true(isElementsOnly(usual.takeChange()), 'its chains are there before it');
});

/** How often a chain draws each of `count` slots: of all packets. */
function odds(rules: readonly string[], count: number): number[] {
  const drawn = Array.from({ length: count }, () => 0);
  let left = 1;
  for (const rule of rules) {
    const [, from] = /numgen random mod (\d+) offset 65536/.exec(rule) ?? [];
    const [, one = '1'] = /^numgen random mod (\d+) 0 /.exec(rule) ?? [];
    const slots = from === undefined ? [Number.parseInt(/set 1:(\w+)/.exec(rule)?.[1] ?? '', 16)] : drawn.keys();
    const each = left / Number(from ?? one);
    // A slot that the address does not have is passed over.
    for (const slot of [...slots].filter((slot) => slot < Math.min(count, Number(from ?? count)))) {
      drawn[slot]! += each;
      left -= each;
    }
  }
  return drawn;
}

test('a shape draws each endpoint about as often, and nobody is left over', (t) => {
  for (const [seconds, name] of [
    [0, 'pick'],
    [60, 'find'],
  ] as const)
    for (const count of [1, 2, 15, 16, 17, 31, 32, 33, 40, 64, 100]) {
      const shape = { seconds, size: sizeFor(count), isLocal: false };
      if (shape.size === drawnSlots && seconds === 0) continue;
      const chain = renderShape(shape, 'ip').chains.find((one) => one.name === `${name}-${shape.size}%`);
      const drawing = chain?.rules.filter((rule) => !rule.includes('@clients')) ?? [];
      const shares = odds(drawing, count);
      t.true(Math.abs(shares.reduce((sum, share) => sum + share) - 1) < 1e-9, 'nobody is left over');
      for (const [slot, share] of shares.entries())
        t.true(Math.abs(share * count - 1) < (count > drawnSlots ? 0.01 : 1e-9), `slot ${slot} of ${count}: ${share}`);
    }
});

test('the rules for all draw each endpoint of an address as often, however many it has', (t) => {
  const draw = renderFamilyChains(context).chains.find(({ name }) => name === 'draw%')?.rules ?? [];
  t.is(draw[0], 'meta priority set ip daddr . meta l4proto . th dport map @shapes% meta priority vmap @shape-chains%');
  const tries = draw.slice(1).map((rule) => {
    const [, odds = '1', slot = ''] = /^(?:numgen random mod (\d+) 0 )?dnat .* map @slots-(\d+)%$/.exec(rule) ?? [];
    return { odds: 1 / Number(odds), slot: Number(slot) };
  });
  t.deepEqual(
    tries.map(({ slot }) => slot),
    [...tries.keys()].reverse(),
  );
  for (let count = 1; count <= drawnSlots; count += 1) {
    let left = 1;
    for (const { odds, slot } of tries) {
      // A slot that the address does not have is passed over.
      if (slot >= count) continue;
      t.true(Math.abs(left * odds - 1 / count) < 1e-9, `slot ${slot} of ${count}`);
      left -= left * odds;
    }
    t.true(Math.abs(left) < 1e-9, 'nobody is left over');
  }
});

test('of two addresses of a port that are one, the first counts', (t) => {
  t.deepEqual(elements(port({ externalIps: ['10.96.0.1'], externalPolicy: 'Local' })), elements(port()));
});

test('no endpoints: refused; none left by the local policy: dropped', (t) => {
  t.true(elements(port({ endpoints: [] })).includes('no-endpoints: 10.96.0.1 . tcp . 80'));
  t.true(
    elements(port({ internalPolicy: 'Local', endpoints: [remote] })).includes('shapes: 10.96.0.1 . tcp . 80 = 0:1'),
  );
  t.true(
    renderFamilyChains(context).elements.some(
      ({ set, key, data }) => `${set} ${key} ${data}` === 'shape-chains 0:1 drop',
    ),
  );
  t.true(elements(port({ internalPolicy: 'Local', endpoints: [] })).includes('no-endpoints: 10.96.0.1 . tcp . 80'));
});

test('an external local policy keeps the client, but not for pods and the node', (t) => {
  const one = port({ clusterIps: [], nodePort: 30080, externalPolicy: 'Local' });
  t.deepEqual(elements(one).slice(1), [
    'slots-0: 192.168.0.1 . tcp . 30080 = 10.244.1.2 . 8080',
    'slots-1: 192.168.0.1 . tcp . 30080 = 10.244.2.2 . 8080',
    'masquerade-node: 192.168.0.1 . tcp . 30080',
    'local-slots-0: 192.168.0.1 . tcp . 30080 = 10.244.1.2 . 8080',
    'external-local: 192.168.0.1 . tcp . 30080',
  ]);
  const common = renderFamilyChains(context).chains;
  t.deepEqual(common.find(({ name }) => name === 'external-local%')?.rules, [
    'ip saddr @cluster-cidrs% goto draw%',
    'fib saddr type local goto draw%',
    'goto local-draw%',
  ]);
  t.is(common.find(({ name }) => name === 'local-draw%')?.rules.at(-1), 'drop', 'none is here');
  const large = { ...one, endpoints: [local, ...many] };
  const external = elements(large).filter((one) => / 192\.168\.0\.1 /.test(one));
  t.true(external.includes('shapes: 192.168.0.1 . tcp . 30080 = 0:a'));
  t.true(external.includes('local-slots-0: 192.168.0.1 . tcp . 30080 = 10.244.1.2 . 8080'));
  t.true(external.includes('external-local: 192.168.0.1 . tcp . 30080'));
  const most = { ...one, endpoints: many.map((each) => ({ ...each, local: true })) };
  t.true(elements(most).includes('local-shapes: 192.168.0.1 . tcp . 30080 = 0:b'));
  t.true(elements(most).includes('endpoints: 192.168.0.1 . tcp . 30080 . 2:0 = 10.244.3.0 . 8080'));
});

test('source ranges: of the family, none inside another, the balancer address itself when the node is allowed', (t) => {
  const restricted = (...loadBalancerSourceRanges: string[]): string[] =>
    elements(port({ clusterIps: [], loadBalancerIps: ['192.0.2.1'], loadBalancerSourceRanges })).filter((one) =>
      /^(restricted|allowed)/.test(one),
    );
  t.deepEqual(restricted('10.0.0.0/8', '10.1.0.0/16', 'fd00::/8'), [
    'restricted: 192.0.2.1 . tcp . 80',
    'allowed: 192.0.2.1 . tcp . 80 . 10.0.0.0/8',
  ]);
  t.deepEqual(restricted('192.168.0.0/24'), [
    'restricted: 192.0.2.1 . tcp . 80',
    'allowed: 192.0.2.1 . tcp . 80 . 192.168.0.0/24',
    'allowed: 192.0.2.1 . tcp . 80 . 192.0.2.1',
  ]);
  t.deepEqual(restricted('0.0.0.0/0', '10.0.0.0/8'), []);
  t.deepEqual(rangesOf(['10.0.0.0/8', '10.0.0.0/8', '11.0.0.1/8'], 'ip'), ['10.0.0.0/8', '11.0.0.0/8']);
});

test('what is no address never reaches nft', (t) => {
  const evil = '10.0.0.1 } ; flush ruleset ; add element ip x y { 1.1.1.1';
  const found = elements(
    port({ clusterIps: ['None', '', evil], externalIps: [evil], endpoints: [{ ...local, address: evil }] }),
  );
  t.deepEqual(found, []);
});

const idsOf = (one: ProxyPort): string[] =>
  renderPort(one, context).elements.flatMap(({ set, data }) => (set === 'ids' ? [data] : []));

test('session affinity: an endpoint has a number of its own, the same at each address; chains are by time-out', (t) => {
  const sticky = port({ affinitySeconds: 60, nodePort: 30080, externalPolicy: 'Local' });
  const ids = idsOf(sticky);
  t.deepEqual([ids.length, new Set(ids).size], [5, 2], 'two addresses, and the local endpoint of one');
  const [first, second] = ids;
  t.deepEqual(
    elements(sticky).filter((one) => one.includes('10.96.0.1 . ')),
    [
      'shapes: 10.96.0.1 . tcp . 80 = 0:f08',
      `ids: 10.96.0.1 . tcp . 80 . 1:0 = ${first}`,
      `endpoints: 10.96.0.1 . tcp . 80 . ${first} = 10.244.1.2 . 8080`,
      `ids: 10.96.0.1 . tcp . 80 . 1:1 = ${second}`,
      `endpoints: 10.96.0.1 . tcp . 80 . ${second} = 10.244.2.2 . 8080`,
      'masquerade-outside: 10.96.0.1 . tcp . 80',
    ],
  );
  t.deepEqual(
    elements(sticky).filter((one) => one.startsWith('shape-chains')),
    ['shape-chains: 0:f08 = goto sticky-60-16%', 'shape-chains: 0:f09 = goto local-sticky-60-16%'],
  );
  t.deepEqual(renderPort(sticky, context).chains.find(({ name }) => name === 'sticky-60-16%')?.rules, [
    'jump find-16%',
    'update @clients { meta priority . ip saddr timeout 60s }',
    'dnat ip to ip daddr . meta l4proto . th dport . meta priority map @endpoints%',
  ]);
  t.deepEqual(idsOf({ ...sticky, endpoints: [remote] }), [second, second], 'whatever others there are');
  for (const other of [{ affinitySeconds: 61 }, { service: 'other' }, { name: 'other' }, { protocol: 'UDP' } as const])
    t.false(idsOf({ ...sticky, ...other }).includes(first!), JSON.stringify(other));
});

test('two endpoints of one Service never have one number', (t) => {
  const numbers = new Map<string, ProxyEndpoint>();
  for (let index = 0; ; index += 1) {
    const next = { ...remote, address: `10.${index >> 16}.${(index >> 8) & 255}.${index & 255}` };
    const [id = ''] = idsOf(port({ affinitySeconds: 60, endpoints: [next] }));
    const twin = numbers.get(id);
    numbers.set(id, next);
    if (twin === undefined) continue;
    const together = idsOf(port({ affinitySeconds: 60, endpoints: [twin, next] }));
    t.is(new Set(together).size, 2);
    return t.is(together[0], id);
  }
});

test('endpoints with affinity that went are told once, and not those that another needs', (t) => {
  const one = renderPort(port({ affinitySeconds: 60 }), context);
  const two = renderPort(port({ affinitySeconds: 60, endpoints: [local] }), context);
  const wishes = wishesOf(one);
  const [kept = '', lost = ''] = idsOf(port({ affinitySeconds: 60 }));
  t.false(wishes.takeForgotten());
  t.true(replace(wishes, one, two).takeForgotten());
  t.false(wishes.takeForgotten());
  t.deepEqual([wishes.hasId(kept), wishes.hasId(lost)], [true, false]);
});

test('usable endpoints: the ready; else those that terminate and serve', (t) => {
  const leaving = { ...remote, ready: false, terminating: true };
  t.deepEqual(usable([local, leaving]), [local]);
  t.deepEqual(usable([{ ...local, ready: false }, leaving]), [leaving]);
  t.deepEqual(usable([{ ...leaving, serving: false }]), []);
});

for (const [before, after, expected] of [
  ['', 'abc', 'abc'],
  ['abc', 'abc', 'abc'],
  ['abc', 'ac', 'ac'],
  ['abcd', 'bcd', 'dbc'],
  ['abcd', 'bcda', 'abcd'],
  ['abc', 'xbc', 'xbc'],
  ['abc', 'c', 'c'],
] as const)
  test(`endpoints keep their numbers: ${before || 'none'} becomes ${after}`, (t) => {
    const kept = stableOrder([...before], [...after]);
    t.is([...kept].sort().join(''), [...after].sort().join(''));
    if (before.length === after.length || expected.length <= 3) t.deepEqual([...kept].sort(), [...expected].sort());
    const moved = kept.filter((one, index) => before.includes(one) && before[index] !== one).length;
    t.true(moved <= Math.max(0, before.length - after.length), `${moved} moved`);
  });

function wishesOf(...fragments: readonly Fragment[]): TableWishes {
  const wishes = new TableWishes();
  for (const fragment of fragments) wishes.claim(fragment);
  return wishes;
}

function replace(wishes: TableWishes, before: Fragment, after: Fragment): TableWishes {
  wishes.claim(after);
  wishes.release(before);
  return wishes;
}

test('a difference is its own inverse, and nothing for equal fragments', (t) => {
  const one = renderPort(port(), context);
  const two = renderPort(port({ endpoints: [remote], nodePort: 30080 }), context);
  const wishes = wishesOf(one);
  const whole = wishes.takeWhole();
  t.deepEqual(wishesOf(one).takeChange(), whole, 'from nothing, the whole');
  t.is(sizeOf(wishes.takeChange()), 0);
  const equal = renderPort(port(), context);
  t.is(sizeOf(replace(wishes, one, equal).takeChange()), 0);
  const there = replace(wishes, equal, two).takeChange();
  const back = replace(wishes, two, one).takeChange();
  const sorted = (list: readonly object[]): string[] => list.map((one) => JSON.stringify(one)).sort();
  t.deepEqual(sorted(there.added), sorted(back.removed));
  t.deepEqual(sorted(there.removed), sorted(back.added));
  const sticky = renderPort(port({ affinitySeconds: 60 }), context);
  const other = renderPort(port({ affinitySeconds: 60, service: 'other', clusterIps: ['10.96.0.2'] }), context);
  const grown = replace(wishes, one, sticky).takeChange();
  t.deepEqual(
    grown.chains.map(({ name }) => name),
    ['find-16%', 'sticky-60-16%'],
  );
  wishes.claim(other);
  t.deepEqual(wishes.takeChange().chains, [], 'another of the shape needs no chain');
  t.deepEqual(replace(wishes, sticky, one).takeChange().staleChains, []);
  t.true(wishes.names().has('sticky-60-16%'));
  wishes.release(other);
  const gone = wishes.takeChange();
  t.deepEqual(gone.staleChains, ['find-16%', 'sticky-60-16%'], 'the last of the shape takes them along');
  t.true(gone.removed.some(({ set }) => set === 'shape-chains'));
});

test('two services that claim one address: the first has it', (t) => {
  const first = renderPort(port({ endpoints: [local] }), context);
  const second = renderPort(port({ service: 'thief', endpoints: [remote] }), context);
  const slot = (change: ReturnType<TableWishes['takeWhole']>): string[] =>
    change.added.filter(({ set }) => set === 'slots-0').map(({ data }) => data);
  const wishes = wishesOf(first, second);
  t.deepEqual(slot(wishes.takeWhole()), ['10.244.1.2 . 8080']);
  wishes.release(first);
  t.deepEqual(slot(wishes.takeChange()), ['10.244.2.2 . 8080'], 'until it lets go');
  const sets = (fragment: Fragment): string[] => {
    const { added } = wishesOf(first, fragment).takeWhole();
    return [...new Set(added.map(({ set }) => set))];
  };
  const alone = ['hairpin', 'cluster-ips', 'slots-0', 'masquerade-outside'];
  t.deepEqual(sets(renderPort(port({ service: 'larger', endpoints: [local, remote] }), context)), alone);
  t.deepEqual(sets(renderPort(port({ service: 'empty', endpoints: [] }), context)), alone);
});

test('of a list of ports only what changed is rendered; what they depend on changes all', (t) => {
  const ports = [1, 2, 3, 4].map((index) => port({ service: `s${index}` }));
  const fragments = new PortFragments<{ readonly of: string }>();
  let rendered = 0;
  const render = (one: ProxyPort): { readonly of: string } => {
    rendered += 1;
    return { of: one.service };
  };
  const update = (list: readonly ProxyPort[], basis = 'a'): string => {
    const { came, gone } = fragments.update(list, basis, render);
    const names = (of: typeof came): string => of.map(({ port: { service } }) => service).join(' ');
    return `+ ${names(came)} - ${names(gone)}`;
  };
  t.is(update(ports), '+ s1 s2 s3 s4 - ');
  t.is(update([...ports]), '+  - ');
  const [one, two, three, four] = ports as [ProxyPort, ProxyPort, ProxyPort, ProxyPort];
  t.is(update([one, three, two, port({ service: 'new' }), four]), '+ new - ');
  t.is(update([one, two, four]), '+  - s3 new');
  t.is(rendered, 5);
  t.deepEqual(
    fragments.list.map(({ of }) => of),
    ['s1', 's2', 's4'],
  );
  t.is(fragments.of(four)?.of, 's4');
  t.is(fragments.of(three), undefined);
  t.is(update([one, two, four], 'b'), '+ s1 s2 s4 - s1 s2 s4');
});

test('what goes to the kernel as elements is laid out as nft lays it out', (t) => {
  const writer = new NftElementWriter();
  const hex = (key: string, data = '', isInterval = false): string => {
    writer.add({ key, data }, isInterval);
    return writer.take().toString('hex');
  };
  const key = '14000180100001000a6000010600000000500000';
  t.is(hex('10.96.0.1 . tcp . 80', 'drop'), `28000180${key}100002800c0002800800010000000000`);
  t.is(
    hex('10.96.0.1 . tcp . 80', 'goto pick-1-b'),
    `38000180${key}200002801c00028008000100fffffffc0d000200${Buffer.from('pick-1-b').toString('hex')}00000000`,
  );
  t.is(hex('10.96.0.1 . tcp . 80', '10.244.1.2 . 8080'), `28000180${key}100002800c0001000af401021f900000`);
  const numbered = '18000180140001000a6000010600000000500000301a0a00';
  t.is(hex('10.96.0.1 . tcp . 80 . a:1a30', '0:a'), `28000180${numbered}0c000280080001000a000000`);
  t.is(hex('10.244.1.2 . 10.244.1.2'), '14000180100001800c0001000af401020af40102');
  const range = hex('10.96.0.1 . udp . 53 . 192.0.2.128/25', '', true);
  t.true(range.endsWith('1800' + '0a80140001000a6000011100000000350000c00002ff'), range);
  t.true(range.includes('0a6000011100000000350000c0000280'));
  t.true(hex('fd96::1 . tcp . 80 . fd00::/8', '', true).endsWith(`fd${'f'.repeat(30)}`));
  // More than the buffer was made for, each with the padding of what was there before.
  const many = Array.from({ length: 2_000 }, (_, index) => `10.96.${index >> 8}.${index & 255} . tcp . 80`);
  const each = many.map((one) => hex(one, 'goto pick-1-b'));
  for (const one of many) writer.add({ key: one, data: 'goto pick-1-b' }, false);
  t.is(writer.length, each.join('').length / 2);
  t.is(writer.take().toString('hex'), each.join(''));
  t.is(writer.length, 0);
});

test('elements alone need no nft; chains and plain ranges do', (t) => {
  t.false(isElementsOnly(wishesOf(renderPort(port({ endpoints: many }), context)).takeWhole()), 'a chain');
  const wishes = wishesOf(renderPort(port(), context));
  t.true(isElementsOnly(wishes.takeWhole()));
  const more = renderPort(port({ service: 'more', clusterIps: ['10.96.0.2'] }), context);
  wishes.claim(more);
  const change = wishes.takeChange();
  t.true(isElementsOnly(change));
  t.deepEqual(
    elementChanges(change, '-b').map(({ verb, set, elements: of }) => [verb, set, of[0]?.data]),
    [
      ['add', 'cluster-ips-b', ''],
      ['add', 'slots-0-b', '10.244.1.2 . 8080'],
      ['add', 'slots-1-b', '10.244.2.2 . 8080'],
      ['add', 'masquerade-outside-b', ''],
    ],
  );
  t.false(isElementsOnly({ ...change, added: [{ set: 'cluster-cidrs', key: '10.0.0.0/8', data: '' }] }));
});

test('a change is made in steps: chains that nothing leads to yet, then elements alone', (t) => {
  const sticky = renderPort(port({ affinitySeconds: 60 }), context);
  const wishes = wishesOf(sticky);
  const made = [...steps(wishes.takeWhole())];
  t.deepEqual(made.map(isElementsOnly), [false, true]);
  t.true(made[0]!.chains.length > 0 && made[0]!.added.length === 0);
  const change = replace(wishes, sticky, renderPort(port({ endpoints: many }), context)).takeChange();
  t.deepEqual([...steps(change)].map(isElementsOnly), [false, true]);
  t.deepEqual(change.staleChains, ['find-16%', 'sticky-60-16%']);
  const range = { ...change, added: [...change.added, { set: 'cluster-cidrs', key: '10.0.0.0/8', data: '' } as const] };
  t.deepEqual([...steps(range)], [range], 'a plain range is for nft, and so is all that comes with it');
});

test('a large difference is cut between service addresses, never within one', (t) => {
  const list = Array.from({ length: 100 }, (_, index) =>
    port({ service: `s${index}`, clusterIps: [`10.96.1.${index}`] }),
  );
  const change = wishesOf(...list.map((one) => renderPort(one, context))).takeWhole();
  const cut = [...parts(change, 50)];
  t.true(cut.length > 4);
  t.is(
    cut.reduce((sum, part) => sum + part.added.length, 0),
    change.added.length,
  );
  const whereabouts = new Map<string, number>();
  for (const [index, part] of cut.entries())
    for (const { set, key } of part.added)
      if (['slots-0', 'slots-1', 'masquerade-outside'].includes(set)) {
        t.is(whereabouts.get(key) ?? index, index, key);
        whereabouts.set(key, index);
      }
  t.deepEqual(cut[0]?.chains, change.chains);
  t.is(cut.slice(1).flatMap((part) => part.chains).length, 0);
  t.true(
    cut.every(({ added }) => added.length <= 55),
    'neither what is whole by itself makes a large part',
  );
  const away = [...parts({ ...change, removed: change.added, added: [], chains: [] }, 50)];
  t.true(away.every(({ removed }) => removed.length > 0 && removed.length <= 55));
  t.is(new Set(away.flatMap(({ removed }) => removed)).size, change.added.length);
});

test('the text of a change: removals before additions, one line a set', (t) => {
  const before = renderPort(port(), context);
  const wishes = wishesOf(before);
  wishes.takeWhole();
  const change = replace(wishes, before, renderPort(port({ endpoints: [remote] }), context)).takeChange();
  t.deepEqual(renderDifference(change, 'ip', '-b'), [
    `delete element ip pintle-proxy hairpin-b { 10.244.1.2 . 10.244.1.2 }
delete element ip pintle-proxy slots-0-b { 10.96.0.1 . tcp . 80 }
delete element ip pintle-proxy slots-1-b { 10.96.0.1 . tcp . 80 }
add element ip pintle-proxy slots-0-b { 10.96.0.1 . tcp . 80 : 10.244.2.2 . 8080 }
`,
  ]);
});

test('many rules are several transactions, and nothing leads to them before the last', (t) => {
  const chains = renderShape({ seconds: 60, size: 1_024, isLocal: false }, 'ip');
  const change = { removed: [], added: chains.elements, chains: chains.chains, staleChains: [] };
  const texts = renderDifference(change, 'ip', '-a');
  const rulesOf = (text: string): number => text.split('\n').filter((line) => line.startsWith('add rule')).length;
  const counts = texts.map(rulesOf);
  t.true(counts.length > 1);
  t.true(counts.every((count) => count <= 150));
  t.is(
    counts.reduce((sum, count) => sum + count, 0),
    chains.chains.flatMap(({ rules }) => rules).length,
  );
  t.deepEqual(
    texts.map((text) => text.includes('add element')),
    counts.map((_, index) => index === counts.length - 1),
  );
  t.true(
    chains.chains.every(({ name }) => texts[0]!.includes(`add chain ip pintle-proxy ${name.replace('%', '-a')}\n`)),
  );
});

test('the switch leaves one table of ours', (t) => {
  t.regex(
    renderSwitch('ip', '-a'),
    /^add table ip pintle-proxy-stand-in\ndelete table ip pintle-proxy-stand-in\nadd chain ip pintle-proxy /,
  );
  const standIn = renderSwitch('ip', '-a', 'pintle-proxy-stand-in');
  t.regex(standIn, /^add table ip pintle-proxy\ndelete table ip pintle-proxy\nadd chain ip pintle-proxy-stand-in /);
  t.is(standIn.match(/ pintle-proxy /g)?.length, undefined, 'and nothing of the other');
});

test('the switch names one generation only and flushes before it adds', (t) => {
  const text = renderSwitch('ip6', '-b');
  t.notRegex(text, /%|-a /);
  t.regex(
    text,
    /flush chain ip6 pintle-proxy nat-prerouting\nadd rule ip6 pintle-proxy nat-prerouting ip6 daddr \. meta l4proto \. th dport @external-local-b goto external-local-b\n/,
  );
});

const udp = (...endpoints: ProxyEndpoint[]): ProxyPort => port({ protocol: 'UDP', endpoints });
const flow = (destination: string, endpoint: string): ConntrackEntry => {
  const [address = '', at = ''] = endpoint.split(':');
  const [to = '', toPort = ''] = destination.split(':');
  return {
    family: 2,
    protocol: 17,
    original: { source: '10.244.1.9', sourcePort: 5000, destination: to, destinationPort: Number(toPort) },
    reply: { source: address, sourcePort: Number(at), destination: '10.244.1.9', destinationPort: 5000 },
    handle: { tuple: Buffer.alloc(0), id: Buffer.alloc(0) },
  };
};

test('UDP: only flows of endpoints that are gone are stale', (t) => {
  const targets = (...ports: ProxyPort[]) => udpTargetsOf(ports, context);
  const vip = '10.96.0.1:80';
  const flows = [flow(vip, '10.244.1.2:8080'), flow(vip, '10.244.2.2:8080'), flow('10.96.0.9:80', '10.244.2.2:8080')];
  const stale = (before: ReturnType<typeof targets> | undefined, after: ReturnType<typeof targets>): string[] =>
    staleFlows(flows, affectedTargets(before, after)).map(
      ({ original, reply }) => `${original.destination} ${reply.source}`,
    );
  t.deepEqual(stale(targets(udp(local, remote)), targets(udp(local))), ['10.96.0.1 10.244.2.2'], 'one of two gone');
  t.deepEqual(stale(targets(udp(local, remote)), targets(udp(local, remote))), [], 'nothing changed');
  t.deepEqual(stale(targets(udp(local)), targets(udp(local, remote))), [], 'one more');
  t.deepEqual(
    stale(targets(udp(local, remote)), targets()),
    ['10.96.0.1 10.244.1.2', '10.96.0.1 10.244.2.2'],
    'Service gone',
  );
  t.deepEqual(stale(undefined, targets(udp(local))), ['10.96.0.1 10.244.2.2'], 'after a restart: no living flow');
  const leaving = { ...remote, ready: false, terminating: true };
  t.deepEqual(stale(targets(udp(local, remote)), targets(udp(local, leaving))), [], 'terminating, still serving');
  t.is(targets(port()).size, 0, 'TCP is left alone');
  const untranslated = [flow(vip, vip)];
  t.is(staleFlows(untranslated, affectedTargets(targets(udp()), targets(udp(local)))).length, 1, 'from none to one');
});
