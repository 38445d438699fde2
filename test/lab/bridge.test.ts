import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import test from 'ava';
import { openBridge } from '../../netplugins/attachments/bridge/bridge-attachment.ts';
import { bridgeMacOf } from '../../netplugins/attachments/bridge/bridge-side.ts';
import type { VethAttachment } from '../../netplugins/linux/pods/veth-attachment.ts';
import { hostInterfaceOf } from '../../netplugins/linux/pods/pod-interface.ts';
import { isPintleError, type AttachmentRequest, type NodeNetwork } from '../../kernel/contract/index.ts';
import { deleteNetns } from '../../netplugins/linux/namespaces.ts';
import {
  createTopology,
  patience,
  podCidr,
  quiet,
  snapshot,
  underlayAddress,
  until,
  type Place,
} from './support/topology.ts';

const network: NodeNetwork = { podCidrs: [podCidr(0)], clusterCidrs: ['10.244.0.0/16'], mtuBytes: 1450 };

function open(node: Place, stateDir: string, bootId = 'boot-1'): VethAttachment {
  return openBridge({ bridge: 'cni0', stateDir, log: quiet, netns: node.netns, bootId });
}

const spawnIn = ({ netns }: Place, program: string): ChildProcess =>
  spawn('nsenter', [`--net=${netns}`, '--', process.execPath, '-e', program], { stdio: ['ignore', 'pipe', 'inherit'] });

const request = (id: string, pod: Place): AttachmentRequest => ({
  sandboxId: id,
  podNamespace: 'default',
  podName: id,
  netns: pod.netns,
  hostPorts: [],
});

test('pods of one node reach each other, the node and the outside, and purge leaves the node as it was', async (t) => {
  const { nodes, pod, folder, underlay } = createTopology(t, 1);
  const node = nodes[0]!;
  const before = snapshot(node);
  const attachment = open(node, `${folder}/state`);
  await attachment.configure(network);
  const [a, b] = [pod('a'), pod('b')];
  const one = await attachment.add(request('sandbox-a', a));
  const two = await attachment.add(request('sandbox-b', b));
  t.deepEqual([one.ips, two.ips], [['10.244.1.2'], ['10.244.1.3']]);
  t.deepEqual(one.gateways, ['10.244.1.1']);
  await b.serve(8080, 'b');
  await node.serve(9090, 'node');
  await underlay.serve(7070, 'outside');
  t.deepEqual(await a.tcp('10.244.1.3', 8080), { answer: 'b 10.244.1.2 0' });
  t.deepEqual(await node.tcp('10.244.1.3', 8080), { answer: 'b 10.244.1.1 0' });
  t.deepEqual(await a.tcp('10.244.1.1', 9090), { answer: 'node 10.244.1.2 0' });
  t.deepEqual(await a.tcp(underlayAddress, 7070), { answer: 'outside 192.168.99.1 0' }, 'masqueraded');
  t.deepEqual(await attachment.check({ sandboxId: 'sandbox-a', netns: a.netns }), []);
  t.deepEqual(await attachment.add(request('sandbox-a', a)), one);
  await attachment.remove({ sandboxId: 'sandbox-a', netns: a.netns });
  t.true((await a.tcp('10.244.1.3', 8080, { timeoutMs: patience(500) })).error !== undefined);
  await attachment.purge();
  await attachment[Symbol.asyncDispose]();
  await node.stop();
  t.is(snapshot(node), before);
});

test('another MTU reaches the pods that are there, which keep their addresses and connections', async (t) => {
  const { nodes, pod, folder } = createTopology(t, 1);
  const node = nodes[0]!;
  const attachment = open(node, `${folder}/state`);
  await attachment.configure(network);
  const [a, b] = [pod('a'), pod('b')];
  const one = await attachment.add(request('sandbox-a', a));
  await attachment.add(request('sandbox-b', b));
  await b.serve(8080, 'b');
  t.deepEqual(await a.tcp('10.244.1.3', 8080), { answer: 'b 10.244.1.2 0' });
  for (const mtuBytes of [1350, 8900]) {
    await attachment.configure({ ...network, mtuBytes });
    const name = hostInterfaceOf('veth', 'sandbox-a');
    for (const [place, link] of [
      [a, 'eth0'],
      [node, name],
      [node, 'cni0'],
    ] as const)
      t.regex(place.run('ip', 'link', 'show', link), new RegExp(` mtu ${mtuBytes} `));
    t.deepEqual(await attachment.check({ sandboxId: 'sandbox-a', netns: a.netns }), []);
    t.deepEqual(await attachment.add(request('sandbox-a', a)), one);
    t.deepEqual(await a.tcp('10.244.1.3', 8080), { answer: 'b 10.244.1.2 0' });
  }
  await attachment.purge();
  await attachment[Symbol.asyncDispose]();
});

test('a pod that asks for little bandwidth sends and receives no faster, and others do', async (t) => {
  const { nodes, pod, folder } = createTopology(t, 1);
  const node = nodes[0]!;
  const attachment = open(node, `${folder}/state`);
  await attachment.configure(network);
  const [a, b] = [pod('a'), pod('b')];
  const slow = { ingressBitsPerSecond: 8_000_000, egressBitsPerSecond: 16_000_000 };
  await attachment.add({ ...request('sandbox-a', a), bandwidth: slow });
  await attachment.add(request('sandbox-b', b));
  const bytes = 2_000_000;
  /** Bits a second of one TCP connection. */
  const rate = async (from: Place, to: Place, address: string): Promise<number> => {
    const sink = `require('net').createServer((s) => s.resume().on('end', () => { s.end('x'); server.close(); })).listen(7000);`;
    const server = spawnIn(to, `const server = ${sink} console.log('up')`);
    t.teardown(() => server.kill('SIGKILL'));
    await once(server.stdout!, 'data');
    const send = `const s = require('net').connect(7000, '${address}', () => { t = performance.now(); s.end(Buffer.alloc(${bytes})); });
      s.on('data', () => console.log((performance.now() - t) / 1000)); let t;`;
    return (bytes * 8) / Number(from.run(process.execPath, '-e', send));
  };
  const [out, back] = [await rate(a, b, '10.244.1.3'), await rate(b, a, '10.244.1.2')];
  t.true(out < 20_000_000, `${out} bit/s sent`);
  t.true(back < 10_000_000, `${back} bit/s received`);
  // Put back with its limits.
  node.run('ip', 'link', 'del', hostInterfaceOf('veth', 'sandbox-a'));
  await until(
    'it is put back',
    async () => (await attachment.check({ sandboxId: 'sandbox-a', netns: a.netns })).length === 0,
  );
  t.true((await rate(b, a, '10.244.1.2')) < 10_000_000);
  await attachment.purge();
  await attachment[Symbol.asyncDispose]();
});

test('IPv6 pods reach each other and the outside', async (t) => {
  const { nodes, pod, folder, underlay } = createTopology(t, 1);
  const node = nodes[0]!;
  const before = snapshot(node);
  const attachment = open(node, `${folder}/state`);
  await attachment.configure({
    podCidrs: [podCidr(0), 'fd44:0:0:1::/64'],
    clusterCidrs: ['10.244.0.0/16', 'fd44::/48'],
    mtuBytes: 1450,
  });
  const [a, b] = [pod('a'), pod('b')];
  t.deepEqual((await attachment.add(request('a', a))).ips, ['10.244.1.2', 'fd44:0:0:1::2']);
  t.deepEqual((await attachment.add(request('b', b))).gateways, ['10.244.1.1', 'fd44:0:0:1::1']);
  await b.serve(8080, 'b');
  await underlay.serve(7070, 'outside');
  t.deepEqual(await a.tcp('fd44:0:0:1::3', 8080), { answer: 'b fd44:0:0:1::2 0' });
  t.deepEqual(await a.tcp('fd99::ffff', 7070), { answer: 'outside fd99::1 0' });
  await attachment.purge();
  await attachment[Symbol.asyncDispose]();
  t.is(snapshot(node), before);
});

test('a new instance knows the pods of the old one, which stay connected', async (t) => {
  const { nodes, pod, folder } = createTopology(t, 1);
  const first = open(nodes[0]!, `${folder}/state`);
  await first.configure(network);
  const [a, b] = [pod('a'), pod('b')];
  const one = await first.add(request('a', a));
  await first.add(request('b', b));
  await b.serve(8080, 'b');
  await first[Symbol.asyncDispose]();
  t.deepEqual(await a.tcp('10.244.1.3', 8080), { answer: 'b 10.244.1.2 0' });
  const second = open(nodes[0]!, `${folder}/state`);
  t.teardown(() => second[Symbol.asyncDispose]());
  await second.configure(network);
  t.deepEqual((await second.list()).map(({ sandboxId }) => sandboxId).sort(), ['a', 'b']);
  t.deepEqual(await second.add(request('a', a)), one);
  t.deepEqual(await a.tcp('10.244.1.3', 8080), { answer: 'b 10.244.1.2 0' });
  t.deepEqual(await second.gc(new Set(['b'])), ['a']);
  t.deepEqual(
    (await second.list()).map(({ sandboxId }) => sandboxId),
    ['b'],
  );
});

test('addresses of a former boot are collected, whatever the sandboxes say', async (t) => {
  const { nodes, pod, folder } = createTopology(t, 1);
  const before = open(nodes[0]!, `${folder}/state`, 'boot-1');
  await before.configure(network);
  await before.add(request('a', pod('a')));
  await before[Symbol.asyncDispose]();
  const after = open(nodes[0]!, `${folder}/state`, 'boot-2');
  t.teardown(() => after[Symbol.asyncDispose]());
  await after.configure(network);
  t.deepEqual(await after.list(), []);
  t.deepEqual(await after.gc(new Set(['a'])), ['a']);
  t.deepEqual(await after.gc(new Set(['a'])), []);
});

test('what somebody deletes is put back: bridge, masquerade table, a pod interface', async (t) => {
  const { nodes, pod, folder, underlay } = createTopology(t, 1);
  const node = nodes[0]!;
  const attachment = open(node, `${folder}/state`);
  t.teardown(() => attachment[Symbol.asyncDispose]());
  await attachment.configure({
    podCidrs: [...network.podCidrs, 'fd44:0:0:1::/64'],
    clusterCidrs: [...network.clusterCidrs, 'fd44::/48'],
    mtuBytes: 1450,
  });
  const [a, b] = [pod('a'), pod('b')];
  await attachment.add(request('a', a));
  await attachment.add(request('b', b));
  await b.serve(8080, 'b');
  await underlay.serve(7070, 'outside');
  const works = async (): Promise<boolean> =>
    (await a.tcp('10.244.1.3', 8080, { timeoutMs: patience(300) })).answer === 'b 10.244.1.2 0' &&
    (await a.tcp('fd44:0:0:1::3', 8080, { timeoutMs: patience(300) })).answer === 'b fd44:0:0:1::2 0' &&
    (await a.tcp(underlayAddress, 7070, { timeoutMs: patience(300) })).answer === 'outside 192.168.99.1 0';
  await until('the pods reach what they should', works);
  /** All of both families that is there as the attachment made it, without numbers, MACs and tables that come anew. */
  const ports = ['a', 'b'].map((id) => `ip -o -d link show ${hostInterfaceOf('veth', id)}`);
  const settings = ['ipv4.conf.cni0.forwarding', 'ipv4.conf.cni0.send_redirects', 'ipv6.conf.cni0.forwarding'];
  const look = `
    ip -o address show dev cni0 scope global; ip -o address show dev cni0 to fe80::1
    for family in -4 -6; do ip $family route show table all dev cni0; done
    ip -o link show type bridge; ${ports.join('; ')}
    sysctl ${settings.map((name) => `net.${name}`).join(' ')}`;
  const standing = (): string =>
    node
      .run('sh', '-c', `{ ${look}\n} 2>&1 || true`)
      .split('\n')
      // The kernel makes a link-local address of its own in some of these cases only.
      .filter((line) => line !== '' && !/fe80::(?!1\b)/.test(line))
      .map((line) => /^\d+: (\S+?)[@:].*? (mtu \d+).*?(hairpin \w+|$)/.exec(line)?.slice(1).join(' ') ?? line)
      .map((line) => line.replace(/^\d+: |valid_lft.*/g, '').trim())
      .sort()
      .join('\n');
  const before = standing();
  t.regex(before, /mtu 1450 hairpin on$/m);
  for (const [command, ...args] of [
    ['ip', 'link', 'del', 'cni0'],
    ['nft', 'flush', 'ruleset'],
    ['nft', 'flush', 'chain', 'ip', 'pintle-bridge', 'postrouting'],
    ['ip', 'address', 'del', '10.244.1.1/24', 'dev', 'cni0'],
    ['ip', 'link', 'set', 'cni0', 'down'],
    ['ip', 'link', 'del', hostInterfaceOf('veth', 'a')],
    ['ip', 'link', 'set', hostInterfaceOf('veth', 'b'), 'nomaster'],
    ['ip', 'link', 'set', 'cni0', 'address', '02:00:00:00:00:07'],
    ['ip', 'link', 'set', 'cni0', 'name', 'other0'],
    ['ip', 'route', 'flush', 'dev', 'cni0'],
    ['ip', 'route', 'flush', 'table', 'local', 'dev', 'cni0'],
    ['ip', '-6', 'route', 'flush', 'table', 'local', 'dev', 'cni0'],
    ['ip', '-6', 'route', 'flush', 'dev', 'cni0'],
    ['ip', '-6', 'address', 'flush', 'dev', 'cni0'],
    ['ip', 'link', 'set', hostInterfaceOf('veth', 'b'), 'mtu', '1300'],
    ['bridge', 'link', 'set', 'dev', hostInterfaceOf('veth', 'b'), 'hairpin', 'off'],
    ['sysctl', '-qw', 'net.ipv4.ip_forward=0'],
    ['sysctl', '-qw', 'net.ipv4.conf.cni0.forwarding=0'],
    ['sysctl', '-qw', 'net.ipv4.conf.cni0.send_redirects=1'],
    ['sysctl', '-qw', 'net.ipv6.conf.cni0.disable_ipv6=1'],
  ] as const) {
    node.run(command, ...args);
    const what = `all is as it was after ${command} ${args.join(' ')}`;
    await until(what, () => standing() === before).catch(() => t.is(standing(), before, what));
    await until(`the pods work again after ${command} ${args.join(' ')}`, works);
  }
  t.regex(node.run('ip', 'link', 'show', 'cni0'), new RegExp(bridgeMacOf('cni0')));
  t.deepEqual(await attachment.check({ sandboxId: 'a', netns: a.netns }), []);
});

test('a bridge that got another MAC or name while nobody looked is known again', async (t) => {
  const { nodes, pod, folder } = createTopology(t, 1);
  const node = nodes[0]!;
  const first = open(node, `${folder}/state`);
  await first.configure(network);
  const [a, b] = [pod('a'), pod('b')];
  await first.add(request('a', a));
  await first.add(request('b', b));
  await b.serve(8080, 'b');
  await first[Symbol.asyncDispose]();
  for (const change of [
    ['address', '02:00:00:00:00:07'],
    ['name', 'other0'],
  ]) {
    node.run('ip', 'link', 'set', 'cni0', ...change);
    const next = open(node, `${folder}/state`);
    await next.configure(network);
    const bridges = node.run('ip', '-o', 'link', 'show', 'type', 'bridge');
    t.regex(bridges, new RegExp(`^\\d+: cni0: .* ${bridgeMacOf('cni0')} [^\n]*\n$`), change.join(' '));
    await until('the pods reach each other', async () => (await a.tcp('10.244.1.3', 8080)).answer !== undefined);
    await next[Symbol.asyncDispose]();
  }
});

test('a bridge of somebody else is refused and left alone', async (t) => {
  const { nodes, folder } = createTopology(t, 1);
  const node = nodes[0]!;
  node.run('ip', 'link', 'add', 'cni0', 'type', 'bridge');
  const before = snapshot(node);
  const attachment = open(node, `${folder}/state`);
  t.teardown(() => attachment[Symbol.asyncDispose]());
  const error = await t.throwsAsync(attachment.configure(network));
  t.true(isPintleError(error, 'KERNEL_REFUSED'));
  t.regex(error.message, /not Pintle's/);
  t.is(snapshot(node), before);
  t.not(bridgeMacOf('cni0'), bridgeMacOf('cni1'));
});

test('a FORWARD policy of DROP is reported with its cure', async (t) => {
  const { nodes, folder } = createTopology(t, 1);
  const node = nodes[0]!;
  const attachment = open(node, `${folder}/state`);
  t.teardown(() => attachment[Symbol.asyncDispose]());
  await attachment.configure(network);
  t.is(attachment.status().reason, undefined);
  node.run(
    'nft',
    'add table ip filter; add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }',
  );
  await until('the policy is noticed', () => attachment.status().reason?.includes('DOCKER-USER') === true);
  node.run('nft', 'delete table ip filter');
  await until('its end is noticed', () => attachment.status().reason === undefined);
  t.true(attachment.status().ready);
});

test('a full range is refused; a freed address rests before it is used again', async (t) => {
  const { nodes, pod, folder } = createTopology(t, 1);
  const attachment = open(nodes[0]!, `${folder}/state`);
  t.teardown(() => attachment[Symbol.asyncDispose]());
  await attachment.configure({ ...network, podCidrs: ['10.244.1.0/29'] });
  const pods = Array.from({ length: 5 }, (_, index) => pod(`p${index}`));
  for (const [index, place] of pods.entries()) await attachment.add(request(`p${index}`, place));
  await t.throwsAsync(attachment.add(request('more', pod('more'))), { code: 'ADDRESSES_EXHAUSTED' });
  await attachment.remove({ sandboxId: 'p1' });
  await attachment.remove({ sandboxId: 'p3' });
  t.deepEqual((await attachment.add(request('again', pods[1]!))).ips, ['10.244.1.3']);
  await attachment.remove({ sandboxId: 'again' });
  t.deepEqual((await attachment.add(request('next', pods[1]!))).ips, ['10.244.1.5']);
});

test('a hundred pods come and go, some without their namespace, and nothing is left', async (t) => {
  const { nodes, pod, folder } = createTopology(t, 1);
  const node = nodes[0]!;
  const attachment = open(node, `${folder}/state`);
  t.teardown(() => attachment[Symbol.asyncDispose]());
  await attachment.configure(network);
  const before = snapshot(node);
  for (let round = 0; round < 100; round += 1) {
    const place = pod(`r${round}`);
    await attachment.add(request(`r${round}`, place));
    if (round % 3 === 0) deleteNetns(place.netns);
    await attachment.remove({ sandboxId: `r${round}`, netns: place.netns });
    await attachment.remove({ sandboxId: `r${round}`, netns: place.netns });
    if (round % 3 !== 0) deleteNetns(place.netns);
  }
  t.deepEqual(await attachment.list(), []);
  const links = (text: string): string => text.replaceAll(/^\d+: |^multicast .*\n/gm, '');
  t.is(links(snapshot(node)), links(before));
});
