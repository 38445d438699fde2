/**
 * A cluster of two nodes on a kernel that has every proxy: a pod reaches a pod of the other node through its Service, is told
 * how by `pintle trace`, and again after the proxy has changed; what the one before had is gone. Few controllers and no more
 * commands than needed, as every process takes seconds to start where processors are emulated.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { ApiClient } from '../../cli/up/api-client.ts';
import { Agent } from '../cluster/support/agents.ts';
import { kubectls, program, run, TestCluster } from '../cluster/support/cluster.ts';
import { until } from '../lab/support/topology.ts';

const patienceMs = 240_000;
const vip = '10.96.0.50';
/** In the order in which they are used. */
const proxies = (process.env['PINTLE_TEST_PROXIES'] ?? 'ipvs,nftables,ipvs').split(',');
const traces: Readonly<Record<string, RegExp>> = {
  ipvs: /kube-ipvs0|PINTLEVS-|pintle-vs-|TCP {2}0A600032:0050/,
  nftables: /table ip6? pintle-proxy\b/,
  iptables: /PINTLE-/,
};
/** What `pintle trace` names. */
const deciders: Readonly<Record<string, RegExp>> = {
  ipvs: /ipvs tcp 10\.96\.0\.50 80 -> 10\.244\.\d+\.\d+ 8080/,
  nftables: /ip pintle-proxy slots-0-[ab] \{ 10\.96\.0\.50 \. tcp \. 80 : 10\.244\.\d+\.\d+ \. 8080 \}/,
  iptables: /PINTLE-/,
};

const folder = mkdtempSync(join(tmpdir(), 'pintle-vm-cluster-'));
const config = join(folder, 'cluster.yaml');
const choose = (proxy: string): void =>
  writeFileSync(
    config,
    `apiVersion: pintle.dev/v1
kind: ClusterConfiguration
plugins:
  use:
    store: memory
    controller: [endpoint-slice, node-ipam, service-account]
    proxy: ${proxy}
    component: [api-server, scheduler, controller-manager, node-agent, service-proxy]
`,
  );

let cluster: TestCluster;
test.before(async (t) => {
  t.timeout(600_000);
  choose(proxies[0]!);
  const began = performance.now();
  cluster = await TestCluster.start({ nodes: 2, flags: ['--config', config] });
  t.log(`up after ${((performance.now() - began) / 1000).toFixed(0)} s`);
});
test.after.always(async () => {
  await cluster?.stop();
  rmSync(folder, { recursive: true, force: true });
});

function onNode(agent: Agent, ...argv: readonly string[]): string {
  const { status, stdout, stderr } = spawnSync('nsenter', ['--target', String(agent.pid), '--net', '--', ...argv], {
    encoding: 'utf8',
  });
  if (status !== 0) throw new Error(`${argv.join(' ')}: ${stderr}`);
  return stdout;
}

/** All that a proxy may have on a node. */
const networkOf = (agent: Agent): string =>
  [
    ['nft', '-s', 'list', 'ruleset'],
    ['ip', '-o', 'link'],
    ['ip', 'route', 'show', 'table', 'all'],
    ['sh', '-c', 'ipset save; cat /proc/net/ip_vs 2>&1 || true'],
  ]
    .map((argv) => onNode(agent, ...argv))
    .join('\n');

const pod = (name: string, node: string, script: string) => ({
  metadata: { name, labels: { app: name } },
  spec: {
    nodeName: node,
    terminationGracePeriodSeconds: 1,
    containers: [{ name: 'c', image: 'host', command: [process.execPath, '-e', script] }],
  },
});

test(`a pod reaches one of another node through its Service by ${proxies.join(', then ')}`, async (t) => {
  t.timeout(900_000);
  const api = new ApiClient(cluster.socket);
  const at = '/api/v1/namespaces/default';
  await api.create(
    `${at}/pods`,
    pod('web', 'node-2', 'require("http").createServer((q, r) => r.end("hello")).listen(8080)'),
  );
  await api.create(`${at}/services`, {
    metadata: { name: 'web' },
    spec: { clusterIP: vip, selector: { app: 'web' }, ports: [{ port: 80, targetPort: 8080 }] },
  });
  // Asks a new connection each time, and numbers what it is told.
  const ask = `let n = 0; const next = () => { require("http").get({ host: "${vip}", agent: false, timeout: 4000 }, (r) =>
    r.on("data", (text) => { console.log(++n + " " + text); setTimeout(next, 500); })).on("timeout", function () { this.destroy(); })
    .on("error", () => setTimeout(next, 500)); }; next();`;
  await api.create(`${at}/pods`, pod('client', 'node-1', ask));
  const answers = async (): Promise<number> => {
    const { status, body } = await api
      .raw('GET', `${at}/pods/client/log?tailLines=1`)
      .catch(() => ({ status: 0, body: '' }));
    return status === 200 ? Number(/^(\d+) hello\n$/.exec(body)?.[1] ?? 0) : 0;
  };
  const agents = ['node-1', 'node-2'].map((node) => new Agent(cluster, node));
  let last: string | undefined;
  for (const proxy of proxies) {
    const began = performance.now();
    if (last !== undefined) {
      choose(proxy);
      for (const agent of agents) await agent.kill();
      for (const agent of agents) agent.start();
      for (const agent of agents) await until(`${agent.node} has an agent`, () => agent.pid !== undefined, patienceMs);
    }
    const others = Object.keys(traces).filter((each) => each !== proxy && proxies.includes(each));
    for (const agent of agents)
      await until(
        `${agent.node} has ${proxy} alone`,
        () => {
          const network = networkOf(agent);
          return traces[proxy]!.test(network) && !others.some((other) => traces[other]!.test(network));
        },
        patienceMs,
      );
    const before = await answers();
    await until(`answers by ${proxy}`, async () => (await answers()) >= before + 3, patienceMs);
    await until(
      `the trace by ${proxy}`,
      async () => {
        const { code, stdout } = await run(process.execPath, [
          ...[program, 'trace', 'pod/client', 'svc/web:80', '--kubeconfig', cluster.kubeconfig],
        ]);
        return code === 0 && deciders[proxy]!.test(stdout) && /it arrives/.test(stdout);
      },
      patienceMs,
    );
    t.log(`${proxy}: ${((performance.now() - began) / 1000).toFixed(0)} s`);
    last = proxy;
  }
  const [kubectl] = kubectls();
  if (kubectl === undefined) return t.log('skipped: kubectl: PINTLE_TEST_KUBECTL names none');
  const { code, stdout, stderr } = await cluster.kubectl(kubectl, ['get', 'pods', '-o', 'wide'], undefined, patienceMs);
  t.is(code, 0, stderr);
  for (const [name, node] of [
    ['client', 'node-1'],
    ['web', 'node-2'],
  ] as const)
    t.regex(stdout, new RegExp(`^${name} +1/1 +Running .* ${node} `, 'm'));
});
