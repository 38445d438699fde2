/** The host's own network is byte-identical before, during and after a cluster, however it ends. */
import { existsSync } from 'node:fs';
import test from 'ava';
import { processesLike, labMainPid } from '../../cli/up/lab-processes.ts';
import { hasEnded, identify } from '../../lab/index.ts';
import { hostNetwork, program, run, TestCluster } from './support/cluster.ts';

test.serial('Ctrl-C takes everything down and leaves nothing', async (t) => {
  const before = hostNetwork();
  const cluster = await TestCluster.start({ nodes: 2, flags: ['--demo'] });
  t.teardown(() => cluster.stop());
  t.is(hostNetwork(), before);
  t.regex(cluster.printed(), /12 {2}demo-/);
  const { server, lab } = cluster.record();
  const identities = [identify(server.pid)!, ...processesLike(labMainPid(lab.pid)).map((pid) => identify(pid)!)];
  t.true(identities.length > 5);
  t.is(await cluster.interrupt(), 0);
  for (const identity of identities) t.true(await hasEnded(identity, 5000), `process ${identity.pid}`);
  t.is(hostNetwork(), before);
  t.false(existsSync(cluster.folder));
});

test.serial('kill -9 of every process, then down: nothing is left', async (t) => {
  const before = hostNetwork();
  const cluster = await TestCluster.start({ nodes: 2, flags: ['--demo'] });
  t.teardown(() => cluster.stop());
  const { server, lab } = cluster.record();
  const pids = [cluster.up.pid!, server.pid, lab.pid, ...processesLike(labMainPid(lab.pid))];
  const identities = pids.map((pid) => identify(pid)!);
  for (const pid of pids) {
    try {
      process.kill(pid, 'SIGKILL');
    } catch {
      // It died with an earlier one.
    }
  }
  for (const identity of identities) t.true(await hasEnded(identity, 5000), `process ${identity.pid}`);
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
  t.regex(cluster.printed(), /12 {2}demo-/);
  t.is(await cluster.interrupt(), 0);
  return t.false(existsSync(cluster.folder));
});
