/**
 * Another attachment, overlay and proxy on a running cluster: the network works, the old one is gone, what is foreign stays;
 * and on each of them a node is given another address.
 */
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { Agent } from './support/agents.ts';
import { kubectls, TestCluster } from './support/cluster.ts';
import { eventually } from './support/pods.ts';

interface Choice {
  readonly attachment: string;
  readonly overlay: string;
  readonly proxy: string;
}
const first: Choice = { attachment: 'bridge', overlay: 'vxlan', proxy: 'nftables' };
/** Each of the three changes at every step; some overlays use the nodes' other link, by its range or its name. */
const steps: readonly { readonly choice: Choice; readonly underlay?: string }[] = [
  {
    choice: { attachment: 'ptp', overlay: 'host-gw', proxy: 'iptables' },
    underlay: '{ cidrs: [172.31.9.0/24] }',
  },
  { choice: { attachment: 'cni', overlay: 'flannel-udp', proxy: 'userspace' }, underlay: '{ interface: eth1 }' },
  { choice: first },
];
const traces: Readonly<Record<string, RegExp>> = {
  bridge: /\bcni0\b|pintle-bridge/,
  ptp: /\bptp[0-9a-f]{6}|pintle-ptp/,
  cni: /pintle-cni/,
  vxlan: /flannel\.1\b/,
  'host-gw': /10\.244\.\d+\.0\/24 via 172\.31\.9\./,
  'flannel-udp': /\bflannel0\b/,
  nftables: /table ip6? pintle-proxy\b/,
  iptables: /PINTLE-/,
  userspace: /pintle-userspace/,
};

const folder = mkdtempSync(join(tmpdir(), 'pintle-switch-'));
const config = join(folder, 'cluster.yaml');
const write = (choice: Choice, underlay = '{}') =>
  writeFileSync(
    config,
    `apiVersion: pintle.dev/v1
kind: ClusterConfiguration
plugins:
  use:
    attachment: ${choice.attachment}
    overlay: { name: ${choice.overlay}, config: { underlay: ${underlay} } }
    proxy: ${choice.proxy}
`,
  );
let cluster: TestCluster;
test.before(async () => {
  write(first);
  cluster = await TestCluster.start({ nodes: 2, flags: ['--config', config] });
});
test.after.always(async () => {
  await cluster?.stop();
  rmSync(folder, { recursive: true, force: true });
});

async function kubectl(...argv: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await cluster.kubectl(kubectls()[0]!, argv);
  if (code !== 0) throw new Error(`kubectl ${argv.join(' ')}: ${stderr}`);
  return stdout.trim();
}

function onNode(agent: Agent, ...argv: readonly string[]): string {
  const { status, stdout, stderr } = spawnSync('nsenter', ['--target', String(agent.pid), '--net', '--', ...argv], {
    encoding: 'utf8',
  });
  if (status !== 0) throw new Error(`${argv.join(' ')}: ${stderr}`);
  return stdout;
}

/** Everything that a network may leave on a node, without counters, and names and numbers that come anew. */
const networkOf = (agent: Agent): string =>
  [
    ['/usr/sbin/nft', '-s', 'list', 'ruleset'],
    ['iptables-legacy-save'],
    ['ip6tables-legacy-save'],
    ['ip', '-o', 'address'],
    ['ip', '-o', 'link'],
    ['ip', 'route', 'show', 'table', 'all'],
    ['ip', '-6', 'route', 'show', 'table', 'all'],
    ['ip', 'rule'],
    ['ip', '-6', 'rule'],
    ['bridge', 'fdb'],
    ['ip', 'neighbour', 'show', 'nud', 'permanent'],
    ['sysctl', '-n', 'net.ipv4.ip_forward', 'net.ipv4.conf.eth0.send_redirects', 'net.ipv4.conf.all.route_localnet'],
  ]
    .map((argv) => onNode(agent, ...argv))
    .join('\n')
    .replaceAll(/^# .*$/gm, '')
    .replaceAll(/\[\d+:\d+\]/g, '');

/** As a set of lines. */
const shape = (text: string): string => {
  const lines = text
    .replaceAll(/^\d+: /gm, '')
    .replaceAll(/([0-9a-f]{2}:){5}[0-9a-f]{2}/g, 'MAC')
    .replaceAll(/-[ab]\b/g, '-g')
    // Where an element stands in its list is no difference; of short ones there are several in a line.
    .replaceAll(/elements = \{ ?/g, '')
    .replaceAll(/, \b/g, '\n')
    .replaceAll(/\s*[,}]\s*$/gm, '')
    .replaceAll(/^\s+/gm, '')
    .split('\n')
    .filter((line) => !/\bveth[0-9a-f]|fe80::|^ff00|multicast/.test(line));
  return [...new Set(lines)].sort().join('\n');
};

const request = (url: string): string =>
  `require("http").get("${url}", { timeout: 2000 }, (r) => r.pipe(process.stdout)).on("error", () => process.exit(1))`;

/** Through the Service, from a pod that itself was restarted if it had to be. */
async function answers(pod = 'deploy/web', url = 'http://web'): Promise<boolean> {
  const argv = ['exec', pod, '--', process.execPath, '-e', request(url)];
  const { code, stdout } = await cluster.kubectl(kubectls()[0]!, argv);
  return code === 0 && stdout === 'hello';
}

/** One connection from a pod of the first node to a pod of the second, which says something all the time. */
async function conversation(): Promise<{ end(): Promise<string> }> {
  const [from = '', to = ''] = await Promise.all(['node-1', 'node-2'].map(webPodOf));
  const address = await kubectl('get', 'pod', to, '-o', 'jsonpath={.status.podIP}');
  const code = `
    const agent = new (require("http").Agent)({ keepAlive: true, maxSockets: 1 });
    const sockets = new Set();
    let isOver = false;
    process.stdin.on("end", () => (isOver = true)).resume();
    const say = () => isOver ? process.exit(console.log("connections: " + sockets.size)) :
      require("http").get({ host: "${address}", port: 8080, agent }, (r) => r.on("end", () => setTimeout(say, 100)).resume())
        .on("socket", (s) => sockets.add(s)).on("error", (e) => process.exit(console.log(e.message)));
    say();`;
  const child = spawn(kubectls()[0]!, ['exec', '-i', from, '--', process.execPath, '-e', code], {
    env: { PATH: process.env['PATH'], HOME: folder, KUBECONFIG: cluster.kubeconfig },
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  let said = '';
  child.stdout.on('data', (chunk: Buffer) => (said += chunk.toString()));
  const closed = new Promise<void>((resolve) => child.once('close', () => resolve()));
  return {
    async end() {
      child.stdin.end();
      await closed;
      return said.trim();
    },
  };
}

/** As a lease that is not renewed but replaced: with the old address the node loses its routes. */
function readdress(agent: Agent, link: string, address: string): void {
  const replace = `
    gateway=$(ip route show default dev "$1")
    ip address flush dev "$1" scope global
    ip address add "$2/24" dev "$1"
    [ -z "$gateway" ] || ip route add $gateway dev "$1"`;
  onNode(agent, 'sh', '-c', replace, 'sh', link, address);
}

async function field(words: string, path: string): Promise<string> {
  return kubectl('get', ...words.split(' '), '-o', `jsonpath=${path}`);
}

const endpoint = '{.endpoints[0].addresses[0]}';
/** The overlay tells peers `announced`. */
async function isKnownAt(address: string, announced: string): Promise<boolean> {
  const all = await Promise.all([
    field('node node-2', '{.status.addresses[0].address}'),
    field('node node-2', '{.metadata.annotations.flannel\\.alpha\\.coreos\\.com/public-ip}'),
    field('endpointslice -n kube-system kube-dns-node-2', endpoint),
    field('endpointslice kubernetes-node-2', endpoint),
  ]);
  return String(all) === String([address, announced, address, address]);
}

async function makeWeb(): Promise<void> {
  // It ends no connection that is silent for a while, as one is whose way has just changed on a busy machine.
  const server = `require('http').createServer({ keepAliveTimeout: 600000 }, (q, r) => r.end('hello')).listen(8080)`;
  await kubectl('create', 'deployment', 'web', '--image=host', '--replicas=4', '--', process.execPath, '-e', server);
  await kubectl('expose', 'deployment', 'web', '--port=80', '--target-port=8080', '--type=NodePort');
  await kubectl('rollout', 'status', 'deployment/web', '--timeout=120s');
  await eventually(async () => ((await answers()) ? true : undefined));
}
interface WebPod {
  readonly name: string;
  readonly restarts: number;
}
/** In order of name. */
async function webPods(): Promise<readonly WebPod[]> {
  const columns = 'custom-columns=NAME:.metadata.name,RESTARTS:.status.containerStatuses[0].restartCount';
  const lines = await kubectl(
    'get',
    'pods',
    '-l',
    'app=web',
    '--sort-by=.metadata.name',
    '--no-headers',
    '-o',
    columns,
  );
  return lines.split('\n').map((line) => {
    const [name = '', restarts] = line.trim().split(/\s+/);
    return { name, restarts: Number(restarts) };
  });
}

async function webPodOf(node: string): Promise<string> {
  return kubectl(
    ...['get', 'pods', '-l', 'app=web', '--field-selector', `spec.nodeName=${node}`],
    ...['-o', 'jsonpath={.items[0].metadata.name}'],
  );
}

async function removeWeb(): Promise<void> {
  await kubectl('delete', 'deployment', 'web');
  await kubectl('delete', 'service', 'web');
  await eventually(async () =>
    (await kubectl('get', 'pods', '-l', 'app=web', '-o', 'name')) === '' ? true : undefined,
  );
}

test('bridge, vxlan, nftables to ptp, host-gw, iptables to cni, flannel-udp, userspace, and back', async (t) => {
  t.timeout(300_000);
  const agents = ['node-1', 'node-2'].map((node) => new Agent(cluster, node));
  for (const agent of agents) {
    onNode(
      agent,
      '/usr/sbin/nft',
      'add table inet theirs; add chain inet theirs c { type filter hook input priority 5; }',
    );
    onNode(agent, 'ip', 'route', 'add', '203.0.113.0/24', 'dev', 'lo');
  }
  const [one, two] = agents as [Agent, Agent];
  onNode(one, 'ip', 'link', 'add', 'eth1', 'type', 'veth', 'peer', 'name', 'eth1', 'netns', String(two.pid));
  agents.forEach((agent, at) => {
    onNode(agent, 'ip', 'address', 'add', `172.31.9.${at + 1}/24`, 'dev', 'eth1');
    onNode(agent, 'ip', 'link', 'set', 'eth1', 'up');
  });
  // Each node's DNS and way to the API are endpoints of their Services a moment after the node is ready.
  await eventually(() =>
    agents.every((agent) =>
      ['10\\.96\\.0\\.10 \\. udp \\. 53', '10\\.96\\.0\\.1 \\. tcp \\. 443'].every((address) =>
        new RegExp(`${address} : 192\\.`).test(networkOf(agent)),
      ),
    )
      ? true
      : undefined,
  );
  const before = agents.map((agent) => shape(networkOf(agent)));
  // They take the first addresses of each node, and go: another attachment gives those to the pods that stay.
  await kubectl('create', 'deployment', 'early', '--image=host', '--replicas=6', '--', 'sleep', 'infinity');
  await kubectl('rollout', 'status', 'deployment/early', '--timeout=120s');
  await makeWeb();
  await kubectl('run', 'once', '--image=host', '--restart=Never', '--', 'sleep', 'infinity');
  await kubectl('wait', '--for=condition=Ready', 'pod/once', '--timeout=150s');
  await kubectl('delete', 'deployment', 'early', '--cascade=foreground');
  const original = await webPods();

  let last = first;
  let host = 12;
  const moveTo = async (name: string, next: number, isOnEth1: boolean): Promise<void> => {
    const talk = await conversation();
    const old = `192.168.77.${host}`;
    host = next;
    const address = `192.168.77.${host}`;
    const nodePort = await field('service web', '{.spec.ports[0].nodePort}');
    readdress(two, 'eth0', address);
    const other = `172.31.9.${host}`;
    if (isOnEth1) readdress(two, 'eth1', other);
    await eventually(
      async () => (await isKnownAt(address, isOnEth1 ? other : address).catch(() => false)) || undefined,
    );
    const pods = await Promise.all(['node-1', 'node-2'].map(webPodOf));
    const isServed = async (pod: string) => {
      await eventually(async () => (await answers(pod)) || undefined);
      await eventually(async () => (await answers(pod, `http://${address}:${nodePort}`)) || undefined);
      t.false(await answers(pod, `http://${old}:${nodePort}`), `${name}: nobody answers at the old address`);
    };
    await Promise.all(pods.map(isServed));
    t.is(await talk.end(), 'connections: 1', `${name}: what was connected stays so`);
  };
  for (const { choice: step, underlay } of steps) {
    write(step, underlay);
    for (const agent of agents) await agent.kill();
    for (const agent of agents) agent.start();
    for (const agent of agents) await eventually(() => agent.pid);
    await kubectl('wait', '--for=condition=Ready', 'node/node-1', 'node/node-2', '--timeout=150s');
    const choice = Object.values(step);
    // A pod of every node asks, and is sent to all of them.
    await eventually(async () => {
      for (let count = 0; count < 8; count += 1) if (!(await answers())) return undefined;
      return true;
    });
    const former = Object.values(last).filter((each) => !choice.includes(each));
    for (const agent of agents) {
      // The pods that answered may all be the other node's.
      let missing: readonly string[] = [];
      const network = await eventually(
        () => {
          const found = networkOf(agent);
          missing = [
            ...choice.filter((name) => !traces[name]!.test(found)).map((name) => `${name} is not there`),
            ...former.filter((name) => traces[name]!.test(found)).map((name) => `${name} is not gone`),
          ];
          return missing.length === 0 ? found : undefined;
        },
        () => `${agent.node}: ${missing.join(', ')}`,
      );
      t.regex(network, /table inet theirs/);
      t.regex(network, /203\.0\.113\.0\/24 dev lo/);
    }
    if (last === first) {
      // Those of the other node may be made anew while these answer.
      const now = await eventually(async () => {
        const found = await webPods();
        return found.every(({ restarts }) => restarts > 0) ? found : undefined;
      });
      const once = ['get', 'pod', 'once', '-o', 'jsonpath={.status.phase} {.status.reason}'];
      await eventually(async () => (await kubectl(...once)) === 'Failed PodNetworkChanged' || undefined);
      t.deepEqual(
        now.map(({ name }) => name),
        original.map(({ name }) => name),
        'the pods stay',
      );
      for (const { name, restarts } of now) {
        t.is(restarts, 1, `${name} was made anew, as its address went, once`);
        await eventually(async () => {
          const events = await kubectl('get', 'events', '--field-selector', 'reason=SandboxChanged', '-o', 'name');
          return events.includes(`event/${name}.`) ? true : undefined;
        });
      }
    }
    await moveTo(step.overlay, host === 12 ? 62 : 12, underlay !== undefined);
    last = step;
  }
  await kubectl('delete', 'pod', 'once');
  await removeWeb();
  readdress(two, 'eth0', '192.168.77.12');
  readdress(two, 'eth1', '172.31.9.2');
  // An end, so that what differs is shown.
  const deadline = Date.now() + 120_000;
  await eventually(() =>
    agents.every((agent, index) => shape(networkOf(agent)) === before[index]) || Date.now() > deadline
      ? true
      : undefined,
  );
  agents.forEach((agent, index) => t.is(shape(networkOf(agent)), before[index]!, agent.node));
});
