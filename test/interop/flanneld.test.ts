/**
 * Nodes of ours and one that runs the real flanneld (PINTLE_TEST_FLANNELD names the program) are one network: each backend,
 * each way, at the full MTU, through restarts and deletions. flanneld is also a client of the API, by client-go: its log has
 * no error and no warning.
 */
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { labMainPid } from '../../cli/up/lab-processes.ts';
import { Agent, agentPid, commandLine, labProcesses } from '../cluster/support/agents.ts';
import { TestCluster } from '../cluster/support/cluster.ts';
import { eventually, Pods, shell } from '../cluster/support/pods.ts';
import { Place } from '../lab/support/topology.ts';
import { flannelAnnotation as flannel, FlanneldNode } from './support/flanneld-node.ts';

interface Shape {
  readonly overlay: string;
  readonly options?: Readonly<Record<string, unknown>>;
  readonly backend: Readonly<Record<string, unknown>>;
  readonly dual?: boolean;
  /** What an underlay of 1500 bytes leaves: ours, and in flanneld's reckoning. */
  readonly mtu: number;
  readonly theirMtu?: number;
  /** Of flanneld's node. */
  readonly annotations: (mac?: string, mac6?: string) => Readonly<Record<string, string>>;
}

const theirs = { address: '192.168.77.50', address6: 'fd77::50' };
const network = '10.244.0.0/16';
const network6 = 'fd44::/48';
const vtep = (mac = ''): string => `{"VNI":1,"VtepMAC":"${mac}"}`;
const manager = { [flannel('kube-subnet-manager')]: 'true' };
const publicIp = { [flannel('public-ip')]: theirs.address };
const publicIp6 = { [flannel('public-ipv6')]: theirs.address6 };

const shapes: Readonly<Record<string, Shape>> = {
  vxlan: {
    overlay: 'vxlan',
    backend: { Type: 'vxlan', VNI: 1, Port: 8472 },
    mtu: 1450,
    annotations: (mac) => ({
      ...{ ...manager, ...publicIp },
      [flannel('backend-type')]: 'vxlan',
      [flannel('backend-data')]: vtep(mac),
    }),
  },
  'vxlan, both families': {
    overlay: 'vxlan',
    backend: { Type: 'vxlan', VNI: 1, Port: 8472 },
    dual: true,
    mtu: 1430,
    theirMtu: 1450,
    annotations: (mac, mac6) => ({
      ...{ ...manager, ...publicIp, ...publicIp6 },
      [flannel('backend-type')]: 'vxlan',
      [flannel('backend-data')]: vtep(mac),
      [flannel('backend-v6-data')]: vtep(mac6),
    }),
  },
  'vxlan, direct': {
    overlay: 'vxlan',
    options: { directRouting: true },
    backend: { Type: 'vxlan', VNI: 1, Port: 8472, DirectRouting: true },
    mtu: 1450,
    annotations: (mac) => ({
      ...{ ...manager, ...publicIp },
      [flannel('backend-type')]: 'vxlan',
      [flannel('backend-data')]: vtep(mac),
    }),
  },
  'host-gw': {
    overlay: 'host-gw',
    backend: { Type: 'host-gw' },
    mtu: 1500,
    annotations: () => ({
      ...{ ...manager, ...publicIp },
      [flannel('backend-type')]: 'host-gw',
      [flannel('backend-data')]: 'null',
    }),
  },
  'host-gw, both families': {
    overlay: 'host-gw',
    backend: { Type: 'host-gw' },
    dual: true,
    mtu: 1500,
    annotations: () => ({
      ...{ ...manager, ...publicIp, ...publicIp6 },
      [flannel('backend-type')]: 'host-gw',
      [flannel('backend-data')]: 'null',
      [flannel('backend-v6-data')]: 'null',
    }),
  },
  udp: {
    overlay: 'flannel-udp',
    backend: { Type: 'udp', Port: 8285 },
    mtu: 1472,
    // flanneld's UDP backend does not say its name.
    annotations: () => ({
      ...{ ...manager, ...publicIp },
      [flannel('backend-type')]: '',
      [flannel('backend-data')]: 'null',
    }),
  },
};

interface OurPod {
  readonly node: string;
  readonly place: Place;
  readonly ips: readonly string[];
}

interface Bed {
  readonly shape: Shape;
  readonly flanneld: FlanneldNode;
  readonly agents: readonly [Agent, Agent];
  readonly pods: readonly [OurPod, OurPod];
}

const ourNodes = ['node-1', 'node-2'] as const;

/** The lab gives its nodes IPv4 alone. */
async function addSecondFamily(cluster: TestCluster): Promise<void> {
  for (const [at, node] of ourNodes.entries()) {
    const pid = await eventually(() => {
      const { lab } = existsSync(join(cluster.folder, 'up.json')) ? cluster.record() : { lab: undefined };
      return lab && agentPid(labMainPid(lab.pid), node);
    });
    new Place(`/proc/${pid}/ns/net`).run(...words(`ip address add fd77::1${at + 1}/64 dev eth0 nodad`));
  }
}

async function openBed(t: ExecutionContext, shape: Shape): Promise<Bed> {
  const folder = mkdtempSync(join(tmpdir(), 'pintle-interop-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const isDual = shape.dual === true;
  const config = join(folder, 'cluster.yaml');
  const options = { ...shape.options, ...(isDual ? { underlay: { interface: 'eth0' } } : {}) };
  const document = {
    apiVersion: 'pintle.dev/v1',
    kind: 'ClusterConfiguration',
    cluster: { podCidrs: [network, ...(isDual ? [network6] : [])] },
    plugins: { use: { overlay: { name: shape.overlay, config: options } } },
  };
  writeFileSync(config, JSON.stringify(document));
  const cluster = await TestCluster.start({
    nodes: 2,
    flags: ['--config', config],
    ...(isDual ? { meanwhile: addSecondFamily } : {}),
  });
  t.teardown(() => cluster.stop());
  const [one, two] = ourNodes;
  const flanneld = await FlanneldNode.create(cluster, {
    address: theirs.address,
    ...(isDual ? { address6: theirs.address6 } : {}),
    netConf: {
      Network: network,
      ...(isDual ? { EnableIPv6: true, IPv6Network: network6 } : {}),
      Backend: shape.backend,
    },
    // As in flannel's own manifest.
    argv: ['--ip-masq'],
  });
  t.teardown(() => flanneld.stop());
  return {
    shape,
    flanneld,
    agents: [new Agent(cluster, one), new Agent(cluster, two)],
    pods: [await startPod(t, cluster, one), await startPod(t, cluster, two)],
  };
}

async function startPod(t: ExecutionContext, cluster: TestCluster, node: string): Promise<OurPod> {
  const api = new Pods(cluster);
  // Found by its command line, which no other process of the lab has.
  const line = `sleep ${90_000 + Number(node.at(-1))}`;
  await api.create(`on-${node}`, { nodeName: node, containers: [shell('c', `exec ${line}`)] });
  const { status } = await api.ready(`on-${node}`);
  const pid = await eventually(() => labProcesses(cluster).find((one) => commandLine(one).join(' ') === line));
  const place = new Place(`/proc/${pid}/ns/net`);
  t.teardown(() => place.stop());
  await place.serve(80, node);
  return { node, place, ips: (status?.podIPs ?? []).map(({ ip }) => ip) };
}

/** All kinds of packets between the two, in each family, up to the MTU. */
async function carries(t: ExecutionContext, { flanneld, shape }: Bed, pod: OurPod): Promise<void> {
  t.is(pod.ips.length, shape.dual === true ? 2 : 1);
  for (const [at, ip] of pod.ips.entries()) {
    const their = flanneld.podIps[at]!;
    const isV6 = ip.includes(':');
    await eventually(async () => ((await pod.place.tcp(their, 80)).answer === undefined ? undefined : true));
    const large = { bytes: 2_000_000 };
    t.deepEqual(await pod.place.tcp(their, 80, large), { answer: `${flanneld.name} ${ip} 2000000` });
    t.deepEqual(await flanneld.pod.tcp(ip, 80, large), { answer: `${pod.node} ${their} 2000000` });
    if (!isV6) {
      t.deepEqual(await pod.place.udp(their, 80, { bytes: 1_200 }), { answer: `${flanneld.name} ${ip}` });
      t.deepEqual(await flanneld.pod.udp(ip, 80, { bytes: 1_200 }), { answer: `${pod.node} ${their}` });
    }
    const ping = (from: Place, to: string, bytes: number): string =>
      from.run(...words(`ping -M do -c 1 -W 5 -s ${bytes - (isV6 ? 48 : 28)} ${to}`));
    for (const [from, to] of [[pod.place, their] as const, [flanneld.pod, ip] as const]) {
      t.regex(ping(from, to, shape.mtu), / 0% packet loss/);
      t.throws(() => ping(from, to, 1_501));
    }
  }
}

const words = (line: string): [string, ...string[]] => line.split(' ') as [string, ...string[]];

const macOf = (place: Place, device: string): string =>
  /link\/ether (\S+)/.exec(place.run('ip', 'link', 'show', device))?.[1] ?? '';

async function flannelsOf(node: FlanneldNode): Promise<Readonly<Record<string, string>>> {
  const { annotations = {} } = (await node.object()).metadata;
  return Object.fromEntries(Object.entries(annotations).filter(([key]) => key.startsWith(flannel(''))));
}

/** Whatever of a node's kernel may lead to a peer. */
const waysOf = (place: Place): string =>
  ['ip route', 'ip -6 route', 'ip neighbour show nud permanent', 'bridge fdb']
    .map((line) => place.run(...words(line)))
    .join('');

/** What client-go and flanneld themselves complain of; not that its own file of before has no second family. */
const complaints = (log: string): readonly string[] =>
  log.split('\n').filter((line) => /^[EWF]\d{4} /.test(line) && !line.includes('/subnet.env'));

for (const [name, shape] of Object.entries(shapes))
  test.serial(name, async (t) => {
    t.timeout(300_000);
    const bed = await openBed(t, shape);
    const { flanneld, pods, agents } = bed;
    const isVxlan = shape.overlay === 'vxlan';
    const device = (): readonly string[] =>
      isVxlan ? ['flannel.1', ...(shape.dual === true ? ['flannel-v6.1'] : [])] : [];
    const macs = (): readonly string[] => device().map((one) => macOf(flanneld.place, one));
    await flanneld.run();
    for (const pod of pods) await carries(t, bed, pod);
    t.is(flanneld.subnetFile()['FLANNEL_MTU'], String(shape.theirMtu ?? shape.mtu));
    t.deepEqual(await flannelsOf(flanneld), shape.annotations(...macs()));

    // It starts anew beside what it left.
    const first = macs();
    await flanneld.end();
    await flanneld.run();
    await carries(t, bed, pods[0]);
    t.deepEqual(complaints(flanneld.log()), []);

    // And after a crash that took its devices along.
    await flanneld.end('SIGKILL');
    for (const one of device()) flanneld.place.run('ip', 'link', 'delete', one);
    await flanneld.run();
    t.deepEqual(macs(), first);
    await carries(t, bed, pods[0]);

    // And set up anew under its old name: the MAC is another.
    await flanneld.end();
    for (const one of device()) flanneld.place.run('ip', 'link', 'delete', one);
    const forget = ['backend-data', 'backend-v6-data'].map((key) => `${flannel(key)}-`);
    await flanneld.kubectl('annotate', 'node', flanneld.name, ...forget);
    await flanneld.run();
    for (const [at, mac] of macs().entries()) t.not(mac, first[at]);
    await carries(t, bed, pods[0]);
    t.deepEqual(await flannelsOf(flanneld), shape.annotations(...macs()));

    // A node of ours goes for ever.
    const [, { ips }] = pods;
    const gone = ips.map((ip) => ip.replace(/[0-9a-f]+$/, isV6(ip) ? '/64' : '0/24'));
    for (const range of shape.overlay === 'flannel-udp' ? [] : gone) t.true(waysOf(flanneld.place).includes(range));
    await agents[1].kill();
    await flanneld.kubectl('delete', 'node', agents[1].node, '--wait=false');
    await eventually(
      () => {
        if (shape.overlay === 'flannel-udp') return flanneld.log().includes(`Subnet removed: ${gone[0]}`) || undefined;
        const ways = waysOf(flanneld.place);
        return [...gone, ...gone.map((range) => range.replace(/\/.*/, ' ')), '192.168.77.12', 'fd77::12'].every(
          (word) => !ways.includes(word),
        )
          ? true
          : undefined;
      },
      () => waysOf(flanneld.place),
    );
    await carries(t, bed, pods[0]);
    t.deepEqual(complaints(flanneld.log()), []);

    // And flanneld's.
    const ours = new Place(`/proc/${agents[0].pid}/ns/net`);
    for (const range of shape.overlay === 'flannel-udp' ? [] : flanneld.podCidrs) t.true(waysOf(ours).includes(range));
    await flanneld.kubectl('delete', 'node', flanneld.name, '--wait=false');
    await eventually(async () => {
      const isKnown = flanneld.podCidrs.some((range) => waysOf(ours).includes(range));
      const { error } = isKnown ? {} : await pods[0].place.tcp(flanneld.podIps[0]!, 80, { timeoutMs: 1_000 });
      return error === undefined ? undefined : true;
    });
    for (const word of [theirs.address, theirs.address6, ...macs()]) t.false(waysOf(ours).includes(word), word);
  });

const isV6 = (ip: string): boolean => ip.includes(':');
