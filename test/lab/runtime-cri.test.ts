/** Runtime `cri` against its kit, on a containerd that is started for it in the lane's private namespaces. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { skipCase } from '../../kernel/conformance/kit.ts';
import { openRuntime, runtimeConformance } from '../../kernel/conformance/runtime.ts';
import { installPlaceholder } from '../../plugins/runtimes/cri/cni-placeholder.ts';
import { makeBusyboxTar, missingPackages } from './support/busybox-image.ts';
import { ContainerRuntime, containerdProgram } from './support/container-runtime.ts';
import { makeImageArchive } from './support/image-archive.ts';
import { Registry, registryProgram } from './support/registry.ts';

const module = new URL('../../plugins/runtimes/cri/index.js', import.meta.url).href;
const missing = missingPackages({
  [containerdProgram]: 'containerd',
  [registryProgram]: 'docker-registry',
  '/bin/busybox': 'busybox-static',
});

if (missing.length > 0) skipCase(test, 'runtime cri passes its kit', `not installed: ${missing.join(', ')}`);
else {
  const folder = mkdtempSync(join(tmpdir(), 'pintle-cri-'));
  const registry = await Registry.start(join(folder, 'registry'), { hasPassword: false });
  const rootfs = makeBusyboxTar(folder);
  const containerd = await ContainerRuntime.start(join(folder, 'containerd'), rootfs);
  const image = `${registry.address}/kit:1`;
  const config = { endpoint: `unix://${containerd.socket}` };
  installPlaceholder(containerd.cni, 'kit');
  await containerd.import(makeImageArchive(rootfs, image));
  await containerd.push(image);
  // What was imported has no digest of the registry's yet.
  const first = await openRuntime(module, join(folder, 'first'), config);
  await first.pullImage(image);
  await first[Symbol.asyncDispose]();

  runtimeConformance(test, {
    name: 'cri',
    capabilities: ['images', 'limits', 'tty', 'real', 'shared-pid'],
    image,
    absentImage: `${registry.address}/absent/image:1`,
    module,
    config,
    open: (stateDir) => openRuntime(module, stateDir, config),
    // What a container says may be lost if it ends before containerd has opened its output: it stays for a moment.
    behave: ({ say = [], exitCode }) => ({
      command: ['sh', '-c', 'trap "exit 143" TERM; for line; do echo "$line"; done; eval "$KIT_END"', 'sh', ...say],
      env: [
        { name: 'KIT_END', value: exitCode === undefined ? 'sleep 1000000 & wait' : `sleep 0.3; exit ${exitCode}` },
      ],
    }),
    wrapScript: (script) => `trap 'sleep 0.3' EXIT; ${script}`,
  });

  test.after.always('nothing is left of containerd', async (t) => {
    await containerd.stop();
    await registry.stop();
    rmSync(folder, { recursive: true, force: true });
    t.pass();
  });
}
