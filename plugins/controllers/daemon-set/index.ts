import { z } from 'zod';
import { definePlugin } from '../../../kernel/contract/index.ts';
import { eventRecorder } from '../../../kernel/machinery/event-recorder.ts';
import { DaemonSetController } from './daemon-set-controller.ts';

export default definePlugin({
  kind: 'controller',
  name: 'daemon-set',
  api: 1,
  summary: 'Keeps one pod of each DaemonSet on every node that it wants',
  config: z.strictObject({
    concurrency: z.int().min(1).default(4),
    /** Pods created or deleted for one DaemonSet before it is looked at again. */
    burst: z.int().min(1).default(250),
    /** A pod that fails on its node again and again is replaced after this long, then twice as long ... */
    failedPodDelayMs: z.int().min(0).default(1000),
    failedPodMaxDelayMs: z.int().min(0).default(900_000),
  }),
  needs: ['cluster'],
  start: async ({ config, uses: { cluster }, log, clock }) => {
    const record = eventRecorder(cluster, { component: 'daemonset-controller', clock, log });
    return {
      run: (signal) => new DaemonSetController({ cluster, log, clock, record, ...config }).run(signal),
      [Symbol.asyncDispose]: async () => undefined,
    };
  },
});
