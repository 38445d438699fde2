/**
 * Makes the configured StorageClass once at each start, when no class of that name exists. It changes no class, and makes
 * itself the default only where no other class is.
 */
import { isPintleError, type Cluster } from '../../../kernel/contract/index.ts';
import type { StorageClass } from '../../../kernel/contract/kubernetes.ts';
import { resources } from '../../../kernel/machinery/resources.ts';
import { isDefault } from '../../../kernel/machinery/volumes/claims.ts';
import { isDefaultClass } from '../../../kernel/machinery/volumes/names.ts';

export interface StorageClassSettings extends Required<
  Pick<StorageClass, 'provisioner' | 'reclaimPolicy' | 'volumeBindingMode' | 'allowVolumeExpansion'>
> {
  readonly className: string;
  readonly isDefault: boolean;
}

export async function keepStorageClass(
  cluster: Cluster,
  settings: StorageClassSettings,
  signal: AbortSignal,
): Promise<void> {
  const { className: name, isDefault: wantsDefault, ...rest } = settings;
  const { items } = await cluster.list(resources.storageClasses);
  if (!items.some(({ metadata }) => metadata.name === name)) {
    const annotations: Record<string, string> =
      wantsDefault && !items.some(isDefault) ? { [isDefaultClass]: 'true' } : {};
    await cluster
      .create(resources.storageClasses, { metadata: { name, annotations }, ...rest })
      .catch((error: unknown) => {
        if (!isPintleError(error, 'ALREADY_EXISTS')) throw error;
      });
  }
  if (signal.aborted) return;
  await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }));
}
