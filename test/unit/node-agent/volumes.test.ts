import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { PintleError } from '../../../kernel/contract/index.ts';
import type { ConfigMap, Pod, Secret, Volume } from '../../../kernel/contract/kubernetes.ts';
import { writeVolume, type VolumeFile } from '../../../plugins/components/node-agent/atomic-writer.ts';
import type { SpecSources } from '../../../plugins/components/node-agent/container-spec.ts';
import { createPodVolumes as open } from '../../../plugins/components/node-agent/volumes.ts';
import { quiet } from '../controllers/control-plane.ts';

const createPodVolumes = (root: string) =>
  open(root, { cluster: undefined as never, drivers: new Map(), log: quiet, node: () => undefined });

function folder(t: ExecutionContext): string {
  const made = mkdtempSync(join(tmpdir(), 'pintle-volumes-'));
  t.teardown(() => rmSync(made, { recursive: true }));
  return made;
}
const files = (entries: Record<string, string>): Map<string, VolumeFile> =>
  new Map(Object.entries(entries).map(([path, text]) => [path, { content: Buffer.from(text), mode: 0o640 }]));

const pod = (volumes: Volume[]): Pod => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name: 'p', namespace: 'd', uid: 'u', resourceVersion: '', creationTimestamp: '', labels: { app: 'x' } },
  spec: { containers: [], volumes },
});
let mapData: Record<string, string> = { k: 'v' };
const sources: SpecSources = {
  configMap: async (_namespace, name) =>
    name === 'cm' ? ({ data: mapData, binaryData: { bin: 'AAE=' } } as unknown as ConfigMap) : undefined,
  secret: async (_namespace, name) => (name === 's' ? ({ data: { pw: 'Z2VoZWlt' } } as unknown as Secret) : undefined),
  serviceAccountToken: async () => 'a token',
  serviceVariables: () => new Map(),
  podIps: [],
  hostIps: [],
  nodeAllocatable: {},
};

test('the writer swaps whole sets: changed, unchanged, removed', async (t) => {
  const target = join(folder(t), 'v');
  t.true(await writeVolume(target, files({ a: '1', 'sub/b': '2' }), undefined));
  t.is(readFileSync(join(target, 'a'), 'utf8'), '1');
  t.is(readFileSync(join(target, 'sub/b'), 'utf8'), '2');
  t.is(statSync(join(target, 'a')).mode & 0o777, 0o640);
  const before = readlinkSync(join(target, '..data'));
  t.false(await writeVolume(target, files({ a: '1', 'sub/b': '2' }), undefined));
  t.is(readlinkSync(join(target, '..data')), before);
  t.true(await writeVolume(target, files({ a: '3' }), undefined));
  t.is(readFileSync(join(target, 'a'), 'utf8'), '3');
  t.deepEqual(
    readdirSync(target).filter((name) => !name.startsWith('..')),
    ['a'],
  );
  t.is(readdirSync(target).length, 3);
});

test('the writer completes what a killed one left', async (t) => {
  const target = join(folder(t), 'v');
  const wanted = files({ a: '1', b: '2' });
  await writeVolume(target, wanted, undefined);
  rmSync(join(target, 'b'));
  mkdirSync(join(target, '..2026_half'));
  t.false(await writeVolume(target, wanted, undefined));
  t.is(readFileSync(join(target, 'b'), 'utf8'), '2');
  await writeVolume(target, files({ a: '3', b: '2' }), undefined);
  t.is(readdirSync(target).filter((name) => name.startsWith('..')).length, 2);
});

for (const path of ['../x', '/etc/passwd', 'a/../../b', '..data', '']) {
  test(`the writer refuses ${JSON.stringify(path)}`, async (t) => {
    await t.throwsAsync(writeVolume(join(folder(t), 'v'), files({ [path]: 'x' }), undefined), { message: /must/ });
  });
}

test('config maps, secrets, downward API and projected volumes', async (t) => {
  const volumes = createPodVolumes(folder(t));
  const paths = await volumes.prepare(
    pod([
      { name: 'cm', configMap: { name: 'cm' } },
      { name: 'one', configMap: { name: 'cm', items: [{ key: 'k', path: 'deep/er', mode: 0o400 }] } },
      { name: 's', secret: { secretName: 's', defaultMode: 0o600 } },
      { name: 'info', downwardAPI: { items: [{ path: 'labels', fieldRef: { fieldPath: 'metadata.labels' } }] } },
      { name: 'all', projected: { sources: [{ configMap: { name: 'cm' } }, { secret: { name: 's' } }] } },
      { name: 'gone', configMap: { name: 'none', optional: true } },
    ]),
    sources,
  );
  const text = (volume: string, path: string) => readFileSync(join(paths.get(volume)!.path, path), 'utf8');
  t.is(text('cm', 'k'), 'v');
  t.deepEqual([...readFileSync(join(paths.get('cm')!.path, 'bin'))], [0, 1]);
  t.is(text('one', 'deep/er'), 'v');
  t.is(text('s', 'pw'), 'geheim');
  t.is(statSync(join(paths.get('s')!.path, 'pw')).mode & 0o777, 0o600);
  t.is(text('info', 'labels'), 'app="x"');
  t.is(text('all', 'pw'), 'geheim');
  t.is(text('all', 'k'), 'v');
  mapData = { k: 'new' };
  await volumes.prepare(pod([{ name: 'cm', configMap: { name: 'cm' } }]), sources);
  t.is(text('cm', 'k'), 'new');
  await volumes.remove('u');
  t.throws(() => statSync(volumes.folder('u')), { code: 'ENOENT' });
});

for (const [title, volume, message] of [
  ['absent config map', { name: 'x', configMap: { name: 'none' } }, /configmap "none" not found/],
  ['absent key', { name: 'x', configMap: { name: 'cm', items: [{ key: 'zz', path: 'a' }] } }, /non-existent key: zz/],
  [
    'absent host path',
    { name: 'x', hostPath: { path: '/nonexistent-pintle', type: 'Directory' } },
    /is not a directory/,
  ],
  [
    'host path of another type',
    { name: 'x', hostPath: { path: '/etc/passwd', type: 'Directory' } },
    /is not a directory/,
  ],
  ['unknown kind', { name: 'x', nfs: { server: 's', path: '/' } }, /volumes of type nfs are not supported/],
] as const) {
  test(`refused: ${title}`, async (t) => {
    const volumes = createPodVolumes(folder(t));
    const error = await t.throwsAsync(volumes.prepare(pod([volume as unknown as Volume]), sources));
    t.regex(error!.message, /MountVolume\.SetUp failed for volume "x"/);
    t.regex(error!.message, message);
  });
}

test('mounts: subPath is made, stays inside the volume', async (t) => {
  const volumes = createPodVolumes(folder(t));
  const paths = await volumes.prepare(pod([{ name: 'e', emptyDir: {} }]), sources);
  const mount = (subPath: string) =>
    volumes.mounts(
      pod([]),
      { name: 'c', volumeMounts: [{ name: 'e', mountPath: 'data', subPath, readOnly: true }] },
      paths,
      sources,
    );
  const [made] = await mount('a/b');
  t.like(made, { containerPath: '/data', readOnly: true, hostPath: join(paths.get('e')!.path, 'a/b') });
  t.is(statSync(paths.get('e')!.path).mode & 0o777, 0o777);
  await t.throwsAsync(mount('../x'), { message: /must not use/ });
  symlinkSync('/etc', join(paths.get('e')!.path, 'link'));
  await t.throwsAsync(mount('link'), { message: /leads out of the volume/ });
  await t.throwsAsync(
    volumes.mounts(pod([]), { name: 'c', volumeMounts: [{ name: 'zz', mountPath: '/x' }] }, paths, sources),
    {
      message: /no volume of this name/,
    },
  );
});

test('what the node writes is mounted read-only; a subPath through a link makes nothing outside', async (t) => {
  const root = folder(t);
  const volumes = createPodVolumes(join(root, 'pods'));
  const outside = join(root, 'outside');
  mkdirSync(outside);
  const prepared = await volumes.prepare(
    pod([
      { name: 'cm', configMap: { name: 'cm' } },
      { name: 'e', emptyDir: {} },
    ]),
    sources,
  );
  const [map, empty] = await volumes.mounts(
    pod([]),
    {
      name: 'c',
      volumeMounts: [
        { name: 'cm', mountPath: '/m' },
        { name: 'e', mountPath: '/e' },
      ],
    },
    prepared,
    sources,
  );
  t.deepEqual([map!.readOnly, empty!.readOnly], [true, false]);
  symlinkSync(outside, join(prepared.get('e')!.path, 'out'));
  const through = { name: 'c', volumeMounts: [{ name: 'e', mountPath: '/e', subPath: 'out/made' }] };
  await t.throwsAsync(volumes.mounts(pod([]), through, prepared, sources), { message: /leads out of the volume/ });
  t.false(existsSync(join(outside, 'made')));
  t.deepEqual(await volumes.list(), ['u']);
  await volumes.remove('u');
  t.deepEqual(await volumes.list(), []);
});

test('subPathExpr takes the container’s environment; a variable that is not there is an error', async (t) => {
  const volumes = createPodVolumes(folder(t));
  const paths = await volumes.prepare(pod([{ name: 'e', emptyDir: {} }]), sources);
  const mount = (subPathExpr: string) => {
    const env = [{ name: 'NAME', valueFrom: { fieldRef: { fieldPath: 'metadata.name' } } }];
    const container = { name: 'c', env, volumeMounts: [{ name: 'e', mountPath: '/d', subPathExpr }] };
    return volumes.mounts(pod([]), container, paths, sources);
  };
  const [made] = await mount('logs/$(NAME)-$$(NAME)');
  t.is(made?.hostPath, join(paths.get('e')!.path, 'logs/p-$(NAME)'));
  t.is(statSync(made!.hostPath).mode & 0o777, 0o777, 'writable as the volume is');
  await t.throwsAsync(mount('$(NOBODY)'), { message: /missing value for "NOBODY"/ });
});

test('files of a volume are there for the pod’s group; a mode that keeps it out does not', async (t) => {
  const target = join(folder(t), 'v');
  const group = process.getuid!() === 0 ? 4321 : process.getgid!();
  await writeVolume(target, new Map([['a', { content: Buffer.from('1'), mode: 0o400 }]]), group);
  const { gid, mode } = statSync(join(target, 'a'));
  t.deepEqual([gid, mode & 0o777], [group, 0o440]);
});

test('a volume that is there stays while the API is away; one that is not says so', async (t) => {
  const volumes = createPodVolumes(folder(t));
  const definition = pod([{ name: 'cm', configMap: { name: 'cm' } }]);
  const away = {
    ...sources,
    configMap: async () => {
      throw new PintleError('UNAVAILABLE', 'no answer');
    },
  };
  await t.throwsAsync(volumes.prepare(definition, away), { code: 'UNAVAILABLE' });
  const before = await volumes.prepare(definition, sources);
  t.deepEqual(await volumes.prepare(definition, away), before);
});

test('a volume outlives its ConfigMap, and says that it is gone; each that is not there says why', async (t) => {
  const volumes = createPodVolumes(folder(t));
  const definition = pod([{ name: 'cm', configMap: { name: 'cm' } }]);
  const gone = { ...sources, configMap: async () => undefined };
  const told: string[] = [];
  const tell = (message: string) => void told.push(message);
  const before = await volumes.prepare(definition, sources, tell);
  t.deepEqual(told, []);
  t.deepEqual(await volumes.prepare(definition, gone, tell), before);
  t.deepEqual(told, ['MountVolume.SetUp failed for volume "cm" : configmap "cm" not found']);

  told.length = 0;
  const names = ['a', 'b', 'c'];
  const missing = { ...pod(names.map((name) => ({ name, configMap: { name } }))) };
  const error = await t.throwsAsync(volumes.prepare(missing, gone, tell));
  t.deepEqual(
    [error.message, ...told],
    names.map((name) => `MountVolume.SetUp failed for volume "${name}" : configmap "${name}" not found`),
  );
});

test('a hostPath is checked against its type in upstream’s words', async (t) => {
  const root = folder(t);
  const volumes = createPodVolumes(join(root, 'pods'));
  const path = join(root, 'x');
  const says = (type: string, message: RegExp) =>
    t.throwsAsync(volumes.prepare(pod([{ name: 'h', hostPath: { path, type } }]), sources), { message });
  await says('', /hostPath \S+ does not exist$/);
  await says('Directory', /hostPath type check failed: \S+\/x is not a directory$/);
  await says('Socket', /is not a socket file$/);
  writeFileSync(path, '');
  await says('DirectoryOrCreate', /is not a directory$/);
  await says('CharDevice', /is not a character device$/);
  await volumes.prepare(pod([{ name: 'h', hostPath: { path, type: 'File' } }]), sources);
});

test('an emptyDir of a medium that the node lacks is refused', async (t) => {
  const volumes = createPodVolumes(folder(t));
  const definition = pod([{ name: 'e', emptyDir: { medium: 'HugePages' } }]);
  await t.throwsAsync(volumes.prepare(definition, sources), { message: /medium HugePages is not supported/ });
});

test('the volumes of a pod that has ended go, what else it has stays', async (t) => {
  const volumes = createPodVolumes(folder(t));
  const paths = await volumes.prepare(pod([{ name: 'e', emptyDir: {} }]), sources);
  const log = join(volumes.folder('u'), 'c_0.log');
  writeFileSync(log, 'x');
  await volumes.clear('u');
  await volumes.clear('u');
  t.false(existsSync(paths.get('e')!.path));
  t.true(existsSync(log));
  await volumes.clear('never');
});

test('what the file system refuses is the reason that a volume is not there', async (t) => {
  const root = folder(t);
  const volumes = createPodVolumes(root);
  writeFileSync(join(root, 'u'), 'a file in the way');
  await t.throwsAsync(volumes.prepare(pod([{ name: 'e', emptyDir: {} }]), sources), {
    code: 'CONTAINER_INVALID',
    message: /^MountVolume.SetUp failed for volume "e" : ENOTDIR/,
  });
});
