import { z } from 'zod';
import { definePlugin } from '../../../kernel/contract/index.ts';
import { eventRecorder } from '../../../kernel/machinery/event-recorder.ts';
import { NodeLifecycleController } from './node-lifecycle-controller.ts';

export default definePlugin({
  kind: 'controller',
  name: 'node-lifecycle',
  api: 1,
  summary: 'Notices nodes that fall silent, taints nodes in trouble, and evicts the pods that do not tolerate it',
  config: z.strictObject({
    /** Without a heartbeat for so long, a node is Unknown. */
    gracePeriodSeconds: z.number().positive().default(40),
    /** The same for a node that never sent one. */
    startupGraceSeconds: z.number().positive().default(60),
    checkPeriodSeconds: z.number().positive().default(5),
  }),
  needs: ['cluster'],
  start: async ({ config, uses: { cluster }, log, clock }) => {
    const record = eventRecorder(cluster, { component: 'node-controller', clock, log });
    return {
      run: (signal) => new NodeLifecycleController({ cluster, log, clock, record, ...config }).run(signal),
      [Symbol.asyncDispose]: async () => undefined,
    };
  },
});
