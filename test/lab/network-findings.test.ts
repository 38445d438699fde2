/** What `pintle doctor --cluster` reads of one node's kernel, where a whole cluster cannot be brought to have it. */
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import type { Finding, Sandbox } from '../../kernel/contract/index.ts';
import { readSysctl, writeSysctl } from '../../netplugins/linux/sysctl.ts';
import { rivalOwners } from '../../netplugins/linux/trace/firewall.ts';
import { findings, type FindingParts } from '../../plugins/components/node-agent/network/findings.ts';
import { runIptables } from './support/iptables-place.ts';
import { createTopology, type Place } from './support/topology.ts';

const env = { ...process.env, PATH: '/usr/sbin:/usr/bin:/sbin:/bin' };
function command(...[program, ...argv]: readonly string[]): void {
  const { status, stderr } = spawnSync(program!, argv, { encoding: 'utf8', env });
  if (status !== 0) throw new Error(`${program} ${argv.join(' ')}: ${stderr}`);
}

/** The plugins of a node on which they have nothing to say; what is asked here is the kernel. */
const partsOf = (pods: readonly Place[]): FindingParts =>
  ({
    nodeName: 'node-1',
    podCidrs: () => ['10.99.1.0/24'],
    peers: () => [],
    attachment: { status: () => ({ ready: true }), check: async () => [] },
    overlay: { status: () => ({ ready: true, peers: [], mtuBytes: 0 }) },
    proxy: { status: () => ({ ready: true }) },
    runtime: {
      listSandboxes: async () =>
        pods.map(({ netns }, index) => ({
          id: `s${index}`,
          netns,
          ready: true,
          podNamespace: 'default',
          podName: 'a',
        })) as Partial<Sandbox>[],
    },
  }) as unknown as FindingParts;

const found = async (check: string, pods: readonly Place[] = []): Promise<readonly Finding[]> =>
  (await findings(partsOf(pods))).filter((each) => each.check === check);

/** Puts `content` in the place of what the kernel says at `path`, in this test's private mount namespace. */
function pretend(t: ExecutionContext, path: string, content: Readonly<Record<string, string>> | string): void {
  const folder = mkdtempSync(join(tmpdir(), 'pintle-findings-'));
  const source = join(folder, 'value');
  if (typeof content === 'string') writeFileSync(source, content);
  else
    for (const [name, text] of Object.entries(content)) {
      mkdirSync(join(source, name, '..'), { recursive: true });
      writeFileSync(join(source, name), text);
    }
  command('mount', '--bind', source, path);
  t.teardown(() => {
    command('umount', path);
    rmSync(folder, { recursive: true });
  });
}

test.serial('room for connections: the table of this machine is said to be nearly full before it is', async (t) => {
  command(
    'nft',
    'add table ip watch; add chain ip watch out { type filter hook output priority 0; }; add rule ip watch out ct state new accept',
  );
  t.teardown(() => command('nft', 'delete table ip watch'));
  const socket = createSocket('udp4').bind(0, '127.0.0.1');
  t.teardown(() => socket.close());
  await once(socket, 'listening');
  await new Promise<void>((resolve) => socket.send('x', socket.address().port, '127.0.0.1', () => resolve()));
  const tracked = Number(readSysctl('net.netfilter.nf_conntrack_count'));
  t.true(tracked > 0, 'the kernel tracks the datagram');
  t.deepEqual(await found('conntrack-room'), []);
  // The table's size belongs to the machine and is not this test's to change; how full it is, is the kernel's own word.
  pretend(t, '/proc/sys/net/netfilter/nf_conntrack_max', `${tracked}\n`);
  const [finding] = await found('conntrack-room');
  t.regex(finding!.text, /^\d+ of \d+ connections are tracked: when it is full/);
  t.is(finding!.cure, `sysctl -w net.netfilter.nf_conntrack_max=${tracked * 2}`);
  t.false(finding!.isFatal);
});

test.serial('forwarding: of both families, where pods have both', async (t) => {
  const settings = ['net.ipv4.ip_forward', 'net.ipv6.conf.all.forwarding'] as const;
  for (const name of settings) {
    const before = readSysctl(name)!;
    t.teardown(() => writeSysctl(name, before));
    writeSysctl(name, 0);
  }
  const both = { ...partsOf([]), podCidrs: () => ['10.99.1.0/24', 'fd99:1::/64'] };
  const cures = async (parts: FindingParts): Promise<unknown[]> =>
    (await findings(parts)).filter(({ check }) => check === 'forwarding').map(({ cure }) => cure);
  t.deepEqual(await cures(partsOf([])), ['sysctl -w net.ipv4.ip_forward=1']);
  t.deepEqual(
    await cures(both),
    settings.map((name) => `sysctl -w ${name}=1`),
  );
  for (const name of settings) writeSysctl(name, 1);
  t.deepEqual(await cures(both), []);
});

test.serial('room for neighbours: the same', async (t) => {
  command('ip', 'link', 'add', 'many', 'type', 'veth', 'peer', 'name', 'other');
  t.teardown(() => command('ip', 'link', 'del', 'many'));
  command('ip', 'link', 'set', 'many', 'up');
  for (let host = 1; host <= 9; host += 1)
    command(
      'ip',
      'neighbour',
      'add',
      `203.0.113.${host}`,
      'lladdr',
      '02:00:00:00:00:01',
      'dev',
      'many',
      'nud',
      'stale',
    );
  t.deepEqual(await found('neighbour-room'), []);
  // The kernel shows this limit in the machine's first network namespace alone.
  pretend(t, '/proc/sys/net/ipv4/neigh', { 'default/gc_thresh3': '10\n' });
  const [finding] = await found('neighbour-room');
  t.regex(finding!.text, /^\d+ of 10 neighbours \(ARP\) are known: when it is full/);
  t.is(finding!.cure, 'sysctl -w net.ipv4.neigh.default.gc_thresh3=20');
});

test.serial('pods of a bridge that reach each other past the packet filter', async (t) => {
  const { pod } = createTopology(t, 0);
  const [bridged, routed] = [pod('bridged'), pod('routed')];
  const setting = 'net.bridge.bridge-nf-call-iptables';
  const before = readSysctl(setting);
  if (before !== undefined) {
    writeSysctl(setting, 0);
    t.teardown(() => writeSysctl(setting, before));
  }
  command('ip', 'link', 'add', 'br9', 'type', 'bridge');
  t.teardown(() => command('ip', 'link', 'del', 'br9'));
  for (const [place, range] of [
    [bridged, 24],
    [routed, 32],
  ] as const) {
    const near = `near${range}`;
    command('ip', 'link', 'add', near, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', place.netns);
    t.teardown(() => spawnSync('ip', ['link', 'del', near], { env }));
    command('ip', 'link', 'set', near, 'master', 'br9', 'up');
    place.run('ip', 'address', 'add', `10.99.1.${range}/${range}`, 'dev', 'eth0');
    place.run('ip', 'link', 'set', 'eth0', 'up');
  }
  t.deepEqual(await found('bridge-netfilter', [routed]), [], 'its node routes each of its packets');
  const [finding] = await found('bridge-netfilter', [routed, bridged]);
  t.regex(finding!.text, /pods of one bridge reach each other past the packet filter \(br_netfilter is off\)/);
  t.true(finding!.isFatal);
  if (existsSync('/proc/sys/net/bridge')) {
    writeSysctl(setting, 1);
    t.deepEqual(await found('bridge-netfilter', [routed, bridged]), []);
  }
});

test.serial(
  'other service proxies and overlays on the node: by their chains in any back end, not by ours',
  async (t) => {
    const { nodes } = createTopology(t, 1);
    const [node] = nodes as [Place];
    const rivals = async (): Promise<string[]> =>
      (await rivalOwners({ netns: node.netns })).map(({ text }) =>
        /^(\S+) has rules .*?\((.*?)\)/.exec(text)!.slice(1).join(': '),
      );
    node.run(
      'nft',
      'add table ip pintle-proxy; add chain ip pintle-proxy services; add table ip filter; add chain ip filter KUBE-MARK',
    );
    t.deepEqual(await rivals(), []);
    node.run(
      'nft',
      'add table ip nat; add chain ip nat KUBE-SERVICES; add chain ip nat KUBE-NODEPORTS; add chain ip nat FLANNEL-POSTRTG',
    );
    t.deepEqual(await rivals(), [
      'kube-proxy: chain KUBE-SERVICES of nft table ip nat and 1 more',
      'flanneld: chain FLANNEL-POSTRTG of nft table ip nat',
    ]);
    node.run('nft', 'delete table ip nat');
    runIptables(node, 'iptables-legacy', '-t', 'nat', '-N', 'KUBE-SERVICES');
    t.deepEqual(await rivals(), ['kube-proxy: iptables-legacy chain KUBE-SERVICES']);
    runIptables(node, 'iptables-legacy', '-t', 'nat', '-X', 'KUBE-SERVICES');
    node.run('ip', 'link', 'add', 'kube-ipvs0', 'type', 'bridge');
    t.deepEqual(await rivals(), ['kube-proxy: link kube-ipvs0']);
    node.run('ip', 'link', 'set', 'kube-ipvs0', 'alias', 'pintle service addresses');
    t.deepEqual(await rivals(), []);
  },
);
