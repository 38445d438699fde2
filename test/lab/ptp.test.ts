import test from 'ava';
import type { AttachmentRequest, NodeNetwork } from '../../kernel/contract/index.ts';
import { openPtp } from '../../netplugins/attachments/ptp/ptp-attachment.ts';
import { hostInterfaceOf } from '../../netplugins/linux/pods/pod-interface.ts';
import type { VethAttachment } from '../../netplugins/linux/pods/veth-attachment.ts';
import { readSysctl, writeSysctl } from '../../netplugins/linux/sysctl.ts';
import {
  createTopology,
  nodeAddress,
  nodeAddress6,
  patience,
  podCidr,
  quiet,
  snapshot,
  underlayAddress,
  until,
} from './support/topology.ts';
import type { Place, Topology } from './support/topology.ts';

const network: NodeNetwork = {
  podCidrs: [podCidr(0), 'fd44:0:0:1::/64'],
  clusterCidrs: ['10.244.0.0/16', 'fd44::/48'],
  mtuBytes: 1450,
};

const request = (id: string, pod: Place): AttachmentRequest => ({
  sandboxId: id,
  podNamespace: 'default',
  podName: id,
  netns: pod.netns,
  hostPorts: [],
});

interface Bed extends Topology {
  readonly node: Place;
  readonly attachment: VethAttachment;
}

function open(t: { teardown(undo: () => unknown): void }): Bed {
  const topology = createTopology(t, 1);
  const [node] = topology.nodes as [Place];
  const stateDir = `${topology.folder}/state`;
  const attachment = openPtp({ stateDir, log: quiet, netns: node.netns, bootId: 'boot-1' });
  t.teardown(() => attachment[Symbol.asyncDispose]());
  return { ...topology, node, attachment };
}

test('pods of one node reach each other, the node and the outside, IPv4 and IPv6; purge leaves the node as it was', async (t) => {
  const { node, attachment, pod, underlay } = open(t);
  writeSysctl('net.ipv4.ip_forward', 0, node);
  const before = snapshot(node);
  await attachment.configure(network);
  t.is(readSysctl('net.ipv4.ip_forward', node), '1');
  const [a, b] = [pod('a'), pod('b')];
  await attachment.add(request('a', a));
  await attachment.add(request('b', b));
  await b.serve(8080, 'b');
  await node.serve(9090, 'node');
  await underlay.serve(7070, 'outside');
  t.deepEqual(await a.tcp('10.244.1.3', 8080), { answer: 'b 10.244.1.2 0' });
  t.deepEqual(await node.tcp('10.244.1.3', 8080), { answer: 'b 10.244.1.1 0' });
  t.deepEqual(await a.tcp('10.244.1.1', 9090), { answer: 'node 10.244.1.2 0' });
  t.deepEqual(await a.tcp(nodeAddress(0), 9090), { answer: 'node 10.244.1.2 0' });
  t.deepEqual(await a.tcp(underlayAddress, 7070), { answer: 'outside 192.168.99.1 0' }, 'masqueraded');
  t.deepEqual(await a.tcp('fd44:0:0:1::3', 8080), { answer: 'b fd44:0:0:1::2 0' });
  t.deepEqual(await node.tcp('fd44:0:0:1::3', 8080), { answer: 'b fd44:0:0:1::1 0' });
  t.deepEqual(await a.tcp(nodeAddress6(0), 9090), { answer: 'node fd44:0:0:1::2 0' });
  t.deepEqual(await a.tcp('fd99::ffff', 7070), { answer: 'outside fd99::1 0' });
  const link = hostInterfaceOf('ptp', 'a');
  t.is(node.run('ip', 'route', 'show', 'dev', link).trim(), '10.244.1.2 proto static scope link');
  t.regex(a.run('ip', 'route'), /^default via 10\.244\.1\.1 dev eth0.*\n10\.244\.1\.1 dev eth0 .*scope link/);
  t.is((await node.tcp('10.244.1.77', 80)).error, 'EHOSTUNREACH', 'no packet for nobody leaves by the default route');
  await attachment.purge();
  await node.stop();
  t.is(snapshot(node), before);
  t.is(readSysctl('net.ipv4.ip_forward', node), '0', 'as it was');
});

test('what somebody deletes is put back: routes, addresses, an interface, tables', async (t) => {
  const { node, attachment, pod, underlay } = open(t);
  await attachment.configure(network);
  const [a, b] = [pod('a'), pod('b')];
  await attachment.add(request('a', a));
  await attachment.add({
    ...request('b', b),
    hostPorts: [{ hostIp: undefined, hostPort: 18080, containerPort: 8080, protocol: 'TCP' }],
  });
  await b.serve(8080, 'b');
  await underlay.serve(7070, 'outside');
  const links = ['a', 'b'].map((id) => hostInterfaceOf('ptp', id)) as [string, string];
  const works = async (): Promise<boolean> =>
    (await a.tcp('10.244.1.3', 8080, { timeoutMs: patience(300) })).answer === 'b 10.244.1.2 0' &&
    (await a.tcp('fd44:0:0:1::3', 8080, { timeoutMs: patience(300) })).answer === 'b fd44:0:0:1::2 0' &&
    (await underlay.tcp(nodeAddress(0), 18080, { timeoutMs: patience(300) })).answer === `b ${underlayAddress} 0` &&
    (await node.tcp('127.0.0.1', 18080, { timeoutMs: patience(300) })).answer?.startsWith('b ') === true &&
    (await a.tcp(underlayAddress, 7070, { timeoutMs: patience(300) })).answer === 'outside 192.168.99.1 0' &&
    node.run('ip', 'route', 'show', 'type', 'unreachable').includes('10.244.1.0/24');
  await until('the pods reach what they should', works);
  for (const [command, ...args] of [
    ['nft', 'flush', 'ruleset'],
    ['nft', 'delete', 'table', 'ip', 'pintle-ptp-ports'],
    ['nft', 'flush', 'chain', 'ip', 'pintle-ptp', 'postrouting'],
    ['ip', 'route', 'del', '10.244.1.3'],
    ['ip', 'route', 'replace', '10.244.1.3', 'via', '192.168.99.254'],
    ['ip', '-6', 'route', 'del', 'fd44:0:0:1::3'],
    ['ip', 'route', 'del', 'unreachable', '10.244.1.0/24', 'metric', '4000000'],
    ['ip', 'address', 'flush', 'dev', links[0]],
    ['ip', '-6', 'address', 'flush', 'dev', links[1]],
    ['ip', 'route', 'flush', 'table', 'local', 'dev', links[0]],
    ['ip', '-6', 'route', 'flush', 'table', 'local', 'dev', links[1]],
    ['sysctl', '-qw', `net.ipv4.conf.${links[0]}.forwarding=0`],
    ['ip', 'link', 'set', links[0], 'down'],
    ['ip', 'link', 'del', links[1]],
  ] as const) {
    node.run(command, ...args);
    await until(`the pods work again after ${command} ${args.join(' ')}`, works);
  }
  t.deepEqual(await attachment.check({ sandboxId: 'a', netns: a.netns }), []);
});
