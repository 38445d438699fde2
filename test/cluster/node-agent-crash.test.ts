/**
 * What a node survives: kill -9 of its agent at any moment, and of the server; and that pods leave nothing behind.
 * `PINTLE_TEST_KILLS=100` asks for more kills of agents.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { readFileSync } from 'node:fs';
import type { V1Pod } from '@kubernetes/client-node';
import test, { type ExecutionContext } from 'ava';
import { hasEnded, identify } from '../../lab/index.ts';
import { Agent, commandLine, labProcesses } from './support/agents.ts';
import { TestCluster } from './support/cluster.ts';
import { eventually, isPodReady, Pods, shell } from './support/pods.ts';

const namespace = 'default';
let cluster: TestCluster;
let pods: Pods;
let agents: Agent[];
let server: ChildProcess | undefined;
test.before(async () => {
  cluster = await TestCluster.start({ nodes: 2 });
  pods = new Pods(cluster);
  agents = ['node-1', 'node-2'].map((node) => new Agent(cluster, node));
});
test.after.always(async () => {
  cluster?.up.kill('SIGCONT');
  await cluster?.stop();
  server?.kill('SIGKILL');
});

const sleeper = [shell('c', 'exec sleep infinity')];
const list = async (labelSelector?: string) => (await pods.core.listNamespacedPod({ namespace, labelSelector })).items;
const inventory = () => Object.fromEntries(agents.map((agent) => [agent.node, agent.inventory()]));
/** Once there are so many: a container runs before its shell has become the program that it names. */
const sleepers = (count: number) =>
  eventually(() => {
    const found = labProcesses(cluster).filter((pid) => commandLine(pid).join(' ') === 'sleep infinity');
    return found.length === count ? found.map((pid) => identify(pid)!) : undefined;
  });

/** Waits until nodes are as they were: an agent works on what is left for a moment after the API has forgotten a pod. */
async function nothingLeft(
  t: ExecutionContext,
  before: ReturnType<typeof inventory>,
  processes: number,
): Promise<void> {
  const wanted = JSON.stringify([before, processes]);
  // An end, so that what is left is shown.
  const deadline = Date.now() + 120_000;
  // Looked at once: agents start programs now and then.
  const after = await eventually(() => {
    const now = [inventory(), labProcesses(cluster).length] as const;
    return JSON.stringify(now) === wanted || Date.now() > deadline ? now : undefined;
  });
  t.deepEqual(after, [before, processes], labProcesses(cluster).map(commandLine).join('\n'));
}

/** Waits until no node has anything of a pod. */
async function empty(): Promise<void> {
  await eventually(() =>
    agents.every((agent) => {
      const { pods: folders, sandboxes, leases, cgroups } = agent.inventory();
      return [folders, sandboxes, leases, cgroups].every((each) => each!.length === 0);
    })
      ? true
      : undefined,
  );
}

/** As it is when no agent runs a program for a moment, as each does now and then. */
async function idleProcesses(): Promise<number> {
  let last: readonly number[] = [];
  return eventually(async () => {
    const before = last;
    last = labProcesses(cluster);
    if (String(before) === String(last)) return last.length;
    await new Promise((resolve) => setTimeout(resolve, 500));
    return undefined;
  });
}

/** Creates `count` sleepers named prefix-0 ... and resolves when all run. */
async function run(prefix: string, count: number): Promise<void> {
  for (let index = 0; index < count; index += 1)
    await pods
      .create(`${prefix}-${index}`, { terminationGracePeriodSeconds: 0, containers: sleeper }, { wave: prefix })
      // Tried again by who saw its server end: made, and the answer was lost.
      .catch((error: { code?: number }) => (error.code === 409 ? undefined : Promise.reject(error as Error)));
  await eventually(async () => {
    const found = await list(`wave=${prefix}`);
    return found.length === count && found.every((pod) => pod.status?.phase === 'Running') ? true : undefined;
  });
}

async function end(prefix: string): Promise<void> {
  await pods.core.deleteCollectionNamespacedPod({ namespace, labelSelector: `wave=${prefix}` });
  await eventually(async () => ((await list(`wave=${prefix}`)).length === 0 ? true : undefined));
}

test.serial('pods that came and went leave nothing', async (t) => {
  // What an agent makes with its first pods and keeps: compiled code, connections, the bridge.
  await run('first', 20);
  await end('first');
  await empty();
  const before = inventory();
  const processes = await idleProcesses();
  const files = agents.map((agent) => agent.openFiles());
  const memory = agents.map((agent) => agent.residentMb());
  for (const wave of ['a', 'b', 'c']) {
    await run(wave, 20);
    await end(wave);
  }
  await nothingLeft(t, before, processes);
  // Sockets of the last requests close a moment later.
  await eventually(() => (agents.every((agent, index) => agent.openFiles() <= files[index]! + 2) ? true : undefined));
  agents.forEach((agent, index) => t.true(agent.residentMb() < memory[index]! + 60, `${agent.residentMb()} MB`));
});

const kinds: readonly { readonly kind: string; readonly spec: Partial<V1Pod['spec']> }[] = [
  { kind: 'sleeper', spec: { terminationGracePeriodSeconds: 0, containers: sleeper } },
  { kind: 'job', spec: { restartPolicy: 'Never', containers: [shell('c', 'echo done')] } },
  {
    kind: 'staged',
    spec: {
      restartPolicy: 'Never',
      initContainers: [shell('i', 'echo one >> /d/log', { volumeMounts: [{ name: 'd', mountPath: '/d' }] })],
      containers: [shell('c', 'exec cat /d/log', { volumeMounts: [{ name: 'd', mountPath: '/d' }] })],
      volumes: [{ name: 'd', emptyDir: { medium: 'Memory' } }],
    },
  },
  { kind: 'slow', spec: { containers: [shell('c', 'trap "sleep 0.2; exit 0" TERM; while :; do sleep 0.05; done')] } },
];

test.serial(
  'kill -9 of an agent at any moment of pod churn: every pod gets where it should, none runs twice',
  async (t) => {
    const before = inventory();
    const processes = await idleProcesses();
    await run('kept', 4);
    const kept = await sleepers(4);

    const kills = Number(process.env['PINTLE_TEST_KILLS'] ?? 16);
    let isOver = false;
    const churn = (async () => {
      for (let index = 0; !isOver; index += 1) {
        const { kind, spec } = kinds[index % kinds.length]!;
        await pods.create(`${kind}-${index}`, spec, { churn: kind });
        const doomed = index - 12;
        // Every other pod goes again, whatever it is doing.
        if (doomed >= 0 && doomed % 2 === 0) await pods.delete(`${kinds[doomed % kinds.length]!.kind}-${doomed}`);
        await new Promise((resolve) => setTimeout(resolve, 100 + Math.random() * 200));
      }
    })();
    for (let count = 0; count < kills; count += 1) {
      const agent = agents[count % 2]!;
      await eventually(() => agent.pid);
      await new Promise((resolve) => setTimeout(resolve, 200 + Math.random() * 700));
      await agent.kill();
      agent.start();
    }
    isOver = true;
    await churn;

    const isSettled = (pod: V1Pod) =>
      pod.metadata?.deletionTimestamp === undefined &&
      (['job', 'staged'].includes(pod.metadata!.labels!['churn']!)
        ? ['Succeeded', 'Failed'].includes(pod.status?.phase ?? '')
        : isPodReady(pod));
    const settled = await eventually(async () => {
      const found = await list('churn');
      return found.length > 10 && found.every(isSettled) ? found : undefined;
    });
    for (const pod of settled) {
      const statuses = [...(pod.status!.initContainerStatuses ?? []), ...pod.status!.containerStatuses!];
      const what = `${pod.metadata!.name}: ${JSON.stringify(statuses)}`;
      t.not(pod.status!.phase, 'Failed', what);
      t.true(
        statuses.every((status) => status.restartCount === 0),
        what,
      );
    }
    // Pods that had ended before say nothing of the agent started last: its streams may come a moment later.
    const logs = (name: string) => eventually(() => pods.logs(name, '-c', 'c').catch(() => undefined));
    for (const pod of settled.filter((each) => each.metadata!.labels!['churn'] === 'staged'))
      t.is(await logs(pod.metadata!.name!), 'one\n', 'its init container ran once');
    for (const identity of kept) t.deepEqual(identify(identity.pid), identity, 'it is the same process');
    t.true(
      (await list('wave=kept')).every(
        (pod) => isPodReady(pod) && pod.status!.containerStatuses![0]!.restartCount === 0,
      ),
    );

    await pods.core.deleteCollectionNamespacedPod({ namespace, labelSelector: 'churn' });
    await end('kept');
    await eventually(async () => ((await list()).length === 0 ? true : undefined));
    for (const identity of kept) t.true(await hasEnded(identity, 120_000));
    await nothingLeft(t, before, processes);
  },
);

test.serial('kill -9 of the server: agents come back to it, nothing restarts', async (t) => {
  await run('through', 4);
  const identities = await sleepers(4);
  const before = await list('wave=through');
  const { pid } = cluster.record().server;
  const [program, ...argv] = commandLine(pid);
  const environment = readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0').filter(Boolean);
  // `pintle up` would take everything down with its server; it is not to see this.
  cluster.up.kill('SIGSTOP');
  process.kill(pid, 'SIGKILL');
  server = spawn('setpriv', ['--pdeathsig', 'KILL', '--', program!, ...argv], {
    stdio: 'ignore',
    env: Object.fromEntries(
      environment.map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)]),
    ),
  });
  // Both nodes start new pods, and answer for their old ones.
  await eventually(() =>
    run('after', 4).then(
      () => true,
      () => undefined,
    ),
  );
  const after = await list('wave=through');
  const facts = (each: V1Pod) => [
    each.metadata?.uid,
    each.status?.podIP,
    each.status?.containerStatuses?.[0]?.restartCount,
  ];
  t.deepEqual(after.map(facts).sort(), before.map(facts).sort());
  for (const identity of identities) t.deepEqual(identify(identity.pid), identity);
  for (const pod of after)
    t.like(
      await eventually(async () => {
        const answer = await pods.kubectl(['exec', pod.metadata!.name!, '--', 'hostname']);
        return answer.code === 0 ? answer : undefined;
      }),
      { stdout: `${pod.metadata!.name}\n` },
    );
  await end('through');
  await end('after');
});
