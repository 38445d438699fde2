import { z } from 'zod';
import { definePlugin } from '../../../kernel/contract/index.ts';
import { eventRecorder } from '../../../kernel/machinery/event-recorder.ts';
import { DisruptionController } from './disruption-controller.ts';

export default definePlugin({
  kind: 'controller',
  name: 'pod-disruption-budget',
  api: 1,
  summary: 'Counts how many pods of each PodDisruptionBudget may be evicted now',
  config: z.strictObject({
    concurrency: z.int().min(1).default(4),
    /** How long an evicted pod counts as going before it counts as a pod that stayed. */
    evictionTimeoutMs: z.int().min(1000).default(120_000),
  }),
  needs: ['cluster'],
  start: async ({ config, uses: { cluster }, log, clock }) => {
    const record = eventRecorder(cluster, { component: 'controllermanager', clock, log });
    return {
      run: (signal) => new DisruptionController({ cluster, log, clock, record, ...config }).run(signal),
      [Symbol.asyncDispose]: async () => undefined,
    };
  },
});
