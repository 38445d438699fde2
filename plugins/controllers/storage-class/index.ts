import { z } from 'zod';
import { definePlugin } from '../../../kernel/contract/index.ts';
import { keepStorageClass } from './keep-storage-class.ts';

export default definePlugin({
  kind: 'controller',
  name: 'storage-class',
  api: 1,
  summary: 'Gives a cluster without one its default StorageClass, so that claims need not name any',
  config: z.strictObject({
    className: z.string().min(1).default('local'),
    provisioner: z.string().min(1).default('pintle.dev/local'),
    reclaimPolicy: z.enum(['Delete', 'Retain']).default('Delete'),
    volumeBindingMode: z.enum(['Immediate', 'WaitForFirstConsumer']).default('WaitForFirstConsumer'),
    allowVolumeExpansion: z.boolean().default(true),
    isDefault: z.boolean().default(true),
  }),
  needs: ['cluster'],
  start: async ({ config, uses: { cluster } }) => ({
    run: (signal) => keepStorageClass(cluster, config, signal),
    [Symbol.asyncDispose]: async () => undefined,
  }),
});
