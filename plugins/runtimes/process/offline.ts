/** What is done to a node's state folder from beside its agent, which may run: images; and the removal of what outlives it. */
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { PintleError, type RuntimeOffline } from '../../../kernel/contract/index.ts';
import { removeCgroups } from './cgroups.ts';
import { readContainerRecord } from './container-life.ts';
import { importImage } from './images/import-image.ts';
import { ImageStore, describeImage } from './images/image-store.ts';
import { layoutOf } from './layout.ts';

/** Killed processes leave their cgroup a moment later. */
const leaveMs = 2_000;
const pauseMs = 20;

export function offlineRuntime(stateDir: string): RuntimeOffline & AsyncDisposable {
  const layout = layoutOf(stateDir);
  return {
    importImage: (source, names) => importImage({ stateDir, source, names }),
    listImages: async () => new ImageStore(layout.images).list().map(describeImage),
    removeImage: async (name) => {
      const store = new ImageStore(layout.images);
      const image = store.find(name);
      if (image === undefined) return false;
      const ids = existsSync(layout.containers) ? readdirSync(layout.containers) : [];
      const records = ids.map((id) => readContainerRecord(join(layout.containers, id)));
      const user = records.find((record) => record?.imageId === image.id);
      if (user !== undefined)
        throw new PintleError('CONFLICT', `image ${name} is used by container ${user.spec.name}: remove that first`);
      await store.remove(name);
      return true;
    },
    purge: async () => {
      for (let waitedMs = 0; !removeCgroups(stateDir) && waitedMs < leaveMs; waitedMs += pauseMs)
        await new Promise((resolve) => setTimeout(resolve, pauseMs));
    },
    [Symbol.asyncDispose]: async () => undefined,
  };
}
