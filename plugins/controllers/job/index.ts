import { z } from 'zod';
import { definePlugin } from '../../../kernel/contract/index.ts';
import { eventRecorder } from '../../../kernel/machinery/event-recorder.ts';
import { JobController } from './job-controller.ts';

export default definePlugin({
  kind: 'controller',
  name: 'job',
  api: 1,
  summary: 'Runs the pods of Jobs until enough have succeeded, or too many failed',
  config: z.strictObject({
    concurrency: z.int().min(1).default(8),
    /** Pods created or deleted for one Job before it is looked at again. */
    burst: z.int().min(1).default(500),
    /** Wait before a pod that failed is replaced; doubles with every further failure in a row. */
    podFailureDelayMs: z.int().min(0).default(10_000),
    podFailureMaxDelayMs: z.int().min(0).default(600_000),
  }),
  needs: ['cluster'],
  start: async ({ config, uses: { cluster }, log, clock }) => {
    const record = eventRecorder(cluster, { component: 'job-controller', clock, log });
    return {
      run: (signal) => new JobController({ cluster, log, clock, record, ...config }).run(signal),
      [Symbol.asyncDispose]: async () => undefined,
    };
  },
});
