/** Host ports on real packets, for every attachment: what the kit does not ask. */
import test from 'ava';
import type { Attachment, AttachmentRequest, HostPort } from '../../kernel/contract/index.ts';
import { readSysctl } from '../../netplugins/linux/sysctl.ts';
import { attachmentNames, attachments, clusterCidrs, podCidr6, type AttachmentName } from './support/cluster.ts';
import {
  answerMs,
  createTopology,
  nodeAddress,
  nodeAddress6,
  patience,
  podCidr,
  quiet,
  underlayAddress,
  until,
} from './support/topology.ts';
import type { Place, Topology } from './support/topology.ts';

const tcp: HostPort = { hostIp: undefined, hostPort: 18_080, containerPort: 80, protocol: 'TCP' };
const udp: HostPort = { ...tcp, protocol: 'UDP' };

const request = (id: string, pod: Place, ...hostPorts: readonly HostPort[]): AttachmentRequest => ({
  ...{ sandboxId: id, podNamespace: 'default', podName: id, netns: pod.netns },
  hostPorts,
});

interface Bed extends Topology {
  readonly node: Place;
  readonly attachment: Attachment & AsyncDisposable;
}

async function open(t: { teardown(undo: () => unknown): void }, kind: AttachmentName): Promise<Bed> {
  const topology = createTopology(t, 1);
  const [node] = topology.nodes as [Place];
  const attachment = attachments[kind]({ stateDir: `${topology.folder}/state`, log: quiet, netns: node.netns });
  t.teardown(() => attachment[Symbol.asyncDispose]());
  await attachment.configure({ podCidrs: [podCidr(0), podCidr6(0)], clusterCidrs, mtuBytes: 1450 });
  return { ...topology, node, attachment };
}

for (const kind of attachmentNames) {
  test(`${kind}: TCP and UDP of one number, IPv4 and IPv6, lead to two pods`, async (t) => {
    const { node, attachment, pod, underlay } = await open(t, kind);
    const [a, b] = [pod('a'), pod('b')];
    await attachment.add(request('a', a, tcp));
    await attachment.add(request('b', b, udp));
    for (const [place, name] of [
      [a, 'a'],
      [b, 'b'],
    ] as const)
      await place.serve(80, name);
    t.deepEqual(await underlay.tcp(nodeAddress(0), 18_080), { answer: `a ${underlayAddress} 0` });
    t.deepEqual(await underlay.tcp(nodeAddress6(0), 18_080), { answer: 'a fd99::ffff 0' });
    t.deepEqual(await underlay.udp(nodeAddress(0), 18_080), { answer: `b ${underlayAddress}` });
    t.regex((await node.udp('127.0.0.1', 18_080)).answer ?? '', /^b /);
    t.regex((await a.tcp(nodeAddress(0), 18_080)).answer ?? '', /^a /, 'hairpin');
    t.regex((await a.tcp(nodeAddress6(0), 18_080)).answer ?? '', /^a /, 'hairpin, IPv6');
    t.is((await node.tcp('::1', 18_080)).error, 'ECONNREFUSED');
  });

  test(`${kind}: a UDP client that goes on from its port reaches the next pod`, async (t) => {
    const { attachment, pod, underlay } = await open(t, kind);
    const [a, b] = [pod('a'), pod('b')];
    for (const [place, name] of [
      [a, 'a'],
      [b, 'b'],
    ] as const)
      await place.ask({ verb: 'listenUdp', port: 80, name });
    const ask = async (timeoutMs = answerMs): Promise<string | undefined> =>
      (await underlay.udp(nodeAddress(0), 18_080, { localPort: 5_555, timeoutMs })).answer;
    await attachment.add(request('a', a, udp));
    t.is(await ask(), `a ${underlayAddress}`);
    await attachment.remove({ sandboxId: 'a' });
    t.is(await ask(patience(500)), undefined, 'nobody');
    await attachment.add(request('b', b, udp));
    t.is(await ask(), `b ${underlayAddress}`);
  });

  test(`${kind}: pods do not reach what listens on the node's 127.0.0.1, with a host port or without`, async (t) => {
    const { node, attachment, pod } = await open(t, kind);
    const [a, b] = [pod('a'), pod('b')];
    let addressOfA = (await attachment.add(request('a', a, tcp))).ips[0]!;
    let addressOfB = (await attachment.add(request('b', b, udp))).ips[0]!;
    await a.serve(80, 'a');
    await node.serve(9_090, 'node', '127.0.0.1');
    const near = (): string => / dev (\S+)/.exec(node.run('ip', '-o', 'route', 'get', addressOfA))?.[1] ?? '';
    const opened = (): string | undefined => readSysctl(`net.ipv4.conf.${near()}.route_localnet`, node);
    // A pod that has the privilege to do so sends packets for 127.0.0.1 to the node.
    const allowForgery = (): void => {
      b.run('sh', '-c', 'echo 1 >/proc/sys/net/ipv4/conf/eth0/route_localnet');
      b.run('ip', 'address', 'flush', 'dev', 'lo');
      b.run('ip', 'route', 'replace', '127.0.0.1', 'via', '10.244.1.1', 'dev', 'eth0');
    };
    allowForgery();
    const forge = async (timeoutMs: number): Promise<string | undefined> =>
      (await b.tcp('127.0.0.1', 9_090, { timeoutMs, localAddress: addressOfB })).answer;
    const dropGuard = (): string => node.run('nft', 'delete', 'chain', 'ip', `pintle-${kind}-ports`, 'guard');
    t.is(opened(), '1');
    t.regex((await node.tcp('127.0.0.1', 18_080)).answer ?? '', /^a /);
    t.is(await forge(patience(500)), undefined);
    dropGuard();
    await until('the guard is back', () => node.run('nft', 'list', 'ruleset').includes('127.0.0.0/8 drop'));
    // With cni a pod that asks for something else is attached anew.
    addressOfA = (await attachment.add(request('a', a))).ips[0]!;
    addressOfB = (await attachment.add(request('b', b))).ips[0]!;
    allowForgery();
    t.is(opened(), '0', 'closed with the last host port');
    t.is((await node.tcp('127.0.0.1', 18_080, { timeoutMs: 500 })).answer, undefined);
    t.false(node.run('nft', 'list', 'tables').includes('-ports'));
    t.is(await forge(patience(500)), undefined);
    // That the forgery would work, were it not for the guard:
    addressOfB = (await attachment.add(request('b', b, udp))).ips[0]!;
    allowForgery();
    await attachment[Symbol.asyncDispose]();
    dropGuard();
    t.is(await forge(answerMs), `node ${addressOfB} 0`);
  });
}

test('two sandboxes that ask for one port at the same moment: one gets it', async (t) => {
  const { attachment, pod, underlay } = await open(t, 'ptp');
  const pods = ['a', 'b'].map((name) => ({ name, place: pod(name) }));
  for (const { name, place } of pods) await place.serve(80, name);
  const results = await Promise.allSettled(pods.map(({ name, place }) => attachment.add(request(name, place, tcp))));
  t.deepEqual(results.map(({ status }) => status).sort(), ['fulfilled', 'rejected']);
  const { reason } = results.find((one) => one.status === 'rejected') as PromiseRejectedResult;
  t.is((reason as { code?: string }).code, 'UNAVAILABLE');
  const [left] = await attachment.list();
  t.is((await attachment.list()).length, 1);
  t.deepEqual(await underlay.tcp(nodeAddress(0), 18_080), { answer: `${left!.sandboxId} ${underlayAddress} 0` });
});
