import test from 'ava';
import type { ProxyPort } from '../../../kernel/contract/index.ts';
import {
  changeText,
  isWhole,
  readSave,
  rebuild,
  removalText,
  tableDifference,
  type TablePicture,
} from '../../../netplugins/linux/iptables-picture.ts';
import type { Context } from '../../../netplugins/linux/service-addresses.ts';
import { compose, renderPort } from '../../../netplugins/proxies/iptables/render.ts';
import { plainEndpoint, plainPort } from '../../../kernel/conformance/proxy/plain-port.ts';

const picture = (
  chains: Record<string, string>,
  list: Record<string, string> = {},
  hooks: TablePicture['hooks'] = [{ chain: 'OUTPUT', rule: '-j PINTLE-A' }],
): TablePicture => ({
  chains: new Map(Object.entries(chains)),
  lists: new Map([['PINTLE-LIST', new Map(Object.entries(list))]]),
  hooks,
});

test('only chains and rules that differ are sent', (t) => {
  const before = picture(
    { 'PINTLE-A': '-j RETURN', 'PINTLE-B': '-j DROP', 'PINTLE-C': 'x\ny' },
    { a: 'one', b: 'two' },
  );
  const after = picture({ 'PINTLE-A': '-j RETURN', 'PINTLE-C': 'x\nz', 'PINTLE-D': 'new' }, { a: 'one', b: 'three' });
  const change = tableDifference(before, after);
  t.is(
    changeText('nat', change, 400),
    [
      '*nat',
      ':PINTLE-D - [0:0]',
      ':PINTLE-C - [0:0]',
      '-A PINTLE-C x',
      '-A PINTLE-C z',
      '-A PINTLE-D new',
      '-A PINTLE-LIST three',
      '-D PINTLE-LIST two',
      ':PINTLE-B - [0:0]',
      '-X PINTLE-B',
      'COMMIT\n',
    ].join('\n'),
  );
  t.is(change.size, 2 + 2 + 2 + 2, 'y and z; D and its rule; three and two; B and its rule');
  t.is(tableDifference(after, after).size, 0);
  t.is(changeText('nat', tableDifference(after, after), 400), '');
  t.is(changeText('nat', change, 400, 'additions') === changeText('nat', change, 400, 'removals'), false);
});

test('the same rules in another order are a change, but not in a list', (t) => {
  t.is(tableDifference(picture({ 'PINTLE-A': 'x\ny' }), picture({ 'PINTLE-A': 'y\nx' })).size, 1);
  t.is(tableDifference(picture({}, { a: '1', b: '2' }), picture({}, { b: '2', a: '1' })).size, 0);
});

const rules = (from: number, to: number): Record<string, string> =>
  Object.fromEntries(Array.from({ length: to - from }, (_, index) => [`k${from + index}`, `r${from + index}`]));

test('a long list changes rule by rule; a short one that loses very many is sent as a whole', (t) => {
  const part = changeText('nat', tableDifference(picture({}, rules(0, 200)), picture({}, rules(1, 201))), 400);
  t.is(part, '*nat\n-A PINTLE-LIST r200\n-D PINTLE-LIST r0\nCOMMIT\n');
  const whole = changeText('nat', tableDifference(picture({}, rules(0, 200)), picture({}, rules(0, 2))), 400);
  t.is(whole, '*nat\n:PINTLE-LIST - [0:0]\n-A PINTLE-LIST r0\n-A PINTLE-LIST r1\nCOMMIT\n');
});

test('what is longer than a section is cut, but never within a chain that is in use', (t) => {
  const change = tableDifference(
    picture({ 'PINTLE-B': 'x' }),
    picture({ 'PINTLE-B': 'a\nb\nc', 'PINTLE-C': 'n' }, rules(0, 3)),
  );
  t.is(
    changeText('nat', change, 3),
    [
      '*nat',
      ':PINTLE-C - [0:0]',
      'COMMIT',
      '*nat',
      ':PINTLE-B - [0:0]',
      '-A PINTLE-B a',
      '-A PINTLE-B b',
      '-A PINTLE-B c',
      'COMMIT',
      '*nat',
      '-A PINTLE-C n',
      '-A PINTLE-LIST r0',
      '-A PINTLE-LIST r1',
      'COMMIT',
      '*nat',
      '-A PINTLE-LIST r2',
      'COMMIT\n',
    ].join('\n'),
  );
});

const saved = `# Generated
*filter
:INPUT ACCEPT [0:0]
:PINTLE-OTHER - [0:0]
COMMIT
*nat
:OUTPUT ACCEPT [1:2]
:KUBE-A - [0:0]
:PINTLE-A - [0:0]
:PINTLE-LIST - [0:0]
:PINTLE-MADE - [0:0]
:PINTLE-OLD - [0:0]
-A OUTPUT -j KUBE-A
-A OUTPUT -j PINTLE-A
-A OUTPUT -m mark --mark 0x1 -j PINTLE-OLD
-A KUBE-A -d 10.0.0.1/32 -j RETURN
-A PINTLE-A -j RETURN
-A PINTLE-LIST one
-A PINTLE-LIST two
-A PINTLE-OLD -j RETURN
COMMIT
`;

test('a rebuild changes what is wrong, leaves the rest, and never names what is not ours', (t) => {
  const found = readSave(saved, 'nat', 'PINTLE-');
  t.deepEqual([...found.chains.keys()], ['PINTLE-A', 'PINTLE-LIST', 'PINTLE-MADE', 'PINTLE-OLD']);
  const desired = picture({ 'PINTLE-A': '-j RETURN' }, { b: 'two', c: 'three' });
  const made = { name: 'PINTLE-MADE', rules: undefined };
  const change = rebuild(desired, found, made);
  t.is(
    changeText('nat', change, 400),
    [
      '*nat',
      '-A PINTLE-LIST three',
      '-D OUTPUT -m mark --mark 0x1 -j PINTLE-OLD',
      '-D PINTLE-LIST one',
      ':PINTLE-OLD - [0:0]',
      '-X PINTLE-OLD',
      'COMMIT\n',
    ].join('\n'),
  );
  t.is(change.size, 5);
  t.false(isWhole(desired, found, 'PINTLE-MADE'));
  const sound = readSave(saved.replaceAll(/^.*PINTLE-OLD.*\n/gm, ''), 'nat', 'PINTLE-');
  const right = picture({ 'PINTLE-A': '-j RETURN' }, { b: 'two', a: 'one' });
  t.is(changeText('nat', rebuild(right, sound, made), 400), '');
  t.is(rebuild(right, sound, made).size, 0);
  t.true(isWhole(right, sound, 'PINTLE-MADE'));
  t.notRegex(removalText('nat', found, 400), /KUBE/);
  t.is(removalText('nat', readSave('*nat\n:OUTPUT ACCEPT [0:0]\nCOMMIT\n', 'nat', 'PINTLE-'), 400), '');
});

test('two of our jumps where one should be become one', (t) => {
  const twice = readSave(
    saved.replace('-A OUTPUT -j PINTLE-A', '-A OUTPUT -j PINTLE-A\n-A OUTPUT -j PINTLE-A'),
    'nat',
    'PINTLE-',
  );
  const made = { name: 'PINTLE-MADE', rules: undefined };
  const text = changeText('nat', rebuild(picture({ 'PINTLE-A': '-j RETURN' }), twice, made), 400);
  t.is(text.match(/-D OUTPUT -j PINTLE-A/g)?.length, 2);
  t.is(text.match(/-I OUTPUT -j PINTLE-A/g)?.length, 1);
});

const context: Context = {
  family: 'ip',
  nodeAddresses: ['192.168.0.1'],
  clusterCidrs: ['10.244.0.0/16'],
  serviceCidrs: ['10.96.0.0/12'],
};
const endpoint = (index: number, local = false) => plainEndpoint(`10.244.1.${index}`, { local });
const port = (change: Partial<ProxyPort> = {}): ProxyPort =>
  plainPort({
    namespace: 'n',
    service: 's',
    endpoints: [endpoint(1), endpoint(2), endpoint(3)],
    ...change,
  });

test('each of n endpoints is as likely: 1/3, 1/2, the rest; names fit the kernel', (t) => {
  const { chains } = renderPort(port(), context);
  const [, rules = ''] = [...chains].find(([name]) => name.startsWith('PINTLE-SVC-')) ?? [];
  t.deepEqual(rules.match(/probability \S+/g), ['probability 0.33333333349', 'probability 0.50000000000']);
  t.is(rules.match(/-j PINTLE-SEP/g)?.length, 3);
  for (const name of chains.keys()) t.true(name.length <= 28, name);
});

test('of two ports with one address the first counts, and all chains led to exist', (t) => {
  const full = port({
    affinitySeconds: 5,
    nodePort: 30080,
    externalPolicy: 'Local',
    endpoints: [endpoint(1, true), endpoint(2)],
  });
  const { nat, filter } = compose(
    [
      renderPort(full, context),
      renderPort(port({ service: 'other' }), context),
      renderPort(port({ endpoints: [], clusterIps: ['10.96.0.9'] }), context),
    ],
    context,
    12,
  );
  t.is(nat.lists.get('PINTLE-SERVICES')?.size, 1);
  t.is(filter.lists.get('PINTLE-REJECT')?.size, 1);
  for (const table of [nat, filter]) {
    const known = new Set([...table.chains.keys(), ...table.lists.keys()]);
    const rules = [
      ...table.chains.values(),
      ...[...table.lists.values()].flatMap((list) => [...list.values()]),
      ...table.hooks.map(({ rule }) => rule),
    ];
    for (const [, target = ''] of rules.join('\n').matchAll(/-j (PINTLE-\S+)/g)) t.true(known.has(target), target);
  }
});

test('a change of more lines than one call takes arguments', (t) => {
  const chains = Object.fromEntries(Array.from({ length: 75_000 }, (_, index) => [`PINTLE-${index}`, '-j RETURN']));
  const text = changeText('nat', tableDifference(picture({}), picture(chains)), 1_000);
  t.is(text.match(/^-A PINTLE-/gm)?.length, 75_000);
});
