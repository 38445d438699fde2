import { z } from 'zod';
import { definePlugin } from '../../../kernel/contract/index.ts';
import { eventRecorder } from '../../../kernel/machinery/event-recorder.ts';
import { AutoscalerController } from './autoscaler-controller.ts';

export default definePlugin({
  kind: 'controller',
  name: 'horizontal-pod-autoscaler',
  api: 1,
  summary: 'Sizes workloads by what their pods really use',
  config: z.strictObject({
    syncPeriodSeconds: z.number().min(0.1).default(15),
    /** How far use may be off its target, as a share of it. */
    tolerance: z.number().min(0).default(0.1),
    /** Nothing is scaled below what was called for within this time, unless `behavior` says otherwise. */
    downscaleStabilizationSeconds: z.number().min(0).default(300),
    /** So long after its start a pod's CPU use counts only when it was measured while the pod was ready. */
    cpuInitializationSeconds: z.number().min(0).default(300),
    initialReadinessDelaySeconds: z.number().min(0).default(30),
    concurrency: z.int().min(1).default(5),
  }),
  needs: ['cluster'],
  start: async ({ config, uses: { cluster }, log, clock }) => {
    const record = eventRecorder(cluster, { component: 'horizontal-pod-autoscaler', clock, log });
    return {
      run: (signal) => new AutoscalerController({ cluster, log, clock, record, ...config }).run(signal),
      [Symbol.asyncDispose]: async () => undefined,
    };
  },
});
