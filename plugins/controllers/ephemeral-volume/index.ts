import { z } from 'zod';
import { definePlugin } from '../../../kernel/contract/index.ts';
import { eventRecorder } from '../../../kernel/machinery/event-recorder.ts';
import { EphemeralVolumeController } from './ephemeral-volume-controller.ts';

export default definePlugin({
  kind: 'controller',
  name: 'ephemeral-volume',
  api: 1,
  summary: 'Makes the claims of generic ephemeral volumes, which live as long as their pod',
  config: z.strictObject({ concurrency: z.int().min(1).default(4) }),
  needs: ['cluster'],
  start: async ({ config, uses: { cluster }, log, clock }) => {
    const record = eventRecorder(cluster, { component: 'ephemeral_volume', clock, log });
    return {
      run: (signal) => new EphemeralVolumeController({ cluster, record, log, clock, ...config }).run(signal),
      [Symbol.asyncDispose]: async () => undefined,
    };
  },
});
