import { z } from 'zod';
import { definePlugin } from '../../../kernel/contract/index.ts';
import { eventRecorder } from '../../../kernel/machinery/event-recorder.ts';
import { ReplicaController } from '../../../kernel/machinery/replicas/replica-controller.ts';
import { replicaSetKind } from './replica-set-kind.ts';

export default definePlugin({
  kind: 'controller',
  name: 'replicaset',
  api: 1,
  summary: 'Keeps as many pods running as each ReplicaSet asks for',
  config: z.strictObject({
    concurrency: z.int().min(1).default(8),
    /** Pods created or deleted for one ReplicaSet before it is looked at again. */
    burst: z.int().min(1).default(500),
  }),
  needs: ['cluster'],
  start: async ({ config, uses: { cluster }, log, clock }) => {
    const record = eventRecorder(cluster, { component: 'replicaset-controller', clock, log });
    return {
      run: (signal) =>
        new ReplicaController({ kind: replicaSetKind, cluster, log, clock, record, ...config }).run(signal),
      [Symbol.asyncDispose]: async () => undefined,
    };
  },
});
