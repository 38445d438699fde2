import { spawn } from 'node:child_process';
import { readFileSync, statSync } from 'node:fs';
import test from 'ava';
import type { ProxyEndpoint, ProxyPort, ProxyState } from '../../kernel/contract/index.ts';
import { probeIptables } from '../../netplugins/proxies/iptables/probe.ts';
import { createCluster, type Member } from './support/cluster.ts';
import { iptablesTraces, lockFile, openIptablesProxy, runIptables } from './support/iptables-place.ts';
import { endpoints, port, proxyState, vip } from './support/service-ports.ts';
import { checkServiceRange } from './support/service-range.ts';
import { answerMs, nodeAddress, nodeAddress6, patience, until, type Place } from './support/topology.ts';

const state = (...ports: readonly ProxyPort[]): ProxyState => proxyState([nodeAddress(0), nodeAddress6(0)], ports);

async function answers(from: Place, host: string, to: number, count = 20, timeoutMs = answerMs): Promise<string> {
  const all = new Set<string>();
  for (let index = 0; index < count; index += 1) {
    const { answer, error } = await from.tcp(host, to, { timeoutMs });
    all.add(error ?? answer?.split(' ')[0] ?? '');
  }
  return [...all].sort().join(' ');
}

for (const backend of ['nft', 'legacy'] as const) {
  const iptables = `iptables-${backend}`;

  test(`${backend}: the probe passes where the proxy works`, async (t) => {
    t.is(await probeIptables(['ip', 'ip6'], backend), undefined);
  });

  test(`${backend}: rules and chains of others stay as they are, byte for byte, through sync, repair and purge`, async (t) => {
    const { members } = await createCluster(t, 2);
    const [one, two] = members as [Member, Member];
    const foreign = [
      '-t nat -N KUBE-SERVICES',
      '-t nat -A PREROUTING -j KUBE-SERVICES',
      '-t nat -A KUBE-SERVICES -d 10.111.0.1/32 -p tcp -m tcp --dport 80 -j RETURN',
      '-t filter -A FORWARD -s 203.0.113.9/32 -j DROP',
    ];
    for (const rule of foreign) runIptables(one.node, iptables, ...rule.split(' '));
    const before = iptablesTraces(one.node);
    const proxy = openIptablesProxy(one.node, backend);
    t.teardown(() => proxy[Symbol.asyncDispose]());
    await proxy.sync(state(port({ endpoints: endpoints(one, one, two) })));
    t.is(await answers(one.pod, vip, 8000), 'node-0 node-1');
    runIptables(one.node, iptables, '-t', 'nat', '-A', 'KUBE-SERVICES', '-j', 'RETURN');
    runIptables(one.node, iptables, '-t', 'nat', '-D', 'KUBE-SERVICES', '-j', 'RETURN');
    runIptables(one.node, iptables, '-t', 'nat', '-F', 'PINTLE-SERVICES');
    await until('it is repaired', () => proxy.status().repairs > 0);
    t.is(await answers(one.pod, vip, 8000), 'node-0 node-1');
    t.is(proxy.status().repairs, 1, 'what others do to their own rules is no damage');
    await proxy.purge();
    t.is(iptablesTraces(one.node), before);
  });

  test(`${backend}: a refused change is complete after the next sync`, async (t) => {
    const { members } = await createCluster(t, 2);
    const [one, two] = members as [Member, Member];
    const proxy = openIptablesProxy(one.node, backend);
    t.teardown(() => proxy[Symbol.asyncDispose]());
    const web = port({ endpoints: endpoints(one, one) });
    await proxy.sync(state(web));
    // A port that iptables refuses stands for any refusal.
    await t.throwsAsync(proxy.sync(state(port({ service: 'bad', port: 99_999, endpoints: endpoints(one, two) }))), {
      code: 'HOST_COMMAND_FAILED',
    } as object);
    t.false(proxy.status().ready);
    t.is(await answers(one.pod, vip, 8000, 4), 'node-0', 'the old rules still work');
    await proxy.sync(state(port({ endpoints: endpoints(one, two) })));
    t.true(proxy.status().ready);
    t.is(await answers(one.pod, vip, 8000, 4), 'node-1');
  });

  test(`${backend}: one more Service is a small change, and a gone one takes its chains along`, async (t) => {
    const { members } = await createCluster(t, 2);
    const [one, two] = members as [Member, Member];
    const proxy = openIptablesProxy(one.node, backend);
    t.teardown(() => proxy[Symbol.asyncDispose]());
    const many = Array.from({ length: 300 }, (_, index) =>
      port({
        service: `s${index}`,
        clusterIps: [`10.97.${index >> 8}.${index & 255}`],
        endpoints: endpoints(one, two),
      }),
    );
    await proxy.sync(state(...many));
    const before = iptablesTraces(one.node);
    const { changed } = await proxy.sync(state(...many, port({ endpoints: endpoints(one, one, two) })));
    t.is(changed, 12, 'three chains with three, two and two rules; dispatch, known address');
    t.is(await answers(one.pod, vip, 8000), 'node-0 node-1');
    t.is(await answers(one.pod, '10.97.1.43', 8000, 2), 'node-1');
    await proxy.sync(state(...many));
    t.is(iptablesTraces(one.node), before);
    await new Promise((resolve) => setTimeout(resolve, 300));
    t.is(proxy.status().repairs, 0, 'its own notifications are not taken for damage');
  });

  test(`${backend}: a new instance sees what is right and changes only what is not`, async (t) => {
    const { members } = await createCluster(t, 2);
    const [one, two] = members as [Member, Member];
    const both = endpoints(one, one, two);
    const six = both.map((endpoint, index) => ({ ...endpoint, address: `fd44::${index + 2}` }));
    const desired = state(
      port({ nodePort: 30080, endpoints: [...both, ...six, { ...both[1]!, port: 81 }] }),
      port({
        service: 'sticky',
        clusterIps: ['10.96.0.2', 'fd96::2'],
        affinitySeconds: 60,
        endpoints: [...both, ...six],
      }),
      port({ service: 'empty', protocol: 'UDP', clusterIps: ['10.96.0.3', 'fd96::3'] }),
      port({
        service: 'edge',
        protocol: 'UDP',
        clusterIps: ['10.96.0.4'],
        externalIps: ['198.51.100.1'],
        loadBalancerIps: ['198.51.100.2', 'fd98::2'],
        loadBalancerSourceRanges: ['203.0.113.0/24', 'fd98::/64'],
        externalPolicy: 'Local',
        internalPolicy: 'Local',
        endpoints: [...both, ...six],
      }),
    );
    const first = openIptablesProxy(one.node, backend);
    t.true((await first.sync(desired)).changed > 50);
    await first[Symbol.asyncDispose]();
    const before = iptablesTraces(one.node);
    const second = openIptablesProxy(one.node, backend);
    t.deepEqual(await second.sync(desired), { changed: 0 });
    t.is(iptablesTraces(one.node), before);
    await second[Symbol.asyncDispose]();
    runIptables(one.node, iptables, '-t', 'nat', '-F', 'PINTLE-POSTROUTING');
    runIptables(one.node, iptables, '-t', 'nat', '-A', 'PINTLE-SERVICES', '-j', 'RETURN');
    runIptables(one.node, iptables, '-t', 'filter', '-N', 'PINTLE-OLD');
    const third = openIptablesProxy(one.node, backend);
    t.teardown(() => third[Symbol.asyncDispose]());
    t.deepEqual(await third.sync(desired), { changed: 5 }, 'three rules, one too many, one old chain');
    t.is(iptablesTraces(one.node), before);
  });

  test(`${backend}: a packet of an endpoint that is out of its connection is dropped, not passed on untranslated`, async (t) => {
    const { members } = await createCluster(t, 2);
    const [one, two] = members as [Member, Member];
    const proxy = openIptablesProxy(one.node, backend);
    await proxy.sync(state(port({ endpoints: endpoints(one, two) })));
    await one.pod.ask({ verb: 'openTcp', id: 'long', host: vip, port: 8000 });
    const exchange = (timeoutMs: number) => one.pod.ask({ verb: 'exchange', id: 'long', text: 'hello', timeoutMs });
    t.deepEqual(await exchange(answerMs), { answer: `node-1 ${one.ip}` });
    const counter = `add table ip seen; add chain ip seen in { type filter hook prerouting priority -300; };
      add rule ip seen in ip saddr ${two.ip} counter`;
    one.pod.run('nft', counter);
    const strangers = (): boolean => !/counter packets 0 /.test(one.pod.run('nft', 'list', 'table', 'ip', 'seen'));
    // The server's packets leave without any flag: no connection has such.
    const wrong = `add table ip wrong; add chain ip wrong out { type filter hook postrouting priority 300; };
      add rule ip wrong out tcp sport 80 tcp flags set 0x0`;
    two.pod.run('nft', wrong);
    t.deepEqual(await exchange(patience(700)), { error: 'TIMEOUT' });
    t.false(strangers());
    two.pod.run('nft', 'delete table ip wrong');
    await until('the connection goes on', async () => (await exchange(patience(700))).answer === `node-1 ${one.ip}`);
    await proxy[Symbol.asyncDispose]();
    two.pod.run('nft', wrong);
    runIptables(one.node, iptables, '-t', 'filter', '-F', 'PINTLE-FORWARD');
    await exchange(patience(700));
    await until('what the rule keeps away comes', strangers);
    t.pass();
  });

  test(`${backend}: the service range is refused but for what Services, the node and others have in it`, async (t) => {
    const { members, topology } = await createCluster(t, 2, { dual: true });
    const [one, two] = members as [Member, Member];
    const proxy = openIptablesProxy(one.node, backend);
    t.teardown(() => proxy[Symbol.asyncDispose]());
    const sync = () => proxy.sync(state(port({ endpoints: endpoints(one, two) })));
    await checkServiceRange(t, { one, two, underlay: topology.underlay, isDual: true, sync });
  });

  test(`${backend}: IPv6 and dual-stack Services, SCTP rules beside`, async (t) => {
    const { members } = await createCluster(t, 2, { dual: true });
    const [one, two] = members as [Member, Member];
    const proxy = openIptablesProxy(one.node, backend);
    t.teardown(() => proxy[Symbol.asyncDispose]());
    one.node.run('ip', '-6', 'route', 'add', 'default', 'via', 'fd99::ffff');
    const six = (member: Member): ProxyEndpoint => {
      const shown = member.pod.run('ip', '-6', 'address', 'show', 'dev', 'eth0');
      return { ...endpoints(one, member)[0]!, address: /inet6 (fd44[^/]*)/.exec(shown)?.[1] ?? '' };
    };
    const sctp = port({ protocol: 'SCTP', clusterIps: ['10.96.0.7'], endpoints: endpoints(one, two) });
    const web = port({
      clusterIps: [vip, 'fd96::1'],
      nodePort: 30080,
      endpoints: [...endpoints(one, one, two), six(one), six(two)],
    });
    await proxy.sync(state(web, sctp));
    t.is(await answers(one.pod, vip, 8000), 'node-0 node-1');
    t.is(await answers(one.pod, 'fd96::1', 8000), 'node-0 node-1');
    t.is(await answers(one.node, nodeAddress6(0), 30080), 'node-0 node-1');
    await proxy.sync(state({ ...web, endpoints: [] }, sctp));
    t.is(await answers(one.pod, 'fd96::1', 8000, 1), 'ECONNREFUSED');
  });
}

test('nft: of what was made for us a purge leaves what others use by then, and nothing else', async (t) => {
  const { members } = await createCluster(t, 1);
  const { node } = members[0] as Member;
  const tables = (): string => node.run('nft', 'list', 'tables');
  const before = tables();
  const proxy = openIptablesProxy(node, 'nft', ['ip']);
  t.teardown(() => proxy[Symbol.asyncDispose]());
  await proxy.sync(state(port()));
  t.regex(tables(), /table ip nat\n/);
  runIptables(node, 'iptables-nft', '-A', 'INPUT', '-s', '203.0.113.9/32', '-j', 'DROP');
  await proxy.purge();
  const table = node.run('nft', 'list', 'table', 'ip', 'filter');
  t.deepEqual(
    [...table.matchAll(/chain (\S+)/g)].map(([, name]) => name),
    ['INPUT'],
  );
  t.regex(table, /203\.0\.113\.9.* drop/);
  node.run('nft', 'delete', 'table', 'ip', 'filter');
  t.is(tables(), before);
});

test('legacy: while others hold the lock a sync waits, and then does its work', async (t) => {
  const { members } = await createCluster(t, 2);
  const [one, two] = members as [Member, Member];
  const proxy = openIptablesProxy(one.node, 'legacy', ['ip']);
  t.teardown(() => proxy[Symbol.asyncDispose]());
  const holder = spawn('flock', [lockFile, 'sh', '-c', 'echo held; exec cat'], { stdio: ['pipe', 'pipe', 'inherit'] });
  t.teardown(() => holder.kill('SIGKILL'));
  await new Promise((resolve) => holder.stdout.once('data', resolve));
  let isDone = false;
  const sync = proxy.sync(state(port({ endpoints: endpoints(one, one, two) }))).then(() => (isDone = true));
  const waits = new RegExp(`-> FLOCK .*:${statSync(lockFile).ino} `);
  await until('it waits for the lock', () => waits.test(readFileSync('/proc/locks', 'latin1')));
  t.notRegex(await answers(one.pod, vip, 8000, 1, patience(1_000)), /node-/, 'there are no rules yet');
  t.false(isDone);
  holder.stdin.end();
  await sync;
  t.is(await answers(one.pod, vip, 8000), 'node-0 node-1');
});

test('auto follows the back end that the host uses, says so, and leaves nothing in the other', async (t) => {
  const { members } = await createCluster(t, 2);
  const [one, two] = members as [Member, Member];
  const web = state(port({ endpoints: endpoints(one, one, two) }));
  const own = (backend: string): boolean =>
    runIptables(one.node, `iptables-${backend}`, '-t', 'nat', '-S').includes('PINTLE');
  const first = openIptablesProxy(one.node, 'legacy');
  await first.sync(web);
  await first[Symbol.asyncDispose]();
  t.deepEqual([own('legacy'), own('nft')], [true, false]);
  runIptables(one.node, 'iptables-nft', '-A', 'FORWARD', '-s', '203.0.113.9/32', '-j', 'DROP');
  const second = openIptablesProxy(one.node, 'auto');
  t.teardown(() => second[Symbol.asyncDispose]());
  await second.sync(web);
  t.regex(second.status().reason ?? '', /back end nft \(rules of others/);
  t.is(own('nft'), true);
  t.is(await answers(one.pod, vip, 8000), 'node-0 node-1');
  await second[Symbol.asyncDispose]();
  const third = openIptablesProxy(one.node, 'nft');
  t.teardown(() => third[Symbol.asyncDispose]());
  await third.sync(web);
  // The list of legacy tables is readable for root of the machine only.
  if (existsReadable('/proc/net/ip_tables_names')) t.is(own('legacy'), false);
  await third.purge();
  t.is(own('nft'), false);
});

function existsReadable(file: string): boolean {
  try {
    readFileSync(file);
    return true;
  } catch {
    return false;
  }
}
