/** The host's own network is byte-identical before, during and after a cluster, however it ends. */
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { processesLike, labMainPid } from '../../cli/up/lab-processes.ts';
import { hasEnded, identify } from '../../lab/index.ts';
import { hostNetwork, program, run, TestCluster } from './support/cluster.ts';

/** Of the clusters of this file. */
const folders: string[] = [];

/** Without those that have ended meanwhile: agents run a program now and then. */
const living = (pids: readonly number[]) => pids.flatMap((pid) => identify(pid) ?? []);

test.serial('Ctrl-C takes everything down and leaves nothing', async (t) => {
  const before = hostNetwork();
  const cluster = await TestCluster.start({ nodes: 2, flags: ['--demo'] });
  t.teardown(() => cluster.stop());
  folders.push(cluster.folder);
  t.is(hostNetwork(), before);
  t.regex(cluster.printed(), /12 {2}demo-/);
  const { server, lab } = cluster.record();
  const identities = living([server.pid, ...processesLike(labMainPid(lab.pid))]);
  t.true(identities.length > 5);
  const ended = cluster.interrupt();
  // As npm hands it on, and a parent that dies of it.
  cluster.up.kill('SIGINT');
  cluster.up.kill('SIGTERM');
  t.is(await ended, 0);
  for (const identity of identities) t.true(await hasEnded(identity, 120_000), `process ${identity.pid}`);
  t.is(hostNetwork(), before);
  t.false(existsSync(cluster.folder));
});

test.serial('kill -9 of "pintle up" alone: the rest ends by itself', async (t) => {
  const cluster = await TestCluster.start({ nodes: 1 });
  t.teardown(() => cluster.stop());
  folders.push(cluster.folder);
  const { server, lab } = cluster.record();
  const identities = living([server.pid, lab.pid, ...processesLike(labMainPid(lab.pid))]);
  cluster.up.kill('SIGKILL');
  for (const identity of identities) t.true(await hasEnded(identity, 120_000), `process ${identity.pid}`);
  const down = await run(process.execPath, [program, 'down', '--state-dir', cluster.folder]);
  t.is(down.code, 0, down.stderr);
  t.false(existsSync(cluster.folder));
});

test.serial('kill -9 of every process, then down: nothing is left', async (t) => {
  const before = hostNetwork();
  const cluster = await TestCluster.start({ nodes: 2, flags: ['--demo'] });
  t.teardown(() => cluster.stop());
  folders.push(cluster.folder);
  const { server, lab } = cluster.record();
  const pids = [cluster.up.pid!, server.pid, lab.pid, ...processesLike(labMainPid(lab.pid))];
  const identities = living(pids);
  for (const pid of pids) {
    try {
      process.kill(pid, 'SIGKILL');
    } catch {
      // It died with an earlier one.
    }
  }
  for (const identity of identities) t.true(await hasEnded(identity, 120_000), `process ${identity.pid}`);
  t.is(hostNetwork(), before);
  const down = await run(process.execPath, [program, 'down', '--state-dir', cluster.folder]);
  t.is(down.code, 0, down.stderr);
  t.is(hostNetwork(), before);
  t.false(existsSync(cluster.folder));
});

test.serial('an ordinary user has a cluster that answers', async (t) => {
  if (process.getuid?.() !== 0) return t.log('skipped: needs root, to become another user');
  const cluster = await TestCluster.start({ nodes: 2, flags: ['--demo'], uid: 65534 });
  t.teardown(() => cluster.stop());
  folders.push(cluster.folder);
  t.regex(cluster.printed(), /12 {2}demo-/);
  t.is(await cluster.interrupt(), 0);
  return t.false(existsSync(cluster.folder));
});

/** Starts a demo inside namespaces made by `unshare`, as if those were the host; answers what it printed. */
async function demoInside(t: ExecutionContext, unshare: readonly string[], prepare: string): Promise<string> {
  const parent = mkdtempSync(join(tmpdir(), 'pintle-inside-'));
  t.teardown(() => rmSync(parent, { recursive: true, force: true }));
  const up = [
    process.execPath,
    program,
    'up',
    '--demo',
    '--nodes',
    '2',
    '--state-dir',
    join(parent, 'c'),
    '--listen',
    '127.0.0.1:6443',
  ];
  // Interrupts the cluster once it has answered, and passes its exit code on.
  const script = `${prepare}; "$@" > ${parent}/out 2>&1 & pid=$!; while kill -0 $pid 2>/dev/null && ! grep -q 'Ctrl-C takes' ${parent}/out; do sleep 0.1; done; kill -INT $pid; wait $pid`;
  const { code, stderr } = await run('unshare', [...unshare, 'sh', '-c', script, 'inside', ...up]);
  const printed = readFileSync(join(parent, 'out'), 'utf8');
  t.is(code, 0, stderr + printed);
  return printed;
}

test.serial('beside a firewall whose FORWARD policy is DROP, as Docker sets it', async (t) => {
  if (process.getuid?.() !== 0) return t.log('skipped: needs root');
  const printed = await demoInside(t, ['--net'], 'ip link set lo up; iptables -P FORWARD DROP');
  return t.regex(printed, /12 {2}demo-/);
});

test.serial('inside a container: root of a user namespace only', async (t) => {
  if (process.getuid?.() !== 0) return t.log('skipped: needs root');
  const printed = await demoInside(
    t,
    ['--user', '--map-root-user', '--net', '--mount', '--pid', '--fork', '--mount-proc'],
    'ip link set lo up',
  );
  return t.regex(printed, /12 {2}demo-/);
});

test.serial('no cgroup is left', (t) => {
  t.true(folders.length > 0);
  const left = ['cpu', 'memory', 'pids', 'cpuacct', '.', 'unified'].flatMap((name) => {
    const parent = join('/sys/fs/cgroup', name, 'pintle');
    return existsSync(parent)
      ? readdirSync(parent).filter((key) => folders.some((folder) => key.includes(encodeURIComponent(folder))))
      : [];
  });
  t.deepEqual(left, []);
});
