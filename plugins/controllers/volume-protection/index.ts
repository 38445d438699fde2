import { z } from 'zod';
import { definePlugin } from '../../../kernel/contract/index.ts';
import { VolumeProtectionController } from './volume-protection-controller.ts';

export default definePlugin({
  kind: 'controller',
  name: 'volume-protection',
  api: 1,
  summary: 'Keeps claims that pods use, and volumes that claims use, from going when they are deleted',
  config: z.strictObject({ concurrency: z.int().min(1).default(4) }),
  needs: ['cluster'],
  start: async ({ config, uses: { cluster }, log, clock }) => ({
    run: (signal) => new VolumeProtectionController({ cluster, log, clock, ...config }).run(signal),
    [Symbol.asyncDispose]: async () => undefined,
  }),
});
