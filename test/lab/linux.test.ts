import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { isPintleError } from '../../kernel/contract/index.ts';
import { hasTxChecksumOffload, setTxChecksumOffload } from '../../netplugins/linux/ethtool.ts';
import { createNetns, deleteNetns, isNetns, runInNetns } from '../../netplugins/linux/namespaces.ts';
import { writeLinkSetting } from '../../netplugins/linux/link-settings.ts';
import { monitorNft, type NftChange } from '../../netplugins/linux/nft-monitor.ts';
import { openNftElements, type NftElements } from '../../netplugins/linux/nft-elements.ts';
import { nftList, nftTransaction } from '../../netplugins/linux/nft.ts';
import { probeBridge, probeNft, probeVxlan } from '../../netplugins/linux/probes.ts';
import { openRtnetlink, type RtChange, type RtEvent } from '../../netplugins/linux/rtnetlink.ts';
import { readSysctl, writeSysctl } from '../../netplugins/linux/sysctl.ts';
import { probeRules } from '../../netplugins/proxies/nftables/probe-rules.ts';
import { until } from './support/topology.ts';

function scratch(t: ExecutionContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'pintle-linux-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

function namespace(t: ExecutionContext): string {
  const path = join(scratch(t), 'nested', 'ns');
  createNetns(path);
  t.teardown(() => deleteNetns(path));
  return path;
}

const here = (): string => readFileSync('/proc/thread-self/net/dev', 'utf8');

test('a namespace is made, entered, left and deleted', (t) => {
  const outside = here();
  const path = namespace(t);
  t.true(isNetns(path));
  t.is(here(), outside, 'back home');
  t.not(statSync(path).ino, statSync('/proc/self/ns/net').ino);
  t.throws(() => createNetns(path), { code: 'EEXIST' });
  t.is(
    runInNetns(path, () => here().trim().split('\n').length),
    3,
    'a loopback and two lines of heading',
  );
  t.throws(
    () =>
      runInNetns(path, () => {
        throw new Error('inside');
      }),
    { message: 'inside' },
  );
  t.throws(() => runInNetns(path, () => Promise.resolve()), { message: /synchronous/ });
  t.is(here(), outside);
  deleteNetns(path);
  deleteNetns(path);
  t.false(existsSync(path));
  t.throws(() => runInNetns(path, () => undefined), {
    code: 'KERNEL_REFUSED',
    message: /ENOENT.*expected a network namespace/,
  });
  writeFileSync(path, '');
  t.false(isNetns(path), 'a plain file, as a reboot leaves it');
  t.throws(() => runInNetns(path, () => undefined), { code: 'KERNEL_REFUSED', message: /EINVAL/ });
});

test('refusals carry errno and the words of the kernel', (t) => {
  const links = openRtnetlink({ netns: namespace(t) });
  t.teardown(() => links.close());
  const error = t.throws(() => links.addRoute({ destination: '10.0.0.0/24', gateway: '10.9.9.9' }), {
    code: 'KERNEL_REFUSED',
  });
  t.true(isPintleError(error) && error.details['errno'] === 'ENETUNREACH');
  t.regex(
    error.message,
    /^Adding route 10\.0\.0\.0\/24 via 10\.9\.9\.9: the kernel refused it \(ENETUNREACH, Nexthop has invalid gateway\)/,
  );
  t.throws(() => links.setLink('missing', { up: true }), { message: /Looking up link missing.*ENODEV/ });
  t.throws(() => links.createBridge({ name: 'lo' }), { message: /Creating bridge lo.*EEXIST/ });
});

test('adding twice and deleting twice say what they changed', (t) => {
  const links = openRtnetlink({ netns: namespace(t) });
  t.teardown(() => links.close());
  links.setLink('lo', { up: true });
  const lo = links.getLink('lo')?.index ?? 0;
  const route = { destination: '10.0.0.0/24', link: lo };
  const v6 = { destination: 'fd00::/64', link: lo };
  for (const expected of [true, false]) {
    t.is(links.addAddress(lo, '10.1.1.1/24'), expected);
    t.is(links.addAddress(lo, 'fd01::1/64'), expected);
    t.is(links.addRoute(route), expected);
    t.is(links.addRoute(v6), expected);
  }
  t.true(links.listRoutes({ family: 10 }).some(({ destination }) => destination === 'fd00::/64'));
  for (const expected of [true, false]) {
    t.is(links.deleteRoute(route), expected);
    t.is(links.deleteRoute(v6), expected);
    t.is(links.deleteAddress(lo, '10.1.1.1/24'), expected);
    t.is(links.deleteLink('missing'), false);
  }
  const results = links.apply([
    { verb: 'replaceRoute', route },
    { verb: 'replaceRoute', route: { destination: '10.0.1.0/24', gateway: '10.9.9.9' } },
    { verb: 'deleteRoute', route },
  ]);
  t.deepEqual(
    results.map((one) => one?.details['errno']),
    [undefined, 'ENETUNREACH', undefined],
  );
});

test('notifications arrive, cost nothing while idle, and an overflow is told instead of ending the process', async (t) => {
  const netns = namespace(t);
  const links = openRtnetlink({ netns });
  t.teardown(() => links.close());
  const events: RtEvent[] = [];
  const stop = links.subscribe((event) => events.push(event));
  links.setLink('lo', { up: true });
  await until('the link is told', () =>
    events.some((event) => event.kind === 'link' && event.link.name === 'lo' && event.link.up),
  );
  const used = async (): Promise<number> => {
    const before = process.cpuUsage();
    await new Promise((resolve) => setTimeout(resolve, 300));
    const { user, system } = process.cpuUsage(before);
    return user + system;
  };
  // The compiler and the collector of the engine may be at work beside it; a loop that polls would be at work each time.
  await until('it uses less than 100 of 300 ms of processor time', async () => (await used()) < 100_000);
  const lo = links.getLink('lo')?.index ?? 0;
  const routes = Array.from({ length: 60_000 }, (_, index) => ({
    destination: `10.${index >> 16}.${(index >> 8) & 255}.${index & 255}/32`,
    link: lo,
  }));
  // Without yielding to the event loop: nothing is read meanwhile.
  links.apply(routes.map((route): RtChange => ({ verb: 'replaceRoute', route })));
  await until('the overflow is told', () => events.some(({ kind }) => kind === 'overflow'));
  await new Promise((resolve) => setImmediate(resolve));
  events.length = 0;
  links.deleteRoute(routes[0]!);
  await until('later changes are told again', () => events.some((event) => event.kind === 'route' && event.deleted));
  stop();
  events.length = 0;
  links.deleteRoute(routes[1]!);
  await new Promise((resolve) => setTimeout(resolve, 50));
  t.is(events.length, 0, 'not after stop');
});

test('nft: transactions, listings, errors with the culprit, notifications with their author', async (t) => {
  const netns = namespace(t);
  const changes: (NftChange | 'overflow')[] = [];
  const mentioned: boolean[] = [];
  const stop = monitorNft(
    (change) => {
      changes.push(change);
      if (change !== 'overflow') mentioned.push(change.mentions('one'), change.mentions('another'));
    },
    { netns },
  );
  t.teardown(stop);
  const ports: number[] = [];
  await nftTransaction('add table ip one\n', { netns, onPort: (port) => ports.push(port) });
  await until('the change is told', () => changes.length > 0);
  const [change] = changes;
  if (change === undefined || change === 'overflow') return t.fail('the first change was lost');
  t.like(change, { family: 'ip', table: 'one', port: ports[0] ?? 0, isTableDeleted: false, isOfChain: false });
  t.deepEqual(mentioned, [true, false]);
  t.is(changes.length, 1);
  await nftTransaction('add chain ip one first\nadd rule ip one first accept\n', { netns });
  await until('a chain and a rule are told', () => changes.length === 3);
  t.like(changes[1], { table: 'one', isOfChain: true });
  t.like(changes[2], { table: 'one', isOfChain: false });
  const error = await t.throwsAsync(nftTransaction('add table ip two\nadd rule ip two missing accept\n', { netns }), {
    code: 'HOST_COMMAND_FAILED',
  });
  t.regex(error.message, /"add rule ip two missing accept"/);
  t.is(await nftList(['table', 'ip', 'two'], { netns }), undefined, 'all or nothing');
  t.is((await nftList(['tables'], { netns }))?.filter((one) => one['table'] !== undefined).length, 1);
});

test('nft: a monitor hears of everybody else but a socket for elements of this process', async (t) => {
  const netns = namespace(t);
  await nftTransaction('add table ip one\nadd set ip one names { type ipv4_addr; }\n', { netns });
  const heard: string[] = [];
  const listener = (change: NftChange | 'overflow'): void => {
    heard.push(change === 'overflow' ? change : String(change.port));
  };
  t.teardown(monitorNft(listener, { netns }));
  const add = (handle: NftElements, key: string): void =>
    handle.apply('ip', 'one', [{ verb: 'add', set: 'names', isInterval: false, elements: [{ key, data: '' }] }]);
  const [own, another] = [openNftElements({ netns }), openNftElements({ netns })];
  t.teardown(() => own.close());
  t.not(own.port, another.port);
  // A monitor that begins later is no different.
  t.teardown(monitorNft(listener, { netns }));
  add(own, '192.0.2.1');
  add(another, '192.0.2.2');
  let port = 0;
  await nftTransaction('add set ip one more { type ipv4_addr; }\n', { netns, onPort: (of) => (port = of) });
  await until('both heard of the command', () => heard.length >= 2);
  t.deepEqual(heard, [String(port), String(port)], 'and of nothing else');
  t.regex(JSON.stringify(await nftList(['set', 'ip', 'one', 'names'], { netns })), /192\.0\.2\.1.*192\.0\.2\.2/);
  another.close();
});

test('settings of a namespace, checksum offload, probes', async (t) => {
  const netns = namespace(t);
  const home = readSysctl('net.ipv4.ip_forward');
  t.true(writeSysctl('net.ipv4.ip_forward', 1, { netns }));
  t.false(writeSysctl('net.ipv4.ip_forward', 1, { netns }));
  t.is(readSysctl('net.ipv4.ip_forward', { netns }), '1');
  t.is(readSysctl('net.ipv4.ip_forward'), home);
  t.is(readSysctl('net.ipv4.no_such_setting'), undefined);
  t.throws(() => writeSysctl('net.ipv4.no_such_setting', 1), { code: 'KERNEL_REFUSED', message: /does not have it/ });
  const links = openRtnetlink({ netns });
  t.teardown(() => links.close());
  links.createVxlan({ name: 'x.1', vni: 9, port: 8472 });
  t.is(readSysctl('net.ipv4.conf.x/1.rp_filter', { netns }) !== undefined, true, 'a dot in the name of a link');
  t.true(hasTxChecksumOffload('x.1', { netns }));
  t.true(setTxChecksumOffload('x.1', false, { netns }));
  t.false(setTxChecksumOffload('x.1', false, { netns }));
  const before = here();
  t.is(probeVxlan(), undefined);
  t.is(probeBridge(), undefined);
  t.is(await probeNft(probeRules('ip') + probeRules('ip6')), undefined);
  t.regex((await probeNft('nonsense')) ?? '', /syntax error/);
  t.is(here(), before, 'probes leave nothing');
});

for (const [bitsPerSecond, shown] of [
  [10_000_000, '10Mbit'],
  // More than 32 bits of bytes a second.
  [40_000_000_000, '40Gbit'],
] as const)
  test(`a link is limited to ${shown}, and to another rate after that`, (t) => {
    const netns = namespace(t);
    const rt = openRtnetlink({ netns });
    t.teardown(() => rt.close());
    rt.createBridge({ name: 'limited' });
    const { index } = rt.getLink('limited')!;
    rt.setRate(index, 1_000_000);
    rt.setRate(index, bitsPerSecond);
    const listed = runInNetns(netns, () =>
      spawnSync('/usr/sbin/tc', ['qdisc', 'show', 'dev', 'limited'], { encoding: 'utf8' }),
    );
    t.regex(listed.stdout, new RegExp(`^qdisc tbf .* rate ${shown} `), listed.stderr);
  });

/** Root of a user namespace may not mount a sysfs where parts of the host's are hidden. */
const mayMount = readFileSync('/proc/self/uid_map', 'latin1').includes('4294967295');

(mayMount ? test : test.skip)('settings that only sysfs has, of a link in another namespace', (t) => {
  const netns = namespace(t);
  const links = openRtnetlink({ netns });
  t.teardown(() => links.close());
  links.createVeth({ name: 'one', peer: { name: 'two' } });
  const read = (): string => {
    const script = 'mount -t sysfs none /sys && cat /sys/class/net/one/gro_flush_timeout';
    return runInNetns(netns, () => spawnSync('unshare', ['--mount', 'sh', '-c', script], { encoding: 'utf8' })).stdout;
  };
  t.is(read(), '0\n');
  const before = readFileSync('/proc/self/mountinfo', 'utf8');
  runInNetns(netns, () => writeLinkSetting('one', 'gro_flush_timeout', '20000'));
  t.is(read(), '20000\n');
  t.is(readFileSync('/proc/self/mountinfo', 'utf8'), before);
  t.throws(() => runInNetns(netns, () => writeLinkSetting('three', 'gro_flush_timeout', '1')), {
    code: 'KERNEL_REFUSED',
    message: /gro_flush_timeout of link three.*ENOENT/,
  });
});
