/** A node that dies: its agent is killed, or its cable is cut. Its pods move; it comes back. Drain, cordon, taints. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { V1Deployment, V1Pod } from '@kubernetes/client-node';
import test from 'ava';
import { Agent } from './support/agents.ts';
import { TestCluster } from './support/cluster.ts';
import { eventually, isPodReady, Pods } from './support/pods.ts';

const configuration = `
apiVersion: pintle.dev/v1
kind: ClusterConfiguration
plugins:
  use:
    controller:
      - defaults
      - { name: node-lifecycle, config: { gracePeriodSeconds: 10, checkPeriodSeconds: 0.5 } }
    component:
      - defaults
      - { name: node-agent, config: { leaseSeconds: 4, usageSeconds: 1 } }
`;

let folder: string;
let cluster: TestCluster;
let pods: Pods;
test.before(async () => {
  folder = mkdtempSync(join(tmpdir(), 'pintle-node-life-'));
  writeFileSync(join(folder, 'config.yaml'), configuration);
  cluster = await TestCluster.start({ nodes: 2, flags: ['--config', join(folder, 'config.yaml')] });
  pods = new Pods(cluster);
});
test.after.always(async () => {
  await cluster?.stop();
  rmSync(folder, { recursive: true, force: true });
});

const deployment = (name: string, tolerationSeconds: number): string =>
  JSON.stringify({
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name, namespace: 'default' },
    spec: {
      replicas: 2,
      selector: { matchLabels: { app: name } },
      template: {
        metadata: { labels: { app: name } },
        spec: {
          terminationGracePeriodSeconds: 1,
          tolerations: ['not-ready', 'unreachable'].map((what) => ({
            key: `node.kubernetes.io/${what}`,
            operator: 'Exists',
            effect: 'NoExecute',
            tolerationSeconds,
          })),
          containers: [{ name: 'c', image: 'host', command: ['sleep', 'infinity'] }],
        },
      },
    },
  });

async function podsOf(app: string) {
  const { items } = await pods.core.listNamespacedPod({ namespace: 'default', labelSelector: `app=${app}` });
  return items;
}

async function node(name: string) {
  const found = await pods.core.readNode({ name });
  return {
    ready: found.status?.conditions?.find(({ type }) => type === 'Ready'),
    taints: (found.spec?.taints ?? []).map(({ key, effect }) => `${key}:${effect}`).sort(),
  };
}

/** All wanted pods run, on that node alone, and nothing else is left there. */
const runsOn = (app: string, nodeName: string) =>
  eventually(async () => {
    const living = (await podsOf(app)).filter(({ metadata }) => metadata?.deletionTimestamp === undefined);
    return living.length === 2 &&
      living.every(({ spec, status }) => spec?.nodeName === nodeName && status?.phase === 'Running')
      ? true
      : undefined;
  });

const hasTaints = (name: string, taints: string) =>
  eventually(async () => ((await node(name)).taints.join() === taints ? true : undefined));

const isReady = (name: string, status: string) =>
  eventually(async () => ((await node(name)).ready?.status === status ? true : undefined));

test.serial(
  'an agent that is killed: NotReady, taints, pods move after their toleration, and it comes back cleanly',
  async (t) => {
    await pods.kubectl(['apply', '-f', '-'], deployment('web', 2));
    await pods.kubectl(['expose', 'deployment', 'web', '--port=80']);
    await eventually(async () => {
      const nodes = new Set(
        (await podsOf('web')).filter(({ status }) => status?.phase === 'Running').map(({ spec }) => spec?.nodeName),
      );
      return nodes.size === 2 ? true : undefined;
    });
    const agent = new Agent(cluster, 'node-2');
    const before = (await podsOf('web')).find(({ spec }) => spec?.nodeName === 'node-2')!;
    await agent.kill();
    await isReady('node-2', 'Unknown');
    const lost = await node('node-2');
    t.is(lost.ready?.reason, 'NodeStatusUnknown');
    await hasTaints('node-2', 'node.kubernetes.io/unreachable:NoExecute,node.kubernetes.io/unreachable:NoSchedule');
    await runsOn('web', 'node-1');
    const old = await pods.get(before.metadata!.name!);
    t.truthy(old?.metadata?.deletionTimestamp, 'nobody can say that it has ended: it is terminating');
    await eventually(async () =>
      (await pods.events(before.metadata!.name!)).find(({ reason }) => reason === 'TaintManagerEviction'),
    );
    const { stdout } = await pods.kubectl(['get', 'nodes']);
    t.regex(stdout, /^node-2 +NotReady /m);
    t.regex((await pods.kubectl(['top', 'nodes'])).stdout, /^node-1 /m);

    agent.start();
    await isReady('node-2', 'True');
    await hasTaints('node-2', '');
    await pods.gone(before.metadata!.name!);
    t.is((await podsOf('web')).length, 2);
    await eventually(async () => {
      const { sandboxes, containers } = agent.inventory();
      return sandboxes?.length === 0 && containers?.length === 0 ? true : undefined;
    });
  },
);

test.serial('cordon, drain, uncordon and taints with kubectl', async (t) => {
  t.is((await pods.kubectl(['cordon', 'node-2'])).code, 0);
  await hasTaints('node-2', 'node.kubernetes.io/unschedulable:NoSchedule');
  t.is((await pods.kubectl(['uncordon', 'node-2'])).code, 0);
  const drained = await pods.kubectl(['drain', 'node-1', '--ignore-daemonsets', '--force', '--timeout=150s']);
  t.is(drained.code, 0, drained.stderr);
  await runsOn('web', 'node-2');
  t.is((await pods.kubectl(['uncordon', 'node-1'])).code, 0);
  t.is((await pods.kubectl(['taint', 'nodes', 'node-2', 'repair=now:NoExecute'])).code, 0);
  await runsOn('web', 'node-1');
  t.is((await pods.kubectl(['taint', 'nodes', 'node-2', 'repair=now:NoExecute-'])).code, 0);
  await hasTaints('node-2', '');
});

test.serial(
  'a cable that is cut: NotReady, pods move, Services answer from elsewhere; back, and all is clean',
  async (t) => {
    const agent = new Agent(cluster, 'node-2');
    // As docs/faults.md says it.
    const cable = (state: string) =>
      spawnSync('nsenter', ['-t', String(cluster.record().lab.pid), '-n', 'ip', 'link', 'set', 'node-2', state]).status;
    const serve = "require('http').createServer((_, r) => r.end(require('os').hostname())).listen(8080)";
    // One replica a node: the policy counts what is there.
    await pods.kubectl(['delete', 'deployment,service', 'web']);
    await eventually(async () => ((await podsOf('web')).length === 0 ? true : undefined));
    const manifest = JSON.parse(deployment('site', 3)) as V1Deployment;
    manifest.spec!.template.spec!.containers[0]!.command = [process.execPath, '-e', serve];
    await pods.kubectl(['apply', '-f', '-'], JSON.stringify(manifest));
    await pods.kubectl(['expose', 'deployment', 'site', '--port=80', '--target-port=8080']);
    const [beyond] = await eventually(async () => {
      const running = (await podsOf('site')).filter(isPodReady);
      const there = running.filter(({ spec }) => spec?.nodeName === 'node-2');
      return running.length === 2 && there.length === 1 ? there : undefined;
    });
    // One that waits for its node longer than the cable is cut.
    await pods.create('patient', {
      nodeName: 'node-2',
      containers: [{ name: 'c', image: 'host', command: ['sleep', 'infinity'] }],
    });
    await pods.ready('patient');
    await pods.create('near', {
      nodeName: 'node-1',
      containers: [{ name: 'c', image: 'host', command: ['sleep', 'infinity'] }],
    });
    await pods.ready('near');
    const ask = `Promise.all(Array.from({ length: 8 }, () => fetch('http://site/', { headers: { connection: 'close' } })
    .then((answer) => answer.text()))).then((names) => console.log([...new Set(names)].sort().join(' ')));
    setTimeout(() => process.exit(1), 3000).unref();`;
    /** Names of the pods that the Service answers from; undefined when a call got no answer. */
    const answers = async () => {
      const { code, stdout } = await pods.kubectl(['exec', 'near', '--', process.execPath, '-e', ask]);
      return code === 0 ? stdout.trim() : undefined;
    };
    const nameOf = (pod: V1Pod | undefined) => pod?.metadata?.name ?? '';
    const both = (await podsOf('site')).map(nameOf).sort();
    await eventually(async () => ((await answers()) === both.join(' ') ? true : undefined));

    t.is(cable('down'), 0);
    await isReady('node-2', 'Unknown');
    const others = await eventually(async () => {
      const from = await answers();
      return from !== undefined && !from.includes(nameOf(beyond)) ? from : undefined;
    });
    t.true(others.length > 0);
    await runsOn('site', 'node-1');
    t.truthy((await pods.get(nameOf(beyond)))?.metadata?.deletionTimestamp, 'nobody can say that it has ended');
    t.is(agent.inventory().containers?.length, 2, 'beyond the cable both run on');
    await pods.ready('patient', false);
    const moved = (await podsOf('site'))
      .map(nameOf)
      .filter((name) => name !== nameOf(beyond))
      .sort();

    t.is(cable('up'), 0);
    await isReady('node-2', 'True');
    await hasTaints('node-2', '');
    await pods.gone(nameOf(beyond));
    t.deepEqual((await podsOf('site')).map(nameOf).sort(), moved);
    await eventually(async () => (agent.inventory().containers?.length === 1 ? true : undefined));
    // what waited is as it was, and reached as ever
    const patient = await pods.ready('patient');
    t.is(patient.status?.containerStatuses?.[0]?.restartCount, 0);
    // The way for streams comes back by itself, a moment after the one for calls.
    const said = await eventually(async () => {
      const { code, stdout } = await pods.kubectl(['exec', 'patient', '--', 'echo', 'here']);
      return code === 0 ? stdout : undefined;
    });
    t.is(said, 'here\n');
    await pods.create('new', {
      nodeName: 'node-2',
      containers: [{ name: 'c', image: 'host', command: ['sleep', 'infinity'] }],
    });
    await pods.ready('new');
  },
);

test.serial('every component says how it fares', async (t) => {
  const server = (await pods.kubectl(['get', '--raw', '/metrics'])).stdout;
  for (const pattern of [
    /^apiserver_request_duration_seconds_count\{verb="LIST"/m,
    /^apiserver_storage_objects\{resource="pods"\} [1-9]/m,
    /^etcd_request_duration_seconds_count\{operation="commit"\} [1-9]/m,
    /^scheduler_schedule_attempts_total\{result="scheduled"\} [1-9]/m,
    /^scheduler_framework_extension_point_duration_seconds_count\{extension_point="Bind",status="Success"\} [1-9]/m,
    /^workqueue_adds_total\{name="horizontalpodautoscaler"\} \d/m,
    /^workqueue_work_duration_seconds_count\{name="node-lifecycle"\} [1-9]/m,
    /^pintle_store_writable 1$/m,
  ])
    t.true(pattern.test(server), String(pattern));
  const agent = (await pods.kubectl(['get', '--raw', '/api/v1/nodes/node-1/proxy/metrics'])).stdout;
  for (const pattern of [
    /^kubelet_running_pods [1-9]/m,
    /^kubelet_running_containers\{container_state="running"\} [1-9]/m,
    /^kubeproxy_sync_proxy_rules_duration_seconds_count [1-9]/m,
    /^kubeproxy_network_programming_duration_seconds_count [1-9]/m,
    /^pintle_overlay_repairs_total \d/m,
    /^pintle_dns_queries_total \d/m,
    /^workqueue_adds_total\{name="pods"\} [1-9]/m,
    /^process_resident_memory_bytes \d/m,
  ])
    t.true(pattern.test(agent), String(pattern));
  const heads = [...server.matchAll(/^# TYPE (\S+)/gm)].map(([, name]) => name);
  t.is(new Set(heads).size, heads.length, 'one head a metric');
});
