/** Imported images: every form of source, whiteouts, what the configuration says, and archives that mean harm. */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { openRuntime } from '../../kernel/conformance/runtime.ts';
import { until, readLog } from '../../kernel/conformance/runtime/subject.ts';
import type { Container, ContainerSpec, Plugin } from '../../kernel/contract/index.ts';
import { importImage } from '../../plugins/runtimes/process/images/import-image.ts';

const module = new URL('../../plugins/runtimes/process/index.js', import.meta.url).href;

/** A root file system of three programs and what they need. */
function makeRootfs(folder: string): void {
  for (const program of ['/usr/bin/dash', '/usr/bin/cat', '/usr/bin/id']) {
    const listed = execFileSync('ldd', [program], { encoding: 'utf8' });
    const files = [program, ...[...listed.matchAll(/(\/\S+) \(/g)].map((match) => match[1] ?? '')];
    for (const file of files) {
      mkdirSync(join(folder, dirname(file)), { recursive: true });
      copyFileSync(file, join(folder, file));
    }
  }
  mkdirSync(join(folder, 'bin'));
  symlinkSync('/usr/bin/dash', join(folder, 'bin/sh'));
  mkdirSync(join(folder, 'etc'));
  writeFileSync(join(folder, 'etc/passwd'), 'root:x:0:0::/root:/bin/sh\napp:x:0:0::/srv/app:/bin/sh\n');
  writeFileSync(join(folder, 'etc/mark'), 'from the image\n');
}

interface Bench {
  readonly folder: string;
  readonly stateDir: string;
  readonly run: (
    image: string,
    over?: Partial<ContainerSpec>,
  ) => Promise<{ readonly container: Container; readonly stdout: string }>;
  readonly runtime: Awaited<ReturnType<typeof openRuntime>>;
}

async function open(t: ExecutionContext): Promise<Bench> {
  const folder = mkdtempSync(join(tmpdir(), 'pintle-images-'));
  const stateDir = join(folder, 'state');
  const runtime = await openRuntime(module, stateDir);
  t.teardown(async () => {
    await runtime.purge();
    await runtime[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true, force: true });
  });
  await runtime.ensureSandbox({
    ...{ id: 's', podNamespace: 'd', podName: 'p', podUid: 'u', hostname: 'h', labels: {}, sysctls: {} },
    ...{ hostNetwork: false, hostIpc: false, hostPid: false, resolvConf: 'nameserver 192.0.2.1\n', etcHosts: '' },
  });
  let count = 0;
  const run: Bench['run'] = async (image, over = {}) => {
    const id = `c${++count}`;
    const logPath = join(folder, 'logs', id);
    await runtime.startContainer({
      ...{
        id,
        sandboxId: 's',
        name: id,
        attempt: 0,
        image,
        labels: {},
        command: [],
        args: [],
        env: [],
        mounts: [],
        logPath,
      },
      ...{ readOnlyRoot: false, privileged: false, noNewPrivileges: false, addCapabilities: [], dropCapabilities: [] },
      ...{ tty: false, stdin: false, maxLogBytes: 1e6, maxLogFiles: 2 },
      ...over,
    });
    const container = await until('it has ended', async () =>
      (await runtime.listContainers()).find((one) => one.id === id && one.state === 'exited'),
    );
    return { container, stdout: readLog(logPath).text('stdout') };
  };
  return { folder, stateDir, run, runtime };
}

function tar(folder: string, file: string, ...options: readonly string[]): string {
  execFileSync('tar', ['--create', ...options, '--file', file, '--directory', folder, '.']);
  return file;
}

const sha256 = (bytes: Buffer | string): string => createHash('sha256').update(bytes).digest('hex');

const imageConfig = {
  config: {
    Entrypoint: ['/bin/sh', '-c'],
    Cmd: ['echo $GREETING; pwd; echo $HOME; cat /etc/mark'],
    Env: ['GREETING=hello'],
    WorkingDir: '/work',
    User: 'app',
    StopSignal: 'SIGUSR1',
  },
};

/** An OCI layout of these layers. */
function makeOciLayout(folder: string, layers: readonly string[], config: unknown = imageConfig): string {
  mkdirSync(join(folder, 'blobs/sha256'), { recursive: true });
  const put = (bytes: Buffer | string): { digest: string; size: number; mediaType: string } => {
    writeFileSync(join(folder, 'blobs/sha256', sha256(bytes)), bytes);
    return { digest: `sha256:${sha256(bytes)}`, size: bytes.length, mediaType: 'x' };
  };
  const manifest = put(
    JSON.stringify({ config: put(JSON.stringify(config)), layers: layers.map((layer) => put(readFileSync(layer))) }),
  );
  writeFileSync(
    join(folder, 'index.json'),
    JSON.stringify({
      manifests: [{ ...manifest, annotations: { 'org.opencontainers.image.ref.name': 'named/by-layout:2' } }],
    }),
  );
  writeFileSync(join(folder, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}');
  return folder;
}

/** Two layers: the root file system, and one that hides, replaces and adds. */
function makeLayers(folder: string): readonly string[] {
  const base = join(folder, 'base');
  makeRootfs(base);
  for (const name of ['gone', 'kept', 'cleared/old']) {
    mkdirSync(dirname(join(base, name)), { recursive: true });
    writeFileSync(join(base, name), name);
  }
  const top = join(folder, 'top');
  mkdirSync(join(top, 'cleared'), { recursive: true });
  mkdirSync(join(top, 'etc'));
  for (const name of ['.wh.gone', 'cleared/.wh..wh..opq']) writeFileSync(join(top, name), '');
  writeFileSync(join(top, 'cleared/new'), 'new');
  writeFileSync(join(top, 'etc/mark'), 'from the second layer\n');
  return [tar(base, join(folder, '1.tar.gz'), '--gzip'), tar(top, join(folder, '2.tar'))];
}

test('a folder and a tarball become images that run without anything of the node', async (t) => {
  const { folder, stateDir, run, runtime } = await open(t);
  const rootfs = join(folder, 'rootfs');
  makeRootfs(rootfs);
  const sources = [rootfs, tar(rootfs, join(folder, 'plain.tar')), tar(rootfs, join(folder, 'zipped.tgz'), '--gzip')];
  for (const [index, source] of sources.entries()) {
    const image = await importImage({ stateDir, source, names: [`kit/app-${index}`] });
    t.true(image.sizeBytes > 100_000);
    t.deepEqual(await runtime.imageStatus(`docker.io/kit/app-${index}:latest`), image);
    const command = [
      'sh',
      '-c',
      'cat /etc/mark /etc/resolv.conf; id -u; echo x > /etc/mark; [ -e /usr/bin/node ] || echo own; echo /root/*',
    ];
    const { container, stdout } = await run(`kit/app-${index}`, { command });
    t.is(stdout, 'from the image\nnameserver 192.0.2.1\n0\nown\n/root/*\n');
    t.deepEqual([container.exitCode, container.imageId], [0, image.id]);
  }
  t.is(
    (await run('kit/app-0', { command: ['cat', '/etc/mark'] })).stdout,
    'from the image\n',
    'a container has changed the image',
  );
  await t.throwsAsync(run('kit/app-0', { command: ['ls'] }), { code: 'CONTAINER_START_FAILED', message: /ls/ });
});

test('an OCI layout brings its layers and its configuration', async (t) => {
  const { folder, stateDir, run } = await open(t);
  const layout = makeOciLayout(join(folder, 'oci'), makeLayers(folder));
  const image = await importImage({ stateDir, source: layout, names: ['kit/oci:1'] });
  t.deepEqual([...image.names].sort(), ['kit/oci:1', 'named/by-layout:2']);
  t.is((await run('kit/oci:1')).stdout, 'hello\n/work\n/srv/app\nfrom the second layer\n');
  const listing = await run('kit/oci:1', { command: ['sh', '-c', 'echo /gone* /kept /cleared/*'] });
  t.is(listing.stdout, '/gone* /kept /cleared/new\n');
  t.is((await run('kit/oci:1', { args: ['echo args replace Cmd'] })).stdout, 'args replace Cmd\n');
});

test('a docker archive as one file does too, and its stop signal is used', async (t) => {
  const { folder, stateDir, run, runtime } = await open(t);
  const saved = join(folder, 'saved');
  mkdirSync(saved);
  const layers = makeLayers(folder);
  for (const layer of layers) copyFileSync(layer, join(saved, basename(layer)));
  writeFileSync(join(saved, 'config.json'), JSON.stringify(imageConfig));
  writeFileSync(
    join(saved, 'manifest.json'),
    JSON.stringify([
      { Config: 'config.json', RepoTags: ['kit/docker:1'], Layers: layers.map((layer) => basename(layer)) },
    ]),
  );
  const image = await importImage({ stateDir, source: tar(saved, join(folder, 'saved.tar')), names: [] });
  t.is(image.id, `sha256:${sha256(JSON.stringify(imageConfig))}`);
  t.is((await run('kit/docker:1')).stdout, 'hello\n/work\n/srv/app\nfrom the second layer\n');
  const running = run('kit/docker:1', {
    args: ['trap "echo usr1; exit 4" USR1; echo up; while :; do cat /dev/null; done'],
  });
  const id = await until(
    'it runs',
    async () =>
      (await runtime.listContainers()).find(({ state, logPath }) => state === 'running' && existsSync(logPath))?.id,
  );
  await runtime.stopContainer(id, 20_000);
  t.deepEqual([(await running).stdout, (await running).container.exitCode], ['up\nusr1\n', 4]);
});

test('names move to a newer image, and an image goes with its last name', async (t) => {
  const { folder, stateDir, run, runtime } = await open(t);
  const rootfs = join(folder, 'rootfs');
  makeRootfs(rootfs);
  const first = await importImage({ stateDir, source: rootfs, names: ['a', 'b'] });
  t.is(
    (await importImage({ stateDir, source: rootfs, names: ['a'] })).id,
    first.id,
    'the same content is another image',
  );
  writeFileSync(join(rootfs, 'etc/mark'), 'second\n');
  const second = await importImage({ stateDir, source: rootfs, names: ['a'] });
  t.not(second.id, first.id);
  t.is((await runtime.imageStatus('a'))?.id, second.id);
  t.deepEqual((await runtime.imageStatus('b'))?.names, ['b']);
  const { container } = await run('b', { command: ['cat'] });
  await t.throwsAsync(runtime.removeImage('b'), { code: 'CONFLICT', message: /used/ });
  await runtime.removeContainer(container.id);
  await runtime.removeImage('b');
  await runtime.removeImage('b');
  t.is(await runtime.imageStatus('b'), undefined);
  t.deepEqual((await runtime.listImages()).map(({ id }) => id).sort(), ['host', second.id].sort());
  await t.throwsAsync(runtime.removeImage('host'), { code: 'UNSUPPORTED' });
  t.deepEqual(readdirSync(join(stateDir, 'images')), [second.id.replace(':', '-')], 'folders are left');
});

test('images are worked on beside the agent, and one that is used stays', async (t) => {
  const { folder, stateDir, run, runtime } = await open(t);
  const { default: plugin } = (await import(module)) as { default: Plugin<'runtime'> };
  const offline = await plugin.offline!({ config: {} as never, stateDir, nodeName: 'node' });
  const rootfs = join(folder, 'rootfs');
  makeRootfs(rootfs);
  const image = await offline.importImage(rootfs, ['a', 'b']);
  t.is((await runtime.imageStatus('a'))?.id, image.id);
  t.deepEqual((await offline.listImages()).map(({ id }) => id).sort(), ['host', image.id].sort());
  const { container } = await run('a', { command: ['cat'] });
  await t.throwsAsync(offline.removeImage('a'), { code: 'CONFLICT', message: /used/ });
  await runtime.removeContainer(container.id);
  t.true(await offline.removeImage('a'));
  t.true(await offline.removeImage('b'));
  t.false(await offline.removeImage('b'));
  t.is(await runtime.imageStatus('b'), undefined);
  await offline[Symbol.asyncDispose]();
});

test('a layer that writes through a link of an earlier one stays in the image', async (t) => {
  const { folder, stateDir } = await open(t);
  const outside = join(folder, 'outside');
  mkdirSync(outside);
  writeFileSync(join(outside, 'safe'), 'untouched');
  const [one, two] = [join(folder, 'l1'), join(folder, 'l2')];
  makeRootfs(one);
  symlinkSync(outside, join(one, 'door'));
  mkdirSync(join(two, 'door'), { recursive: true });
  writeFileSync(join(two, 'door/planted'), 'x');
  writeFileSync(join(two, 'door/.wh.safe'), '');
  const layout = makeOciLayout(join(folder, 'oci'), [
    tar(one, join(folder, 'l1.tar')),
    tar(two, join(folder, 'l2.tar')),
  ]);
  await importImage({ stateDir, source: layout, names: ['evil'] });
  t.deepEqual(readdirSync(outside), ['safe']);
});

test('an image whose programs are traps does not run them with more rights than the container', async (t) => {
  const { folder, stateDir, run } = await open(t);
  const rootfs = join(folder, 'rootfs');
  makeRootfs(rootfs);
  for (const name of ['setpriv', 'env', 'umount', 'mkdir']) {
    writeFileSync(join(rootfs, 'usr/bin', name), '#!/bin/sh\necho trapped > /trap\n');
    chmodSync(join(rootfs, 'usr/bin', name), 0o755);
  }
  // What the dynamic linker and the name service would load before the first line of a program.
  writeFileSync(join(rootfs, 'etc/ld.so.preload'), '/lib/trap.so\n');
  writeFileSync(join(rootfs, 'etc/nsswitch.conf'), 'passwd: trap\ngroup: trap\n');
  await importImage({ stateDir, source: rootfs, names: ['traps'] });
  const { stdout } = await run('traps', {
    command: [
      'sh',
      '-c',
      '[ -e /trap ] && echo trapped; while read -r key value; do [ "$key" != CapEff: ] || echo "$value"; done </proc/self/status',
    ],
    dropCapabilities: ['ALL'],
  });
  t.is(stdout, '0000000000000000\n');
});

test('damaged and hostile archives are refused in words, and leave nothing', async (t) => {
  const { folder, stateDir } = await open(t);
  const write = (name: string, text: string): string => {
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    writeFileSync(join(folder, name), text);
    return join(folder, name);
  };
  const layout = makeOciLayout(join(folder, 'damaged'), makeLayers(folder));
  const largest = readdirSync(join(layout, 'blobs/sha256')).sort()[0] ?? '';
  writeFileSync(join(layout, 'blobs/sha256', largest), 'other');
  write('escape/manifest.json', '[{"Config":"../../../etc/hostname","Layers":[]}]');
  write('shape/manifest.json', '{"no":"list"}');
  write('syntax/manifest.json', '[{');
  const cases = [
    { source: join(folder, 'nowhere'), code: 'IMAGE_NOT_FOUND', message: /nowhere/ },
    { source: write('text', 'no tarball'), code: 'BAD_REQUEST', message: /no tarball/ },
    { source: layout, code: 'BAD_REQUEST', message: /damaged/ },
    { source: join(folder, 'escape'), code: 'BAD_REQUEST', message: /etc\/hostname/ },
    { source: join(folder, 'shape'), code: 'BAD_REQUEST', message: /manifest\.json/ },
    { source: join(folder, 'syntax'), code: 'BAD_REQUEST', message: /no JSON/ },
  ] as const;
  for (const { source, code, message } of cases)
    await t.throwsAsync(importImage({ stateDir, source, names: ['x'] }), { code, message });
  t.deepEqual(readdirSync(join(stateDir, 'images')), []);
});
