import { mkdir } from 'node:fs/promises';
import { isAbsolute, join } from 'node:path';
import { z } from 'zod';
import { definePlugin } from '../../../kernel/contract/index.ts';
import { openLocalVolumes } from './local-volumes.ts';

export default definePlugin({
  kind: 'volume',
  name: 'local',
  api: 1,
  role: 'node',
  summary: 'Volumes as folders of the node, made for claims or by hand (PersistentVolume source local)',
  config: z.strictObject({
    /** StorageClasses name it as their provisioner. */
    provisioner: z.string().min(1).max(63).default('pintle.dev/local'),
    /** Where volumes are made, in a folder of the node's name. Default: below the agent's state. */
    folder: z.string().refine(isAbsolute, 'expected an absolute path').optional(),
    /** How much this node gives to volumes in all, by what their claims ask for. Default: as much as is asked for. */
    maxBytes: z.int().min(0).optional(),
    /** With less room than this on the file system no volume is made. */
    minFreeBytes: z
      .int()
      .min(0)
      .default(16 * 1024 * 1024),
  }),
  capabilities: ['expand', 'provision'],
  start: async ({ config: { folder, ...rest }, stateDir, nodeName, log }) => {
    const root = folder === undefined ? join(stateDir, 'volumes') : join(folder, nodeName ?? 'node');
    await mkdir(root, { recursive: true, mode: 0o711 });
    return openLocalVolumes({ root, log, ...rest });
  },
});
