import { z } from 'zod';
import { definePlugin } from '../../../kernel/contract/index.ts';
import { eventRecorder } from '../../../kernel/machinery/event-recorder.ts';
import { PersistentVolumeController } from './persistent-volume-controller.ts';

export default definePlugin({
  kind: 'controller',
  name: 'persistent-volume',
  api: 1,
  summary: 'Binds claims to volumes, asks provisioners for missing ones, and releases what claims leave behind',
  config: z.strictObject({}),
  needs: ['cluster'],
  start: async ({ uses: { cluster }, log, clock }) => {
    const record = eventRecorder(cluster, { component: 'persistentvolume-controller', clock, log });
    return {
      run: (signal) => new PersistentVolumeController({ cluster, record, log, clock }).run(signal),
      [Symbol.asyncDispose]: async () => undefined,
    };
  },
});
