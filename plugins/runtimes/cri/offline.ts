/** What is done to the container runtime from beside a node's agent: images, and the removal of the node's containers. */
import { existsSync } from 'node:fs';
import { PintleError, type RuntimeOffline } from '../../../kernel/contract/index.ts';
import { CriClient } from './cri-client.ts';
import { CriRuntime, type CriRuntimeOptions } from './cri-runtime.ts';
import { listImages, removeImage } from './images.ts';

export async function offlineRuntime(options: CriRuntimeOptions): Promise<RuntimeOffline & AsyncDisposable> {
  const client = await CriClient.open(options.endpoint);
  return {
    importImage: async () => {
      throw new PintleError(
        'UNSUPPORTED',
        'the container runtime interface cannot import images; for containerd: ctr -n k8s.io images import ARCHIVE, for CRI-O: skopeo copy',
      );
    },
    listImages: () => listImages(client),
    removeImage: async (name) => {
      const isUsed = async (imageId: string): Promise<boolean> => {
        const { containers } = await client.runtime<{ containers: { image_ref: string; image_id: string }[] }>(
          'ListContainers',
          {},
        );
        return containers.some(({ image_ref, image_id }) => image_ref === imageId || image_id === imageId);
      };
      return removeImage(client, name, isUsed);
    },
    purge: async () => {
      if (!existsSync(options.stateDir)) return;
      const runtime = await CriRuntime.open(options);
      await runtime.purge();
    },
    [Symbol.asyncDispose]: async () => client.close(),
  };
}
