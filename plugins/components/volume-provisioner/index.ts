import { z } from 'zod';
import { definePlugin, PintleError } from '../../../kernel/contract/index.ts';
import { eventRecorder } from '../../../kernel/machinery/event-recorder.ts';
import { VolumeProvisioner } from './volume-provisioner.ts';

export default definePlugin({
  kind: 'component',
  name: 'volume-provisioner',
  api: 1,
  role: 'node',
  summary: 'Makes, enlarges and deletes the volumes of claims on this node, through the drivers of kind volume',
  config: z.strictObject({ concurrency: z.int().min(1).default(4) }),
  needs: ['cluster', 'volume'],
  start: async ({ config, uses: { cluster, volume: drivers }, log, clock, nodeName }) => {
    if (nodeName === undefined)
      throw new PintleError('CONFIG_INVALID', 'volume-provisioner: it runs in an agent, which has a node name');
    const record = eventRecorder(cluster, { component: 'volume-provisioner', host: nodeName, clock, log });
    const stop = new AbortController();
    const provisioner = new VolumeProvisioner({ cluster, drivers, nodeName, record, log, clock, ...config });
    let failure: string | undefined;
    const running = provisioner.run(stop.signal).catch((error: unknown) => {
      failure = error instanceof Error ? error.message : String(error);
      log.error('the volume provisioner stopped', { error: failure });
    });
    return {
      status: () => ({ ready: failure === undefined, reason: failure }),
      [Symbol.asyncDispose]: async () => {
        stop.abort(new Error('the volume provisioner stops'));
        await running;
        await record.idle();
      },
    };
  },
});
