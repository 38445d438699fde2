/** A cluster on a container engine, and what pods do there through kubectl: the same for each engine. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ExecutionContext } from 'ava';
import type { V1Pod } from '@kubernetes/client-node';
import { Agent } from './agents.ts';
import { attachCases } from './attach-cases.ts';
import { TestCluster } from './cluster.ts';
import type { EngineHost } from './engine-host.ts';
import { forward } from './forward.ts';
import { eventually, isPodReady, Pods } from './pods.ts';

const nodes = ['node-1', 'node-2'];
const sleep = ['sh', '-c', 'exec sleep 1000000'];

/** Three pods behind a Service, a client that is ready once it has a file, and a pod whose image is nowhere. */
const workload = (image: string): string =>
  JSON.stringify({
    apiVersion: 'v1',
    kind: 'List',
    items: [
      {
        ...{ apiVersion: 'apps/v1', kind: 'Deployment', metadata: { name: 'web' } },
        spec: {
          replicas: 3,
          selector: { matchLabels: { app: 'web' } },
          template: {
            metadata: { labels: { app: 'web' } },
            spec: {
              terminationGracePeriodSeconds: 1,
              containers: [
                {
                  ...{ name: 'web', image, imagePullPolicy: 'IfNotPresent', ports: [{ containerPort: 8080 }] },
                  command: [
                    'sh',
                    '-c',
                    'mkdir /www && hostname >/www/index.html && echo serving && exec httpd -f -p 8080 -h /www',
                  ],
                  readinessProbe: { httpGet: { path: '/', port: 8080 }, periodSeconds: 1, timeoutSeconds: 30 },
                },
              ],
            },
          },
        },
      },
      {
        ...{ apiVersion: 'v1', kind: 'Service', metadata: { name: 'web' } },
        spec: { selector: { app: 'web' }, ports: [{ port: 80, targetPort: 8080 }] },
      },
      {
        ...{ apiVersion: 'v1', kind: 'Pod', metadata: { name: 'client' } },
        spec: {
          terminationGracePeriodSeconds: 1,
          containers: [
            {
              ...{ name: 'client', image, imagePullPolicy: 'Never', command: sleep },
              readinessProbe: { exec: { command: ['test', '-e', '/tmp/ready'] }, periodSeconds: 1, timeoutSeconds: 30 },
            },
          ],
        },
      },
      {
        ...{ apiVersion: 'v1', kind: 'Pod', metadata: { name: 'absent' } },
        spec: { containers: [{ name: 'absent', image: 'absent.test/none:1', imagePullPolicy: 'Never' }] },
      },
    ],
  });

export class EngineCluster {
  readonly cluster: TestCluster;
  readonly pods: Pods;
  readonly agents: readonly Agent[];
  readonly #config: string;

  private constructor(cluster: TestCluster, config: string) {
    this.cluster = cluster;
    this.pods = new Pods(cluster);
    this.agents = nodes.map((node) => new Agent(cluster, node));
    this.#config = config;
  }

  static async start(host: EngineHost, folder: string, runtime: object): Promise<EngineCluster> {
    const config = join(folder, 'pintle.yaml');
    writeConfig(config, runtime);
    const flags = ['--config', config];
    const cluster = await TestCluster.start({ nodes: nodes.length, flags, within: host.onHost });
    return new EngineCluster(cluster, config);
  }

  async kubectl(...argv: readonly string[]): Promise<string> {
    const { code, stdout, stderr } = await this.pods.kubectl(argv);
    if (code !== 0) throw new Error(`kubectl ${argv.join(' ')}: ${stderr}`);
    return stdout;
  }

  webPods(): Promise<readonly V1Pod[]> {
    return this.pods.core
      .listNamespacedPod({ namespace: this.pods.namespace, labelSelector: 'app=web' })
      .then(({ items }) => items);
  }

  /** A Deployment behind its Service, on both nodes; probes by http and by exec; an image that is nowhere. */
  async deploys(t: ExecutionContext, image: string, version: RegExp): Promise<void> {
    const { pods } = this;
    for (const { status } of (await pods.core.listNode()).items)
      t.regex(status?.nodeInfo?.containerRuntimeVersion ?? '', version);
    t.is((await pods.kubectl(['apply', '-f', '-'], workload(image))).code, 0);
    await this.kubectl('rollout', 'status', 'deployment/web', '--timeout=120s');
    t.deepEqual([...new Set((await this.webPods()).map(({ spec }) => spec?.nodeName))].sort(), nodes);
    const unready = await pods.until('client', (pod) => pod.status?.containerStatuses?.[0]?.started === true);
    t.false(isPodReady(unready));
    await this.kubectl('exec', 'client', '--', 'touch', '/tmp/ready');
    await pods.ready('client');
    await this.answers(t);
    const isNever = (pod: V1Pod) => pod.status?.containerStatuses?.[0]?.state?.waiting?.reason === 'ErrImageNeverPull';
    t.truthy(await pods.until('absent', isNever));
  }

  /** Every pod of the Deployment answers a client through the Service's name. */
  async answers(t: ExecutionContext): Promise<void> {
    const names = (await this.webPods()).map(({ metadata }) => metadata!.name!).sort();
    const seen = new Set<string>();
    const ask = ['exec', 'client', '--', 'wget', '-q', '-O', '-', 'http://web.default.svc.cluster.local/'];
    await eventually(async () => {
      const { code, stdout } = await this.pods.kubectl(ask);
      if (code === 0) seen.add(stdout.trim());
      return seen.size === names.length || undefined;
    });
    t.deepEqual([...seen].sort(), names);
  }

  /** logs, exec, attach, run -i, port-forward. */
  async streams(t: ExecutionContext, image: string): Promise<void> {
    const { pods } = this;
    const [web] = await this.webPods();
    t.true(await pods.says(web!.metadata!.name!, 'serving\n'));
    const said = await pods.kubectl(['exec', '-i', 'client', '--', 'cat'], 'through the engine\n');
    t.is(said.stdout, 'through the engine\n', said.stderr);
    const failed = await pods.kubectl(['exec', 'client', '--', 'sh', '-c', 'echo out; echo err >&2; exit 7']);
    t.is(failed.code, 7);
    t.is(failed.stdout, 'out\n');
    t.regex(failed.stderr, /^err$/m);
    const run = ['run', 'one', '-i', '--rm', '--restart=Never', `--image=${image}`, '--command', '--'];
    const quick = await pods.kubectl([...run, 'sh', '-c', 'cat; exit 3'], 'all of it\n');
    t.is(quick.code, 3, quick.stderr);
    t.regex(quick.stdout, /^all of it\n/);
    await pods.gone('one');
    await attachCases(t, pods, { image, suffix: 'engine' });
    const way = await forward(this.cluster, 'service/web', 80);
    try {
      t.regex(await (await fetch(way.url)).text(), /^web-/);
    } finally {
      way.close();
    }
  }

  /** What must not change of pods that survive: their containers, and that none was started anew. */
  async lives(): Promise<readonly object[]> {
    const { items } = await this.pods.core.listNamespacedPod({ namespace: this.pods.namespace });
    return items
      .filter(({ metadata }) => /^(web-|client)/.test(metadata!.name!))
      .map(({ metadata, status }) => ({
        pod: metadata!.name,
        ip: status?.podIP,
        containers: status?.containerStatuses?.map(({ containerID, restartCount, state }) => ({
          containerID,
          restartCount,
          startedAt: state?.running?.startedAt,
        })),
      }));
  }

  /** New agents, with another runtime if one is given. */
  async restartAgents(runtime?: object): Promise<void> {
    if (runtime !== undefined) writeConfig(this.#config, runtime);
    for (const agent of this.agents) await agent.kill();
    for (const agent of this.agents) agent.start();
    for (const agent of this.agents) await eventually(() => agent.pid);
  }

  /** kill -9 of every agent: containers live on, none is made twice, and new agents go on with them. */
  async outlivesAgents(t: ExecutionContext, image: string): Promise<void> {
    const before = await this.lives();
    t.is(before.length, 4);
    await this.restartAgents();
    await this.runsMore(image);
    t.deepEqual(await this.lives(), before);
    await this.answers(t);
  }

  /** A new pod on each node runs, and goes. */
  async runsMore(image: string): Promise<void> {
    const containers = [{ name: 'c', image, imagePullPolicy: 'Never', command: sleep }];
    await Promise.all(
      nodes.map(async (nodeName) => {
        const name = `more-${nodeName}`;
        await this.pods.create(name, { nodeName, containers, terminationGracePeriodSeconds: 0 });
        await this.pods.ready(name);
        await this.pods.delete(name);
        await this.pods.gone(name);
      }),
    );
  }

  /** Everything goes through the API; what is left then is the engine's. */
  async empties(): Promise<void> {
    await this.kubectl('delete', 'deployment/web', 'service/web', 'pod/client', 'pod/absent', '--wait=false');
    await eventually(async () => {
      const { items } = await this.pods.core.listNamespacedPod({ namespace: this.pods.namespace });
      return items.length === 0 ? true : undefined;
    });
  }
}

function writeConfig(path: string, runtime: object): void {
  const document = { apiVersion: 'pintle.dev/v1', kind: 'ClusterConfiguration', plugins: { use: { runtime } } };
  writeFileSync(path, JSON.stringify(document));
}
