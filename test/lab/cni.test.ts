/** Attachment cni beyond the kit: its arguments, errors, time limit, versions, what a killed agent left, lists of users. */
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import test, { type ExecutionContext } from 'ava';
import type { AttachmentRequest, NodeNetwork } from '../../kernel/contract/index.ts';
import type { CniAttachment, CniOptions } from '../../netplugins/attachments/cni/cni-attachment.ts';
import plugin from '../../netplugins/attachments/cni/index.ts';
import { clusterCidrs, openCni, podCidr6 } from './support/cluster.ts';
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

const network: NodeNetwork = { podCidrs: [podCidr(0)], clusterCidrs: ['10.244.0.0/16'], mtuBytes: 1400 };
const standard = existsSync('/usr/lib/cni/ptp');
const withStandard = standard ? test : test.skip;
if (!standard) test.skip('standard CNI executables: apt-get install containernetworking-plugins', () => undefined);

const request = (id: string, pod: Place): AttachmentRequest => ({
  ...{ sandboxId: id, podNamespace: 'shop', podName: `${id}-pod`, netns: pod.netns },
  hostPorts: [],
});

interface Bed extends Topology {
  readonly node: Place;
  /** What the scripted executables wrote down, one call a line. */
  calls(): readonly string[];
  start(more?: Partial<CniOptions>): CniAttachment;
}

const versions = (last: string): string =>
  `{"cniVersion":"${last}","supportedVersions":["0.3.1","0.4.0","1.0.0"${last === '1.1.0' ? ',"1.1.0"' : ''}]}`;

/** An executable of the test's own: `script` answers all but VERSION; "$verb" and "$input" are the call. */
function writeExecutable(folder: string, name: string, script: string, newest = '1.0.0'): void {
  mkdirSync(`${folder}/bin`, { recursive: true });
  const path = `${folder}/bin/${name}`;
  writeFileSync(
    path,
    `#!/bin/sh
verb=$CNI_COMMAND; input=$(cat)
[ "$verb" = VERSION ] && { echo '${versions(newest)}'; exit; }
echo "${name} $verb $CNI_CONTAINERID $CNI_IFNAME $CNI_ARGS $input" >>${folder}/calls
${script}
`,
  );
  chmodSync(path, 0o755);
}

const answer = `echo '{"cniVersion":"1.0.0","interfaces":[{"name":"eth0","sandbox":"'$CNI_NETNS'"}],"ips":[{"address":"10.244.1.9/24","gateway":"10.244.1.1","interface":0}]}'`;

function bed(t: ExecutionContext): Bed {
  const topology = createTopology(t, 1);
  const { folder } = topology;
  const node = topology.nodes[0]!;
  return {
    ...topology,
    node,
    calls: () => (existsSync(`${folder}/calls`) ? readFileSync(`${folder}/calls`, 'utf8').trim().split('\n') : []),
    start: (more = {}) => {
      const options = { stateDir: `${folder}/state`, log: quiet, netns: node.netns, bootId: 'boot-1' };
      const attachment = openCni(options, { binDirs: [`${folder}/bin`, '/usr/lib/cni'], ...more });
      t.teardown(() => attachment[Symbol.asyncDispose]());
      return attachment;
    },
  };
}

const one = (type: string, more: object = {}): object => ({
  cniVersion: '1.0.0',
  name: 'mine',
  plugins: [{ type, ...more }],
});

test('an executable is told of the pod, and of what its capabilities ask for', async (t) => {
  const { folder, start, pod, calls } = bed(t);
  writeExecutable(folder, 'tell', `[ "$verb" = ADD ] && ${answer}; exit 0`);
  const capabilities = { ipRanges: true, dns: true, portMappings: true, bandwidth: true };
  const attachment = start({ list: one('tell', { capabilities, colour: 'red' }) });
  t.deepEqual(attachment.capabilities, ['ipv4', 'ipv6', 'host-ports', 'bandwidth']);
  await attachment.configure(network);
  const a = pod('a');
  const attached = await attachment.add({
    ...request('a', a),
    hostPorts: [{ hostIp: '192.168.99.1', hostPort: 81, containerPort: 80, protocol: 'UDP' }],
    bandwidth: { ingressBitsPerSecond: 80_000_000 },
  });
  t.deepEqual(attached.ips, ['10.244.1.9']);
  const [call = ''] = calls();
  const args = 'IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=a-pod;K8S_POD_INFRA_CONTAINER_ID=a';
  t.true(call.startsWith(`tell ADD a eth0 ${args} {`), call);
  const { runtimeConfig, ...input } = JSON.parse(call.slice(call.indexOf('{'))) as Record<string, unknown>;
  t.like(input, { cniVersion: '1.0.0', name: 'mine', type: 'tell', colour: 'red' });
  t.deepEqual(runtimeConfig, {
    ipRanges: [[{ subnet: podCidr(0) }]],
    dns: {
      servers: ['10.96.0.10'],
      searches: ['shop.svc.cluster.local', 'svc.cluster.local', 'cluster.local'],
      options: ['ndots:5'],
    },
    portMappings: [{ hostPort: 81, containerPort: 80, protocol: 'udp', hostIP: '192.168.99.1' }],
    bandwidth: { ingressRate: 80_000_000, ingressBurst: 8_000_000 },
  });
  // In the form of libcni's cache, until DEL.
  const [name = ''] = readdirSync(`${folder}/state/results`);
  t.is(name, 'mine-a-eth0');
  const cached = JSON.parse(readFileSync(`${folder}/state/results/${name}`, 'utf8')) as Record<string, unknown>;
  t.like(cached, { kind: 'cniCacheV1', containerId: 'a', ifName: 'eth0', networkName: 'mine' });
  await attachment.remove({ sandboxId: 'a' });
  t.deepEqual(readdirSync(`${folder}/state/results`), []);
  t.true(calls().at(-1)?.startsWith('tell DEL a eth0'));
  t.regex(calls().at(-1)!, /"prevResult":\{/);
});

test('what an executable says is the error; a failed ADD is undone by DEL of all, and its files go', async (t) => {
  const { folder, start, pod, calls } = bed(t);
  writeExecutable(folder, 'good', `[ "$verb" = ADD ] && ${answer}; exit 0`);
  const says = (code: number, msg: string): string =>
    `[ "$verb" = ADD ] && { echo '{"code":${code},"msg":"${msg}","details":"of node"}'; exit 1; }; exit 0`;
  for (const [script, code, message] of [
    [says(7, 'bad colour'), 'HOST_COMMAND_FAILED', /CNI plugin bad ADD: bad colour: of node \(CNI error 7\)/],
    [says(11, 'later'), 'UNAVAILABLE', /later.*again/],
    [says(999, 'no IP addresses available in range set: x'), 'ADDRESSES_EXHAUSTED', /Delete pods/],
    ['[ "$verb" = ADD ] && echo gibberish; exit 0', 'HOST_COMMAND_FAILED', /expected JSON.*gibberish/],
    ['[ "$verb" = ADD ] && { echo "no luck" >&2; exit 3; }; exit 0', 'HOST_COMMAND_FAILED', /exit code 3: no luck/],
  ] as const) {
    writeExecutable(folder, 'bad', script);
    const list = { cniVersion: '1.0.0', name: 'mine', plugins: [{ type: 'good' }, { type: 'bad' }] };
    const attachment = start({ list });
    await attachment.configure(network);
    const error = await t.throwsAsync(attachment.add(request('a', pod(`a${calls().length}`))), { code });
    t.regex(error?.message ?? '', message);
    t.deepEqual(
      calls()
        .slice(-2)
        .map((call) => call.split(' ').slice(0, 3).join(' ')),
      ['bad DEL a', 'good DEL a'],
    );
    t.deepEqual(await attachment.list(), []);
    t.deepEqual(readdirSync(`${folder}/state/results`), []);
    await attachment[Symbol.asyncDispose]();
  }
});

test('a DEL that fails is tried again by gc; purge goes on without it', async (t) => {
  const { folder, start, pod, node } = bed(t);
  const before = snapshot(node);
  writeExecutable(folder, 'stuck', `[ "$verb" = ADD ] && { ${answer}; exit 0; }; [ -e ${folder}/open ] || exit 4`);
  const attachment = start({ list: one('stuck') });
  await attachment.configure(network);
  await attachment.add(request('a', pod('a')));
  await t.throwsAsync(attachment.remove({ sandboxId: 'a' }), { code: 'HOST_COMMAND_FAILED' });
  t.is((await attachment.list()).length, 1, 'not forgotten');
  await t.throwsAsync(attachment.gc(new Set()), { message: /exit code 4/ });
  writeFileSync(`${folder}/open`, '');
  t.deepEqual(await attachment.gc(new Set()), ['a']);
  await attachment.add(request('b', pod('b')));
  writeExecutable(folder, 'stuck', 'exit 4');
  await attachment.purge();
  t.deepEqual(await attachment.list(), []);
  t.is(snapshot(node), before);
});

test('one that does not end in time is killed with its children, and the pod told so', async (t) => {
  const { folder, start, pod } = bed(t);
  writeExecutable(folder, 'slow', `[ "$verb" = ADD ] && { sleep 600 & echo $! >${folder}/child; wait; }; exit 0`);
  const attachment = start({ list: one('slow'), timeLimitMs: 4_000 });
  await attachment.configure(network);
  const error = await t.throwsAsync(attachment.add(request('a', pod('a'))));
  t.regex(error?.message ?? '', /slow ADD: it did not end within 4 s and was killed/);
  const child = readFileSync(`${folder}/child`, 'utf8').trim();
  await until('its child is gone', () => !/^State:\s+[^Z]/m.test(statusOf(child)));
});

function statusOf(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/status`, 'utf8');
  } catch {
    return '';
  }
}

test('what a killed agent left running is ended before its successor does anything, others are not', async (t) => {
  const { folder, start } = bed(t);
  const sleepers = [`${folder}/state`, `${folder}/state-of-another`].map((mark) =>
    spawn('sleep', ['600'], { env: { ...process.env, PINTLE_CNI_STATE: mark }, stdio: 'ignore' }),
  );
  t.teardown(() => sleepers.forEach((sleeper) => sleeper.kill('SIGKILL')));
  await Promise.all(sleepers.map((sleeper) => once(sleeper, 'spawn')));
  const ended = once(sleepers[0]!, 'exit');
  mkdirSync(`${folder}/state/networks/pods`, { recursive: true });
  // What host-local leaves when it is cut short, and what is no lease.
  for (const name of ['10.244.1.7', 'fd44_0_0_1__7', 'last_reserved_ip.0'])
    writeFileSync(`${folder}/state/networks/pods/${name}`, '');
  await start({ formerGraceMs: 100 }).gc(new Set());
  t.deepEqual(readdirSync(`${folder}/state/networks/pods`), ['last_reserved_ip.0']);
  t.is((await ended)[1], 'SIGKILL');
  t.is(sleepers[1]!.exitCode ?? sleepers[1]!.signalCode, null);
});

test('version 1.1: the newest that all have is taken; STATUS says when it is ready, GC who is valid', async (t) => {
  const { folder, start, pod, calls } = bed(t);
  const status = `[ "$verb" = STATUS ] && [ ! -e ${folder}/open ] && { echo '{"code":50,"msg":"no agent"}'; exit 1; }`;
  writeExecutable(folder, 'new', `${status}\n[ "$verb" = ADD ] && ${answer}; exit 0`, '1.1.0');
  const list = { ...one('new'), cniVersions: ['0.4.0', '1.1.0'] };
  const attachment = start({ list });
  await attachment.configure(network);
  t.deepEqual(attachment.status(), { ready: false, reason: 'CNI plugin new STATUS: no agent (CNI error 50)' });
  writeFileSync(`${folder}/open`, '');
  await attachment.configure(network);
  t.true(attachment.status().ready);
  await attachment.add(request('a', pod('a')));
  await attachment.gc(new Set(['a']));
  const gc = calls().at(-1)!;
  t.regex(gc, /^new GC /);
  t.regex(gc, /"cniVersion":"1\.1\.0".*"cni\.dev\/valid-attachments":\[\{"containerID":"a","ifname":"eth0"\}\]/);
  writeExecutable(folder, 'new', 'exit 0', '1.0.0');
  const older = start({ list: { ...one('new'), cniVersion: '1.1.0' } });
  const error = await t.throwsAsync(older.configure(network), { code: 'UNSUPPORTED' });
  t.regex(error?.message ?? '', /asks for version 1\.1\.0.*new: 0\.3\.1, 0\.4\.0, 1\.0\.0/);
  t.is(older.status().reason, error?.message);
});

withStandard('what somebody flushes of portmap is made anew, for the pods that are there', async (t) => {
  const { node, start, pod, underlay } = bed(t);
  const attachment = start();
  await attachment.configure({ ...network, podCidrs: [podCidr(0), podCidr6(0)], clusterCidrs });
  const ports = (hostPort: number) => [{ hostIp: undefined, hostPort, containerPort: 80, protocol: 'TCP' as const }];
  const [a, b] = [pod('a'), pod('b')];
  await attachment.add({ ...request('a', a), hostPorts: ports(18_080) });
  await attachment.add({ ...request('b', b), hostPorts: ports(18_081) });
  await a.serve(80, 'a');
  await b.serve(80, 'b');
  const answersAt = async (port: number, name: string): Promise<boolean> => {
    for (const address of [nodeAddress(0), nodeAddress6(0)])
      if (!(await underlay.tcp(address, port, { timeoutMs: patience(300) })).answer?.startsWith(`${name} `))
        return false;
    return true;
  };
  const works = async () => (await answersAt(18_080, 'a')) && (await answersAt(18_081, 'b'));
  t.true(await works());
  for (const flush of [
    'nft flush ruleset',
    'iptables -t nat -F',
    'ip6tables -t nat -F CNI-HOSTPORT-DNAT',
    'iptables -t nat -D PREROUTING 1',
  ]) {
    node.run('sh', '-c', flush);
    await until(`host ports answer again after ${flush}`, works);
  }
  await attachment.remove({ sandboxId: 'a' });
  node.run('iptables', '-t', 'nat', '-F');
  await until('the pod that is left answers again', () => answersAt(18_081, 'b'));
  t.false(await answersAt(18_080, 'a'), 'what we removed stays away');
  t.deepEqual(await attachment.check({ sandboxId: 'b', netns: b.netns }), []);
  await attachment.purge();
});

test('preflight names what is missing, and how to get it', async (t) => {
  const { folder } = createTopology(t, 1);
  const host = {
    ...{ kernelRelease: '6.1', isPrivileged: true, isRoot: true, exists: existsSync, readText: () => undefined },
    command: (name: string) => (name === 'iptables' ? undefined : `/usr/sbin/${name}`),
  };
  const preflight = async (config: object) => {
    const parsed = await plugin.config['~standard'].validate(config);
    return 'value' in parsed ? plugin.preflight?.(host, parsed.value) : undefined;
  };
  t.like(await preflight({ binDir: [folder] }), {
    ok: false,
    reason: `CNI executables ptp, portmap, bandwidth, host-local are not in ${folder}`,
    fix: 'apt-get install containernetworking-plugins',
  });
  writeExecutable(folder, 'portmap', 'exit 0');
  writeExecutable(folder, 'plain', 'exit 0');
  const binDir = [`${folder}/bin`];
  t.like(await preflight({ binDir, list: one('portmap') }), { ok: false, fix: 'apt-get install iptables' });
  t.like(await preflight({ binDir, path: `${folder}/no` }), { ok: false });
  t.deepEqual(await preflight({ binDir, list: one('plain') }), { ok: true });
});

test('a list that cannot be used, or whose executables are missing, is refused with what to do', async (t) => {
  const { folder, start } = bed(t);
  mkdirSync(`${folder}/net.d`);
  for (const [more, message] of [
    [{ list: { cniVersion: '1.0.0', name: 'x', plugins: [] } }, /config\.list cannot be used: plugins/],
    [{ path: `${folder}/net.d` }, /the folder has no file/],
    [{ path: `${folder}/none.conflist` }, /no such file/],
    [{ list: one('nowhere') }, /CNI executables nowhere are not in .*apt-get install containernetworking-plugins/],
  ] as const) {
    const attachment = start(more);
    const error = await t.throwsAsync(attachment.configure(network));
    t.regex(error?.message ?? '', message);
    t.false(attachment.status().ready);
    await attachment.purge();
  }
  writeFileSync(`${folder}/net.d/20.conflist`, JSON.stringify(one('nowhere')));
  writeFileSync(`${folder}/net.d/10.conf`, JSON.stringify({ cniVersion: '1.0.0', name: 'first', type: 'early' }));
  await t.throwsAsync(start({ path: `${folder}/net.d` }).configure(network), { message: /executables early/ });
});

withStandard('a list of the user: bridge with its own masquerade; purge takes the bridge along', async (t) => {
  const { folder, start, pod, node, underlay } = bed(t);
  const before = snapshot(node);
  const plugins = [
    {
      type: 'bridge',
      bridge: 'mine0',
      isGateway: true,
      ipMasq: true,
      mtu: 1300,
      capabilities: { ipRanges: true },
      ipam: { type: 'host-local', routes: [{ dst: '0.0.0.0/0' }] },
    },
  ];
  writeFileSync(`${folder}/mine.conflist`, JSON.stringify({ cniVersion: '0.4.0', name: 'mine', plugins }));
  const attachment = start({ path: `${folder}/mine.conflist`, masquerade: false });
  t.deepEqual(attachment.capabilities, ['ipv4', 'ipv6']);
  await attachment.configure(network);
  t.notRegex(snapshot(node), /pintle-cni/);
  const [a, b] = [pod('a'), pod('b')];
  await attachment.add(request('a', a));
  const two = await attachment.add(request('b', b));
  await b.serve(8080, 'b');
  await underlay.serve(7070, 'outside');
  t.regex((await a.tcp(two.ips[0]!, 8080)).answer ?? '', /^b 10\.244\.1\.2 /);
  t.deepEqual(await a.tcp(underlayAddress, 7070), { answer: `outside ${nodeAddress(0)} 0` });
  t.regex(a.run('ip', 'link', 'show', 'eth0'), / mtu 1300 /);
  await attachment.purge();
  const left = snapshot(node);
  t.notRegex(left, /mine0|CNI-[0-9a-f]/);
  t.is(left, before);
});

withStandard(
  'another MTU reaches the pods that are there; a pod with limits sends and receives no faster',
  async (t) => {
    const { start, pod, node } = bed(t);
    const attachment = start();
    await attachment.configure(network);
    const [a, b] = [pod('a'), pod('b')];
    const limit = 16_000_000;
    const bandwidth = { egressBitsPerSecond: limit, ingressBitsPerSecond: limit };
    const one = await attachment.add({ ...request('a', a), bandwidth });
    const two = await attachment.add(request('b', b));
    await attachment.configure({ ...network, mtuBytes: 1350 });
    t.regex(a.run('ip', 'link', 'show', 'eth0'), / mtu 1350 /);
    t.deepEqual(await attachment.check({ sandboxId: 'a', netns: a.netns }), []);
    const bytes = 2_000_000;
    await a.serve(8080, 'a');
    await b.serve(8080, 'b');
    for (const [from, to, host, answer] of [
      [a, 'sent', two.ips[0]!, `b ${one.ips[0]} ${bytes}`],
      [b, 'received', one.ips[0]!, `a ${two.ips[0]} ${bytes}`],
    ] as const) {
      const began = performance.now();
      t.is((await from.tcp(host, 8080, { bytes, timeoutMs: 60_000 })).answer, answer);
      const rate = (bytes * 8) / ((performance.now() - began) / 1000);
      t.true(rate < 1.25 * limit, `${rate} bit/s ${to}`);
    }
    await attachment.remove({ sandboxId: 'a' });
    t.notRegex(snapshot(node), /bwp/);
  },
);

withStandard('what somebody removes of our tables is put back', async (t) => {
  const { start, pod, node, underlay } = bed(t);
  const attachment = start();
  await attachment.configure(network);
  const a = pod('a');
  const hostPort = { hostIp: undefined, hostPort: 18_080, containerPort: 80, protocol: 'TCP' as const };
  await attachment.add({ ...request('a', a), hostPorts: [hostPort] });
  await a.serve(80, 'a');
  await underlay.serve(7070, 'outside');
  for (const table of ['pintle-cni', 'pintle-cni-ports']) {
    node.run('nft', 'delete', 'table', 'ip', table);
    await until('pods leave by the node, and a pod reaches itself', async () => {
      const [out, self] = await Promise.all([
        a.tcp(underlayAddress, 7070, { timeoutMs: patience(300) }),
        a.tcp(nodeAddress(0), 18_080, { timeoutMs: patience(300) }),
      ]);
      return out.answer === `outside ${nodeAddress(0)} 0` && self.answer?.startsWith('a ') === true;
    });
  }
  t.true(attachment.status().ready);
});
