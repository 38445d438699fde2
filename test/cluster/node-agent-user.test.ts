/** What differs on the nodes of an ordinary user: their users are those of a user namespace. */
import test from 'ava';
import { TestCluster } from './support/cluster.ts';
import { Pods, shell, statusOf } from './support/pods.ts';

test('a pod that wants a user which the node does not have is told so; the node’s whole file system can be mounted', async (t) => {
  if (process.getuid?.() !== 0) return t.log('skipped: needs root, to become another user');
  const cluster = await TestCluster.start({ nodes: 1, uid: 65534 });
  t.teardown(() => cluster.stop());
  const pods = new Pods(cluster);
  await pods.create('stranger', {
    restartPolicy: 'Never',
    containers: [shell('c', 'id -u', { securityContext: { runAsUser: 1234567 } })],
  });
  await pods.create('root', { restartPolicy: 'Never', containers: [shell('c', 'id -u')] });
  // A bind of "/" alone would uncover what is mounted below it, which the kernel refuses in a user namespace.
  await pods.create('whole', {
    restartPolicy: 'Never',
    containers: [
      shell('c', 'ls -d /node/etc/passwd /node/proc/1; touch /shut/tmp/x 2>&1 | grep -o Read-only', {
        volumeMounts: [
          { name: 'node', mountPath: '/node' },
          { name: 'node', mountPath: '/shut', readOnly: true },
        ],
      }),
    ],
    volumes: [{ name: 'node', hostPath: { path: '/', type: 'Directory' } }],
  });
  await pods.phase('whole', 'Succeeded');
  t.is(await pods.logs('whole'), '/node/etc/passwd\n/node/proc/1\nRead-only\n');
  await pods.phase('root', 'Succeeded');
  t.is(await pods.logs('root'), '0\n');
  const stranger = await pods.until(
    'stranger',
    (pod) =>
      pod.status?.phase === 'Failed' || pod.status?.containerStatuses?.[0]?.state?.waiting?.message !== undefined,
  );
  const { state } = statusOf(stranger, 'c');
  t.regex(state?.waiting?.message ?? state?.terminated?.message ?? '', /user 1234567.*user namespace/);
  return undefined;
});
