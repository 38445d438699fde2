/** A cluster of two nodes with both families, by the block of docs/configuration.md: what kubectl shows, and traffic by each. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import test from 'ava';
import type { PacketTrace } from '../../cli/diagnose/trace-packet.ts';
import { kubectls, program, run, TestCluster } from './support/cluster.ts';
import { eventually } from './support/pods.ts';

const guide = readFileSync(fileURLToPath(new URL('../../../docs/configuration.md', import.meta.url)), 'utf8');
const block = /^## IPv6 and dual stack\n[^`]*```yaml\n([^`]*)```/m.exec(guide)?.[1] ?? '';
const folder = mkdtempSync(join(tmpdir(), 'pintle-dual-stack-'));
const config = join(folder, 'cluster.yaml');
writeFileSync(config, block);

const server = `require('http')
  .createServer((q, r) => r.end(JSON.stringify({ pod: require('os').hostname(), from: q.socket.remoteAddress, ips: process.env.IPS })))
  .listen(8080, '::')`;
/** Asks each URL until it was answered by as many pods as there are, and prints who answered, and whom they saw; names it resolves. */
const client = `
const { get } = require('http'), dns = require('dns').promises;
const ask = (url) => new Promise((resolve) => {
  let text = '';
  get(url, { agent: false, timeout: 10000 }, (a) => a.on('data', (d) => (text += d)).on('end', () => resolve(JSON.parse(text))))
    .on('timeout', function () { this.destroy(new Error('timeout')); })
    .on('error', (e) => resolve({ pod: e.code ?? e.message, from: '' }));
});
(async () => {
  const [pods, ...targets] = process.argv.slice(1);
  const told = {};
  for (const target of targets) {
    if (!target.startsWith('http')) {
      told[target] = [await dns.resolve4(target).catch((e) => e.code), await dns.resolve6(target).catch((e) => e.code)];
      continue;
    }
    const seen = {};
    for (let i = 0; i < 100 && Object.keys(seen).length < pods; i++) {
      const { pod, from } = await ask(target);
      seen[pod] = from;
    }
    told[target] = seen;
  }
  console.log(JSON.stringify(told));
})();`;

const manifest = `
apiVersion: apps/v1
kind: DaemonSet
metadata: { name: web }
spec:
  selector: { matchLabels: { app: web } }
  template:
    metadata: { labels: { app: web } }
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: web
        image: host
        command: ${JSON.stringify([process.execPath, '-e', server])}
        env: [{ name: IPS, valueFrom: { fieldRef: { fieldPath: status.podIPs } } }]
        readinessProbe: { httpGet: { path: /, port: 8080 }, periodSeconds: 1, timeoutSeconds: 30 }
---
apiVersion: v1
kind: Service
metadata: { name: both }
spec: { type: NodePort, ipFamilyPolicy: RequireDualStack, selector: { app: web }, ports: [{ port: 80, targetPort: 8080 }] }
---
apiVersion: v1
kind: Service
metadata: { name: six }
spec: { ipFamilies: [IPv6], selector: { app: web }, ports: [{ port: 80, targetPort: 8080 }] }
---
apiVersion: v1
kind: Service
metadata: { name: plain }
spec: { selector: { app: web }, ports: [{ port: 80, targetPort: 8080 }] }
---
apiVersion: v1
kind: Service
metadata: { name: bare }
spec: { clusterIP: None, ipFamilyPolicy: PreferDualStack, selector: { app: web }, ports: [{ port: 8080 }] }
`;

let cluster: TestCluster | undefined;
test.before(async () => {
  cluster = await TestCluster.start({ nodes: 2, flags: ['--config', config] });
});
test.after.always(async () => {
  await cluster?.stop();
  rmSync(folder, { recursive: true, force: true });
});

type Told = Readonly<Record<string, Readonly<Record<string, string>>>>;
const isIpv6 = (address: string): boolean => address.includes(':');
const families = (addresses: readonly string[]): string => addresses.map((one) => (isIpv6(one) ? 6 : 4)).join();
const url = (address: string, port: number | string): string =>
  `http://${isIpv6(address) ? `[${address}]` : address}:${port}/`;

test('nodes, pods and Services have both families, and traffic goes by each', async (t) => {
  const [binary] = kubectls();
  if (binary === undefined) return t.fail('kubectl is missing');
  const ok = async (argv: readonly string[], input?: string): Promise<string> => {
    const { code, stdout, stderr } = await cluster!.kubectl(binary, argv, input);
    t.is(code, 0, `kubectl ${argv.join(' ')}: ${stderr}${stdout}`);
    return stdout.trim();
  };
  const show = async (what: readonly string[], path: string): Promise<readonly string[]> =>
    (await ok(['get', ...what, '-o', `jsonpath=${path}`])).split(/\s+/).filter(Boolean);

  await ok(['apply', '-f', '-'], manifest);
  await ok(['rollout', 'status', 'daemonset/web', '--timeout=120s']);
  const nodeIps: string[] = [];
  for (const node of ['node-1', 'node-2']) {
    const internal = await show(['node', node], '{.status.addresses[?(@.type=="InternalIP")].address}');
    t.is(families(internal), '4,6', node);
    t.is(families(await show(['node', node], '{.spec.podCIDRs[*]}')), '4,6', node);
    nodeIps.push(...internal);
  }
  const names = await show(['pods', '-l', 'app=web'], '{.items[*].metadata.name}');
  t.is(names.length, 2);
  const ipsOf = new Map<string, readonly string[]>();
  for (const name of names) ipsOf.set(name, await show(['pod', name], '{.status.podIPs[*].ip}'));
  for (const ips of ipsOf.values()) t.is(families(ips), '4,6');
  const clusterIps = await show(['service', 'both'], '{.spec.clusterIPs[*]}');
  t.is(families(clusterIps), '4,6');
  const [six] = await show(['service', 'six'], '{.spec.clusterIPs[*]}');
  t.is(families(await show(['service', 'six'], '{.spec.clusterIPs[*]}')), '6');
  t.is(families(await show(['service', 'plain'], '{.spec.clusterIPs[*]}')), '4');
  t.regex(await ok(['describe', 'service', 'both']), new RegExp(`IPs: +${clusterIps.join(',')}\n`));
  const [nodePort = ''] = await show(['service', 'both'], '{.spec.ports[0].nodePort}');

  // In a pod: Services by both addresses and by name, NodePorts, and the pod of the other node, which sees who asks.
  const [here = '', there = ''] = names;
  const virtual = [...clusterIps, six!, 'six'].map((address) => url(address, 80));
  const nodePorts = nodeIps.map((address) => url(address, nodePort));
  const direct = ipsOf.get(there)!.map((address) => url(address, 8080));
  const domain = 'default.svc.cluster.local';
  const resolved = ['both', 'six', 'bare'].map((name) => `${name}.${domain}`);
  const nobody = url('fd00:10:96::fffe', 80);
  const inPod = ['exec', here, '--', process.execPath, '-e', client];
  const several = async (): Promise<Told> => JSON.parse(await ok([...inPod, '2', ...virtual, ...nodePorts])) as Told;
  // Pods that are ready are behind their Services on each node a moment later, and from then on each time.
  let told: Told = {};
  await eventually(
    async () => {
      told = await several();
      return (
        Object.values(told).every((seen) => Object.keys(seen).sort().join() === [...names].sort().join()) || undefined
      );
    },
    () => JSON.stringify(told),
  );
  told = await several();
  for (const target of [...virtual, ...nodePorts])
    t.deepEqual(Object.keys(told[target] ?? {}).sort(), [...names].sort(), target);
  const single = JSON.parse(await ok([...inPod, '1', ...direct, nobody, ...resolved])) as Told;
  for (const [index, target] of direct.entries()) {
    const from = ipsOf.get(here)![index]!;
    t.deepEqual(single[target], { [there]: isIpv6(from) ? from : `::ffff:${from}` }, 'the source is kept');
  }
  t.deepEqual(single[nobody], { ECONNREFUSED: '' }, 'an address of the range that no Service has');
  t.deepEqual(single[`both.${domain}`], [[clusterIps[0]], [clusterIps[1]]] as never);
  t.deepEqual(single[`six.${domain}`], ['ENODATA', [six]] as never);
  const bare = single[`bare.${domain}`] as unknown as readonly (readonly string[])[];
  t.deepEqual(bare.flat().sort(), [...ipsOf.values()].flat().sort());
  const logged = await ok(['exec', here, '--', 'sh', '-c', 'echo $IPS; grep -c "$HOSTNAME\\|$0" /etc/hosts', here]);
  t.is(logged, `${ipsOf.get(here)!.join(',')}\n2`);

  // A trace goes by each family that both have, or by the one that is asked for; what is missing of one is seen.
  const traced = async (...more: readonly string[]) => {
    const argv = [program, 'trace', `pod/${here}`, ...more, '-o', 'json'];
    const { code, stdout, stderr } = await run(process.execPath, argv, {
      env: { ...process.env, KUBECONFIG: cluster!.kubeconfig },
    });
    if (stdout === '') return { code, stderr };
    const { otherFamily, ...main } = JSON.parse(stdout) as PacketTrace & { otherFamily?: PacketTrace };
    const destinations = [main, otherFamily].flatMap((one) =>
      one === undefined
        ? []
        : [one.flow, ...one.hop.paths.map(({ flow }) => flow)].map(({ destination }) => destination),
    );
    return { code, to: main.to, destinations: [...destinations].sort() };
  };
  const [fours, sixes] = [0, 1].map((at) => [clusterIps[at]!, ...names.map((name) => ipsOf.get(name)![at]!)].sort());
  t.deepEqual(await traced('svc/both'), {
    ...{ code: 0, to: `svc/both (${clusterIps[0]}:80 TCP)` },
    destinations: [...fours!, ...sixes!].sort(),
  });
  t.deepEqual(await traced('svc/both', '--family', 'ipv6'), {
    ...{ code: 0, to: `svc/both ([${clusterIps[1]}]:80 TCP)`, destinations: sixes },
  });
  t.deepEqual((await traced(`pod/${there}:8080`, '--family', 'ipv4')).destinations, [
    ...[direct[0], direct[0]].map((one) => new URL(one!).hostname),
  ]);
  t.like(await traced('svc/six', '--family', 'ipv4'), {
    stderr: "error [BAD_REQUEST] the packet's destination has no address of family ipv4: expected one of ipv6\n",
  });

  // From outside of the nodes: the network that they are on.
  const asUser = process.getuid?.() === 0 ? [] : ['-U', '--preserve-credentials'];
  const lab = ['-t', String(cluster!.record().lab.pid), ...asUser, '-n', process.execPath, '-e', client];
  const outside = await run('nsenter', [...lab, '2', ...nodePorts]);
  t.is(outside.code, 0, outside.stderr);
  for (const [target, seen] of Object.entries(JSON.parse(outside.stdout) as Told))
    t.deepEqual(Object.keys(seen).sort(), [...names].sort(), `${target} from outside`);
  return undefined;
});
