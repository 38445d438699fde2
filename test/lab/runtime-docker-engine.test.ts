/** Runtime `docker` and its engine: pulls with secrets and progress, an engine that goes away, what is left on the host. */
import { existsSync, mkdirSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { randomFillSync } from 'node:crypto';
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { skipCase } from '../../kernel/conformance/kit.ts';
import { openRuntime } from '../../kernel/conformance/runtime.ts';
import { readLog, until } from '../../kernel/conformance/runtime/subject.ts';
import type { ContainerSpec, SandboxSpec } from '../../kernel/contract/index.ts';
import { makeBusyboxTar, missingPackages } from './support/busybox-image.ts';
import { DockerEngine, dockerProgram } from './support/docker-engine.ts';
import { Registry, registryProgram, registryUser } from './support/registry.ts';

const module = new URL('../../plugins/runtimes/docker/index.js', import.meta.url).href;
const missing = missingPackages({
  [dockerProgram]: 'docker.io',
  [registryProgram]: 'docker-registry',
  '/bin/busybox': 'busybox-static',
});

if (missing.length > 0) skipCase(test, 'runtime docker and its engine', `not installed: ${missing.join(', ')}`);
else {
  const folder = mkdtempSync(join(tmpdir(), 'pintle-docker-engine-'));
  const registry = await Registry.start(join(folder, 'registry'), { hasPassword: true });
  const engine = await DockerEngine.start(join(folder, 'engine'));
  const config = { engine: `unix://${engine.socket}` };
  const image = 'pintle.test/engine:1';
  const rootfs = makeBusyboxTar(folder);
  await engine.import(rootfs, image);
  let count = 0;
  const open = async () => {
    const stateDir = join(folder, `state-${++count}`);
    return { stateDir, runtime: await openRuntime(module, stateDir, config) };
  };

  const sandbox: SandboxSpec = {
    ...{ id: 's', podNamespace: 'd', podName: 'p', podUid: 'u', hostname: 'h', labels: {}, sysctls: {} },
    ...{ hostNetwork: false, hostIpc: false, hostPid: false, resolvConf: '', etcHosts: '' },
  };
  const container = (id: string, script: string): ContainerSpec => ({
    ...{ id, sandboxId: 's', name: id, attempt: 0, image, labels: {}, args: [], env: [], mounts: [] },
    ...{ readOnlyRoot: false, privileged: false, noNewPrivileges: false, addCapabilities: [], dropCapabilities: [] },
    ...{ tty: false, stdin: false, maxLogBytes: 1e7, maxLogFiles: 2, logPath: join(folder, `logs-${count}`, id) },
    command: ['sh', '-c', script],
  });

  test.serial('a pull needs the credentials of its registry, and tells how far it is', async (t) => {
    const { runtime } = await open();
    t.teardown(async () => {
      await runtime.purge();
      await runtime[Symbol.asyncDispose]();
    });
    const secret = `${registry.address}/team/secret:1`;
    const large = join(folder, 'large');
    mkdirSync(large);
    // Random bytes do not compress, so the layer is as large as it says.
    writeFileSync(join(large, 'data'), randomFillSync(Buffer.alloc(24_000_000)));
    execFileSync('tar', ['--create', '--file', join(folder, 'large.tar'), '--directory', large, '.']);
    await engine.import(join(folder, 'large.tar'), secret);
    await engine.push(secret, registryUser);
    await engine.docker.getImage(secret).remove();

    await t.throwsAsync(runtime.pullImage(secret), { code: 'IMAGE_NOT_FOUND', message: /team\/secret:1/ });
    const wrong = { server: registry.address, ...registryUser, password: 'guess' };
    await t.throwsAsync(runtime.pullImage(secret, { credentials: wrong }), { code: 'IMAGE_NOT_FOUND' });
    t.is(await runtime.imageStatus(secret), undefined);
    const seen: { readonly bytes: number; readonly totalBytes: number }[] = [];
    const pulled = await runtime.pullImage(secret, {
      credentials: { server: registry.address, ...registryUser },
      onProgress: (progress) => seen.push(progress),
    });
    t.true(pulled.names.includes(secret));
    t.true(seen.length > 0);
    t.true(seen.every(({ bytes, totalBytes }, index) => bytes <= totalBytes && bytes >= (seen[index - 1]?.bytes ?? 0)));
    t.true((seen.at(-1)?.totalBytes ?? 0) >= 24_000_000);
    t.is((await runtime.imageStatus(secret))?.id, pulled.id);
    await runtime.removeImage(secret);
    t.is(await runtime.imageStatus(secret), undefined);
  });

  test.serial('a name of several tags is pulled with the tag latest only', async (t) => {
    const { runtime } = await open();
    t.teardown(() => runtime[Symbol.asyncDispose]());
    const repository = `${registry.address}/team/tags`;
    for (const tag of ['latest', 'other']) {
      await engine.import(rootfs, `${repository}:${tag}`);
      await engine.push(`${repository}:${tag}`, registryUser);
      await engine.docker.getImage(`${repository}:${tag}`).remove();
    }
    await runtime.pullImage(repository, { credentials: { server: registry.address, ...registryUser } });
    t.not(await runtime.imageStatus(`${repository}:latest`), undefined);
    t.is(await runtime.imageStatus(`${repository}:other`), undefined);
  });

  test.serial(
    'an engine that is killed and started again finds its containers running, and nothing of their output is lost',
    async (t) => {
      const { runtime } = await open();
      t.teardown(async () => {
        await runtime.purge();
        await runtime[Symbol.asyncDispose]();
      });
      const seen: string[] = [];
      const stop = new AbortController();
      const reading = (async () => {
        for await (const { type, containerId } of runtime.events(stop.signal))
          if (type === 'container-exited') seen.push(containerId ?? '');
      })();
      const { netns } = await runtime.ensureSandbox(sandbox);
      const namespace = statSync(netns ?? '').ino;
      const counting = container(
        'counting',
        'i=0; while [ ! -e /go ]; do i=$((i+1)); echo "line $i"; sleep 0.01; done; echo "last $i"; exit 4',
      );
      const started = await runtime.startContainer(counting);
      await until('it counts', () => readLog(counting.logPath).lines.length > 5 || undefined);

      await engine.kill();
      await until('the runtime knows', () => !runtime.status().ready || undefined);
      t.regex(runtime.status().reason ?? '', /does not answer/);
      await t.throwsAsync(runtime.listContainers(), { code: 'UNAVAILABLE', message: /is it running/ });
      await engine.start();
      await until('the runtime knows', () => runtime.status().ready || undefined);

      const [found] = await runtime.listContainers();
      t.deepEqual([found?.state, found?.pid, found?.startedMs], ['running', started.pid, started.startedMs]);
      const [again] = await runtime.listSandboxes();
      t.deepEqual([again?.ready, statSync(again?.netns ?? '').ino], [true, namespace]);
      const streams = await runtime.exec('counting', { command: ['touch', '/go'], stdin: false, tty: false });
      streams.stdout?.resume();
      // It ends the container, and with that the engine may forget how the exec itself ended.
      await streams.exited;
      await until('its end is an event', () => seen.includes('counting') || undefined);
      const ended = await until('it has ended', async () => {
        const [one] = await runtime.listContainers();
        return one?.state === 'exited' ? one : undefined;
      });
      t.is(ended.exitCode, 4);
      const lines = readLog(counting.logPath).text('stdout').trimEnd().split('\n');
      t.deepEqual(lines, [...lines.slice(0, -1).map((_, index) => `line ${index + 1}`), `last ${lines.length - 1}`]);
      stop.abort();
      await reading;
    },
  );

  test.serial('agents on one engine do not see each other, and purge takes only its own', async (t) => {
    const [one, other] = [await open(), await open()];
    for (const { runtime } of [one, other]) {
      await runtime.ensureSandbox(sandbox);
      await runtime.startContainer(container('c', 'sleep 1000000'));
    }
    t.is((await engine.docker.listContainers()).length, 4);
    await one.runtime.purge();
    t.is((await engine.docker.listContainers({ all: true })).length, 2);
    t.is((await other.runtime.listContainers())[0]?.state, 'running');
    t.false(existsSync(join(one.stateDir, 'sandboxes')));
    await other.runtime.purge();
    t.deepEqual(await engine.docker.listContainers({ all: true }), []);
    t.is(
      await engine.docker
        .getImage('pintle/sandbox:2')
        .inspect()
        .catch(() => undefined),
      undefined,
    );
    for (const { runtime } of [one, other]) await runtime[Symbol.asyncDispose]();
  });

  test.after.always('nothing is left of the engine', async (t) => {
    await engine.stop();
    await registry.stop();
    rmSync(folder, { recursive: true, force: true });
    t.pass();
  });
}
