import { z } from 'zod';
import { definePlugin } from '../../../kernel/contract/index.ts';
import { eventRecorder } from '../../../kernel/machinery/event-recorder.ts';
import { DeploymentController } from './deployment-controller.ts';

export default definePlugin({
  kind: 'controller',
  name: 'deployment',
  api: 1,
  summary: 'Rolls Deployments out, and back, over ReplicaSets',
  config: z.strictObject({ concurrency: z.int().min(1).default(8) }),
  needs: ['cluster'],
  start: async ({ config, uses: { cluster }, log, clock }) => {
    const record = eventRecorder(cluster, { component: 'deployment-controller', clock, log });
    return {
      run: (signal) => new DeploymentController({ cluster, log, clock, record, ...config }).run(signal),
      [Symbol.asyncDispose]: async () => undefined,
    };
  },
});
