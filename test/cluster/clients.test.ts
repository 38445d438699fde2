/** Clients other than kubectl, and what a node survives: informers of @kubernetes/client-node, an agent that is killed. */
import { spawn } from 'node:child_process';
import { closeSync, openSync, readdirSync, readFileSync } from 'node:fs';
import { PassThrough } from 'node:stream';
import {
  AppsV1Api,
  CoreV1Api,
  Exec,
  KubeConfig,
  Log,
  makeInformer,
  Watch,
  type V1Pod,
  type V1Status,
} from '@kubernetes/client-node';
import test from 'ava';
import { labMainPid } from '../../cli/up/lab-processes.ts';
import { hasEnded, identify } from '../../lab/index.ts';
import { agentPid } from './support/agents.ts';
import { TestCluster } from './support/cluster.ts';
import { eventually } from './support/pods.ts';

let cluster: TestCluster;
let config: KubeConfig;
test.before(async () => {
  cluster = await TestCluster.start({ nodes: 2 });
  config = new KubeConfig();
  config.loadFromFile(cluster.kubeconfig);
});
test.after.always(() => cluster?.stop());

const sleeper = (name: string, replicas: number) => ({
  metadata: { name },
  spec: {
    replicas,
    selector: { matchLabels: { app: name } },
    template: {
      metadata: { labels: { app: name } },
      spec: {
        terminationGracePeriodSeconds: 1,
        containers: [{ name: 'c', image: 'host', command: ['sh', '-c', 'echo awake; exec sleep infinity'] }],
      },
    },
  },
});

async function textOf(stream: AsyncIterable<unknown>): Promise<string> {
  let text = '';
  for await (const chunk of stream) text += String(chunk);
  return text;
}

async function execute(pod: string, command: string[], input: string) {
  const [out, err, stdin] = [new PassThrough(), new PassThrough(), new PassThrough()];
  const texts = [textOf(out), textOf(err)];
  const status = await new Promise<V1Status>((resolve, reject) => {
    new Exec(config).exec('default', pod, 'c', command, out, err, stdin, false, resolve).catch(reject);
    stdin.end(input);
  });
  for (const stream of [out, err]) stream.end();
  const [said, aside] = await Promise.all(texts);
  return { out: said, err: aside, code: status.details?.causes?.find(({ reason }) => reason === 'ExitCode')?.message };
}

test.serial(
  'a program creates, patches, watches, looks into and deletes; an informer sees it all, without an error',
  async (t) => {
    const core = config.makeApiClient(CoreV1Api);
    const apps = config.makeApiClient(AppsV1Api);
    const informer = makeInformer(config, '/api/v1/namespaces/default/pods', () =>
      core.listNamespacedPod({ namespace: 'default' }),
    );
    const running = new Set<string>();
    const gone = new Set<string>();
    const errors: unknown[] = [];
    informer.on('update', (pod: V1Pod) => {
      if (pod.status?.phase === 'Running') running.add(pod.metadata!.name!);
    });
    informer.on('delete', (pod: V1Pod) => gone.add(pod.metadata!.name!));
    informer.on('error', (error: unknown) => errors.push(error));
    await informer.start();
    await apps.createNamespacedDeployment({ namespace: 'default', body: sleeper('seen', 4) });
    await eventually(() => (running.size === 4 ? true : undefined));

    const scale = [{ op: 'replace', path: '/spec/replicas', value: 5 }];
    await apps.patchNamespacedDeployment({ name: 'seen', namespace: 'default', body: scale });
    await eventually(() => (running.size === 5 ? true : undefined));
    const [first] = [...running].sort();
    t.deepEqual(await execute(first!, ['sh', '-c', 'tr a-z A-Z; echo aside >&2; exit 3'], 'said'), {
      ...{ out: 'SAID', err: 'aside\n', code: '3' },
    });
    // It runs before it has said anything.
    const logged = await eventually(async () => {
      const stream = new PassThrough();
      const text = textOf(stream);
      await new Log(config).log('default', first!, 'c', stream);
      return (await text) || undefined;
    });
    t.is(logged, 'awake\n');
    const seen: string[] = [];
    const following = await new Watch(config).watch(
      '/apis/apps/v1/namespaces/default/deployments',
      { fieldSelector: 'metadata.name=seen' },
      (type) => seen.push(type),
      () => undefined,
    );
    await eventually(() => (seen.includes('ADDED') ? true : undefined));

    await apps.deleteNamespacedDeployment({ name: 'seen', namespace: 'default' });
    await eventually(() => (gone.size === 5 ? true : undefined));
    await eventually(() => (seen.at(-1) === 'DELETED' ? true : undefined));
    following.abort();
    t.deepEqual([...gone].sort(), [...running].sort());
    t.deepEqual(errors, []);
    await informer.stop();
  },
);

function commandLine(pid: number): readonly string[] {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').slice(0, -1);
  } catch {
    return [];
  }
}

function descendsFrom(pid: number, ancestor: number): boolean {
  for (let each = pid; each > 1;) {
    if (each === ancestor) return true;
    try {
      each = Number(/^PPid:\s+(\d+)/m.exec(readFileSync(`/proc/${each}/status`, 'latin1'))?.[1]);
    } catch {
      return false;
    }
  }
  return false;
}

test.serial('an agent that is killed comes back to its running containers', async (t) => {
  const core = config.makeApiClient(CoreV1Api);
  const apps = config.makeApiClient(AppsV1Api);
  await apps.createNamespacedDeployment({ namespace: 'default', body: sleeper('kept', 4) });
  const list = async () => (await core.listNamespacedPod({ namespace: 'default', labelSelector: 'app=kept' })).items;
  const ready = (pods: V1Pod[]) =>
    pods.length === 4 &&
    pods.every((pod) => pod.status?.conditions?.some((each) => each.type === 'Ready' && each.status === 'True'));
  const before = await eventually(async () => {
    const pods = await list();
    return ready(pods) ? pods : undefined;
  });
  const labPid = labMainPid(cluster.record().lab.pid);
  const agent = agentPid(labPid, 'node-1')!;
  t.truthy(agent);
  const argv = commandLine(agent);
  // A container runs before its shell has become the program that it names.
  const containers = await eventually(() => {
    const found = readdirSync('/proc')
      .filter((name) => /^\d+$/.test(name))
      .map(Number)
      .filter((pid) => commandLine(pid).join(' ') === 'sleep infinity' && descendsFrom(pid, labPid));
    return found.length === 4 ? found : undefined;
  });
  const identities = containers.map((pid) => identify(pid)!);

  const netns = openSync(`/proc/${agent}/ns/net`, 'r');
  const dead = identify(agent)!;
  process.kill(agent, 'SIGKILL');
  t.true(await hasEnded(dead, 120_000));
  const child = spawn(
    'nsenter',
    ['--target', String(labPid), '--mount', '--pid', '--root', '--net=/proc/self/fd/3', '--', ...argv],
    {
      stdio: ['ignore', 'ignore', 'ignore', netns],
      detached: true,
    },
  );
  closeSync(netns);
  child.unref();

  const node = async () =>
    (await core.readNode({ name: 'node-1' })).status?.conditions?.find((each) => each.type === 'Ready');
  const [first] = before.filter((pod) => pod.spec?.nodeName === 'node-1');
  // The new agent proves itself by starting a pod on its node.
  await core.createNamespacedPod({
    namespace: 'default',
    body: {
      metadata: { name: 'after' },
      spec: {
        nodeName: 'node-1',
        restartPolicy: 'Never',
        terminationGracePeriodSeconds: 0,
        containers: [{ name: 'c', image: 'host', command: ['true'] }],
      },
    },
  });
  await eventually(async () =>
    (await core.readNamespacedPod({ name: 'after', namespace: 'default' })).status?.phase === 'Succeeded'
      ? true
      : undefined,
  );
  await eventually(async () => ((await node())?.status === 'True' ? true : undefined));
  const after = await list();
  t.deepEqual(
    after.map((pod) => [pod.metadata?.uid, pod.status?.podIP, pod.status?.containerStatuses?.[0]?.restartCount]).sort(),
    before.map((pod) => [pod.metadata?.uid, pod.status?.podIP, 0]).sort(),
  );
  for (const identity of identities)
    t.deepEqual(identify(identity.pid), identity, 'the container process is the same one');
  t.truthy(first);
  await apps.deleteNamespacedDeployment({ name: 'kept', namespace: 'default' });
  await eventually(async () => ((await list()).length === 0 ? true : undefined));
  for (const identity of identities) t.true(await hasEnded(identity, 120_000));
});
