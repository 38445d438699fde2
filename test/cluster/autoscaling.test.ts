/** Usage as it is: pods that burn CPU are seen by kubectl top, and scaled out and in again. One cluster, real kubectl. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { kubectls, TestCluster } from './support/cluster.ts';
import { eventually, Pods } from './support/pods.ts';

const configuration = `
apiVersion: pintle.dev/v1
kind: ClusterConfiguration
plugins:
  use:
    controller:
      - defaults
      - name: horizontal-pod-autoscaler
        config:
          syncPeriodSeconds: 1
          downscaleStabilizationSeconds: 4
          cpuInitializationSeconds: 0
          initialReadinessDelaySeconds: 0
    component:
      - defaults
      - { name: node-agent, config: { usageSeconds: 1 } }
`;

let folder: string;
let cluster: TestCluster;
let pods: Pods;
test.before(async () => {
  folder = mkdtempSync(join(tmpdir(), 'pintle-usage-'));
  mkdirSync(join(folder, 'load'));
  writeFileSync(join(folder, 'config.yaml'), configuration);
  cluster = await TestCluster.start({ nodes: 2, flags: ['--config', join(folder, 'config.yaml')] });
  pods = new Pods(cluster);
});
test.after.always(async () => {
  await cluster?.stop();
  rmSync(folder, { recursive: true, force: true });
});

/** Burns CPU while the file is there, up to its limit of a tenth of a core. */
const deployment = (): object => ({
  apiVersion: 'apps/v1',
  kind: 'Deployment',
  metadata: { name: 'worker', namespace: 'default' },
  spec: {
    replicas: 1,
    selector: { matchLabels: { app: 'worker' } },
    template: {
      metadata: { labels: { app: 'worker' } },
      spec: {
        terminationGracePeriodSeconds: 0,
        volumes: [{ name: 'load', hostPath: { path: join(folder, 'load') } }],
        containers: [
          {
            name: 'burn',
            image: 'host',
            command: ['sh', '-c', 'while :; do [ -e /load/on ] || sleep 1; done'],
            resources: { requests: { cpu: '100m' }, limits: { cpu: '100m' } },
            volumeMounts: [{ name: 'load', mountPath: '/load' }],
          },
          { name: 'idle', image: 'host', command: ['sleep', 'infinity'], resources: { requests: { cpu: '10m' } } },
        ],
      },
    },
  },
});

const replicas = async (): Promise<number> => {
  const { stdout } = await pods.kubectl(['get', 'deployment', 'worker', '-o', 'jsonpath={.spec.replicas}']);
  return Number(stdout);
};

test.serial('kubectl top shows nodes, pods and containers', async (t) => {
  writeFileSync(join(folder, 'load/on'), '');
  await pods.kubectl(['apply', '-f', '-'], JSON.stringify(deployment()));
  await pods.create('other', { containers: [{ name: 'c', image: 'host', command: ['sleep', 'infinity'] }] });
  for (const binary of kubectls()) {
    const top = (...argv: string[]) => pods.kubectl(['top', ...argv], undefined, binary);
    const line = (what: string, pattern: RegExp, ...argv: string[]) =>
      eventually(async () => pattern.exec((await top(...argv)).stdout) ?? undefined).then((found) =>
        t.truthy(found, what),
      );
    await line('a node', /^node-2 +[1-9]\d*m +\d+% +[1-9]\d*Mi +\d+% *$/m, 'nodes');
    await line('a burning pod', /^worker-\S+ +(?!0)\d\d+m +\d+Mi *$/m, 'pods');
    await line('another pod', /^other +\dm +\d+Mi *$/m, 'pods');
    await line('its containers', /^worker-\S+ +burn +(?!0)\d\d+m[^]*^worker-\S+ +idle +\dm/m, 'pods', '--containers');
    const selected = await top('pods', '-l', 'app=worker', '--no-headers');
    t.regex(selected.stdout, /^worker-\S+ .*\n$/);
    t.is((await top('pod', 'other', '--no-headers')).stdout.trim().split('\n').length, 1);
    t.regex((await top('pods', '-n', 'kube-public')).stderr, /No resources found/i);
  }
  const summary = await pods.kubectl(['get', '--raw', '/api/v1/nodes/node-1/proxy/stats/summary']);
  t.is((JSON.parse(summary.stdout) as { node: { nodeName: string } }).node.nodeName, 'node-1');
});

test.serial('pods that burn CPU scale out, and back in when the load has gone', async (t) => {
  writeFileSync(join(folder, 'load/on'), '');
  await pods.kubectl(['autoscale', 'deployment', 'worker', '--cpu-percent=30', '--min=1', '--max=3']);
  await eventually(async () => ((await replicas()) === 3 ? true : undefined));
  rmSync(join(folder, 'load/on'));
  await eventually(async () => ((await replicas()) === 1 ? true : undefined));
  // What is told of it follows a moment later.
  let described = '';
  await eventually(
    async () => {
      described = (await pods.kubectl(['describe', 'hpa', 'worker'])).stdout;
      return described.includes('New size: 1') ? true : undefined;
    },
    () => described,
  );
  let told = '';
  const metrics = await eventually(
    async () => {
      told = (await pods.kubectl(['get', 'hpa.v2.autoscaling', 'worker', '-o', 'json'])).stdout;
      const { status } = JSON.parse(told) as {
        status: {
          conditions: { type: string; status: string; reason: string }[];
          currentMetrics?: { resource: { name: string; current: { averageUtilization: number } } }[];
        };
      };
      const active = status.conditions.find(({ type }) => type === 'ScalingActive');
      return active?.status === 'True' && active.reason === 'ValidMetricFound' ? status.currentMetrics : undefined;
    },
    () => told,
  );
  t.is(metrics[0]?.resource.name, 'cpu');
  t.regex(described, /SuccessfulRescale .*reason: cpu resource utilization \(percentage of request\) above target/);
  t.regex(described, /SuccessfulRescale .*New size: 1; reason: All metrics below target/);
  await eventually(async () => {
    const { stdout } = await pods.kubectl(['get', 'hpa', 'worker']);
    return /Deployment\/worker +(?:cpu: )?\d+%\/30% +1 +3 +1 /.test(stdout) ? true : undefined;
  });
});
