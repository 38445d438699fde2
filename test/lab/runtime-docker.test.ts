/** Runtime `docker` against its kit, on a Docker engine that is started for it in the lane's private namespaces. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { skipCase } from '../../kernel/conformance/kit.ts';
import { openRuntime, runtimeConformance } from '../../kernel/conformance/runtime.ts';
import { makeBusyboxTar, missingPackages } from './support/busybox-image.ts';
import { DockerEngine, dockerProgram } from './support/docker-engine.ts';
import { Registry, registryProgram } from './support/registry.ts';

const module = new URL('../../plugins/runtimes/docker/index.js', import.meta.url).href;
const missing = missingPackages({
  [dockerProgram]: 'docker.io',
  [registryProgram]: 'docker-registry',
  '/bin/busybox': 'busybox-static',
});

if (missing.length > 0) skipCase(test, 'runtime docker passes its kit', `not installed: ${missing.join(', ')}`);
else {
  const folder = mkdtempSync(join(tmpdir(), 'pintle-docker-'));
  const registry = await Registry.start(join(folder, 'registry'), { hasPassword: false });
  const engine = await DockerEngine.start(join(folder, 'engine'));
  const image = `${registry.address}/kit:1`;
  const config = { engine: `unix://${engine.socket}` };
  await engine.import(makeBusyboxTar(folder), image);
  await engine.push(image);

  runtimeConformance(test, {
    name: 'docker',
    capabilities: ['images', 'limits', 'pids', 'tty', 'real', 'log-bound', 'exec-end', 'shared-pid'],
    image,
    absentImage: `${registry.address}/absent/image:1`,
    module,
    config,
    open: (stateDir) => openRuntime(module, stateDir, config),
  });

  test.after.always('nothing is left of the engine', async (t) => {
    await engine.stop();
    await registry.stop();
    rmSync(folder, { recursive: true, force: true });
    t.pass();
  });
}
