import { z } from 'zod';
import { definePlugin } from '../../../kernel/contract/index.ts';
import { eventRecorder } from '../../../kernel/machinery/event-recorder.ts';
import { StatefulSetController } from './stateful-set-controller.ts';

export default definePlugin({
  kind: 'controller',
  name: 'stateful-set',
  api: 1,
  summary: 'Keeps the pods of each StatefulSet, every one with its name, its place in the order and its claims',
  config: z.strictObject({ concurrency: z.int().min(1).default(8) }),
  needs: ['cluster'],
  start: async ({ config, uses: { cluster }, log, clock }) => {
    const record = eventRecorder(cluster, { component: 'statefulset-controller', clock, log });
    return {
      run: (signal) => new StatefulSetController({ cluster, log, clock, record, ...config }).run(signal),
      [Symbol.asyncDispose]: async () => undefined,
    };
  },
});
