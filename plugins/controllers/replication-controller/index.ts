import { z } from 'zod';
import { definePlugin } from '../../../kernel/contract/index.ts';
import { eventRecorder } from '../../../kernel/machinery/event-recorder.ts';
import { ReplicaController } from '../../../kernel/machinery/replicas/replica-controller.ts';
import { replicationControllerKind } from './replication-controller-kind.ts';

export default definePlugin({
  kind: 'controller',
  name: 'replication-controller',
  api: 1,
  summary: 'Keeps as many pods running as each ReplicationController asks for',
  config: z.strictObject({
    concurrency: z.int().min(1).default(8),
    /** Pods created or deleted for one ReplicationController before it is looked at again. */
    burst: z.int().min(1).default(500),
  }),
  needs: ['cluster'],
  start: async ({ config, uses: { cluster }, log, clock }) => {
    const record = eventRecorder(cluster, { component: 'replication-controller', clock, log });
    return {
      run: (signal) =>
        new ReplicaController({ kind: replicationControllerKind, cluster, log, clock, record, ...config }).run(signal),
      [Symbol.asyncDispose]: async () => undefined,
    };
  },
});
