/** A node whose disk is full, and its server's with it: what runs goes on, and all is well again once there is room. */
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import test from 'ava';
import { Agent } from '../cluster/support/agents.ts';
import { kubectls, TestCluster } from '../cluster/support/cluster.ts';
import { eventually, Pods, shell } from '../cluster/support/pods.ts';

const run = promisify(execFile);
/** So that the small disk is not under pressure from the start, and the pod that fills it is not evicted. */
const configuration = `
apiVersion: pintle.dev/v1
kind: ClusterConfiguration
plugins:
  use:
    component:
      - defaults
      - { name: node-agent, config: { eviction: { hard: { nodefs.available: 0%, nodefs.inodesFree: 0% } } } }
`;

test('on a full disk pods run on, their lost output is told, and new pods start once there is room', async (t) => {
  if (kubectls().length === 0) return t.log('skipped: no kubectl; PINTLE_TEST_KUBECTL names one');
  const disk = mkdtempSync(join(tmpdir(), 'pintle-disk-'));
  await run('mount', ['-t', 'tmpfs', '-o', 'size=160m', 'tmpfs', disk]);
  t.teardown(async () => {
    await run('umount', ['-l', disk]);
    rmSync(disk, { recursive: true, force: true });
  });
  const before = process.env['TMPDIR'];
  process.env['TMPDIR'] = disk;
  writeFileSync(join(disk, 'config.yaml'), configuration);
  const cluster = await TestCluster.start({ nodes: 1, flags: ['--config', join(disk, 'config.yaml')] });
  if (before === undefined) delete process.env['TMPDIR'];
  else process.env['TMPDIR'] = before;
  t.teardown(() => cluster.stop());
  const pods = new Pods(cluster);
  const agent = new Agent(cluster, 'node-1');
  const { pid } = agent;
  // A file's last page has room for a while: long lines need a new one soon.
  await pods.create('talks', {
    containers: [shell('c', 'p=$(printf %1000s | tr " " x); n=0; while sleep 0.2; do echo $((n += 1)) $p; done')],
  });
  await pods.create('fills', {
    containers: [
      shell('c', 'dd if=/dev/zero of=/d/file bs=64k; echo full; exec sleep infinity', {
        volumeMounts: [{ name: 'd', mountPath: '/d' }],
      }),
    ],
    volumes: [{ name: 'd', emptyDir: {} }],
  });
  await pods.ready('talks');
  const create = (name: string) => pods.kubectl(['create', 'configmap', name, '--from-literal=a=1']);
  const refused = await eventually(async () => {
    const answer = await create(`map-${Date.now()}`);
    return answer.code !== 0 && /no space is left on the device/.test(answer.stderr) ? answer.stderr : undefined;
  });
  t.truthy(refused);
  // The node still answers, and has output meanwhile that it cannot write.
  t.is((await pods.kubectl(['exec', 'talks', '--', 'sleep', '1'])).code, 0);
  t.is(agent.pid, pid, 'the same agent');
  t.is((await pods.kubectl(['exec', 'fills', '--', 'rm', '/d/file'])).code, 0);
  await eventually(async () => ((await create(`map-${Date.now()}`)).code === 0 ? true : undefined));
  const log = await eventually(async () => {
    const text = await pods.logs('talks');
    return /bytes of output are lost/.test(text) ? text : undefined;
  });
  t.regex(log, /^pintle: about \d+ bytes of output are lost: no space was left on the device$/m);
  for (const line of log.trim().split('\n')) t.regex(line, /^(\d+ x{1000}|pintle: .*)$/, 'whole lines');
  await pods.create('after', { restartPolicy: 'Never', containers: [shell('c', 'echo well')] });
  await pods.phase('after', 'Succeeded');
  t.is(await pods.logs('after'), 'well\n');
  t.is(agent.pid, pid);
  return undefined;
});
