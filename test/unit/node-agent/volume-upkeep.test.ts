import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import type { Pod, PodStatus, Volume } from '../../../kernel/contract/kubernetes.ts';
import { usedBytes } from '../../../plugins/components/node-agent/empty-dir.ts';
import { hasLiveFiles, keepVolumes, outgrown } from '../../../plugins/components/node-agent/volume-upkeep.ts';

const pod = (uid: string, volumes: readonly Volume[], status: PodStatus = {}): Pod => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name: uid, namespace: 'default', uid, resourceVersion: '', creationTimestamp: '' },
  spec: { containers: [], volumes: [...volumes] },
  status,
});

function folder(t: { teardown(undo: () => unknown): void }): string {
  const made = mkdtempSync(join(tmpdir(), 'pintle-upkeep-'));
  t.teardown(() => rmSync(made, { recursive: true }));
  return made;
}

const map = (name: string): Volume => ({ name: 'v', configMap: { name } });
const projected = (sources: object[]): Volume => ({ name: 'v', projected: { sources } });

for (const [title, volumes, expected] of [
  ['no volumes', [], false],
  ['an emptyDir', [{ name: 'v', emptyDir: {} }], false],
  ['a ConfigMap', [map('x')], true],
  ['a Secret', [{ name: 'v', secret: { secretName: 'x' } }], true],
  ['a projected Secret', [projected([{ secret: { name: 'x' } }])], true],
  ['a projected ConfigMap', [projected([{ configMap: { name: 'x' } }])], true],
  [
    'what every pod has',
    [projected([{ serviceAccountToken: { path: 't' } }, { configMap: { name: 'kube-root-ca.crt' } }])],
    false,
  ],
] as const)
  test(`files that may change: ${title}`, (t) => t.is(hasLiveFiles(pod('u', volumes)), expected));

test('what an emptyDir holds is counted below folders, and limits are for disks', async (t) => {
  const root = folder(t);
  const place = join(root, 'volumes', 'v');
  mkdirSync(join(place, 'deep'), { recursive: true });
  writeFileSync(join(place, 'deep', 'file'), Buffer.alloc(300_000, 1));
  t.true((await usedBytes(place)) >= 300_000);
  const limited = (sizeLimit: string, medium = '') => pod('u', [{ name: 'v', emptyDir: { sizeLimit, medium } }]);
  t.is(await outgrown(limited('1Mi'), root), undefined);
  t.deepEqual(await outgrown(limited('100Ki'), root), {
    reason: 'Evicted',
    message: 'Usage of EmptyDir volume "v" exceeds the limit "100Ki". ',
  });
  t.is(await outgrown(limited('100Ki', 'Memory'), root), undefined);
  t.is(await outgrown(limited('0'), root), undefined);
  t.is(await outgrown(limited('1Ki'), join(root, 'nowhere')), undefined);
});

test('pods are looked at while they run, and those that have outgrown a volume end', async (t) => {
  const root = folder(t);
  mkdirSync(join(root, 'big', 'volumes', 'v'), { recursive: true });
  writeFileSync(join(root, 'big', 'volumes', 'v', 'file'), Buffer.alloc(100_000, 1));
  const stop = new AbortController();
  const seen: string[] = [];
  let rounds = 0;
  await keepVolumes(
    {
      everyMs: 1,
      clock: {
        now: () => 0,
        sleep: async () => {
          if (++rounds > 2) stop.abort();
        },
      },
      pods: () => [
        pod('live', [map('x')]),
        pod('over', [map('x')], { phase: 'Succeeded' }),
        pod('plain', []),
        pod('big', [{ name: 'v', emptyDir: { sizeLimit: '1Ki' } }, map('x')]),
      ],
      folder: (uid) => join(root, uid),
      look: (uid) => void seen.push(`look ${uid}`),
      fail: ({ metadata }, { reason }) => void seen.push(`${reason} ${metadata.uid}`),
    },
    stop.signal,
  );
  t.deepEqual(seen, ['look live', 'Evicted big', 'look live', 'Evicted big']);
});
