import { z } from 'zod';
import { definePlugin } from '../../../kernel/contract/index.ts';
import { eventRecorder } from '../../../kernel/machinery/event-recorder.ts';
import { EndpointSliceController } from './endpoint-slice-controller.ts';

export default definePlugin({
  kind: 'controller',
  name: 'endpoint-slice',
  api: 1,
  summary: 'Keeps the EndpointSlices of Services with a selector',
  config: z.strictObject({
    concurrency: z.int().min(1).default(8),
    maxEndpointsPerSlice: z.int().min(1).max(1000).default(100),
  }),
  needs: ['cluster'],
  start: async ({ config, uses: { cluster }, log, clock }) => {
    const record = eventRecorder(cluster, { component: 'endpoint-slice-controller', clock, log });
    return {
      run: (signal) => new EndpointSliceController({ cluster, log, clock, record, ...config }).run(signal),
      [Symbol.asyncDispose]: async () => undefined,
    };
  },
});
