import { z } from 'zod';
import { definePlugin } from '../../../kernel/contract/index.ts';
import { eventRecorder } from '../../../kernel/machinery/event-recorder.ts';
import { CronJobController } from './cron-job-controller.ts';

export default definePlugin({
  kind: 'controller',
  name: 'cron-job',
  api: 1,
  summary: 'Starts the Jobs of CronJobs when their time has come',
  config: z.strictObject({ concurrency: z.int().min(1).default(4) }),
  needs: ['cluster'],
  start: async ({ config, uses: { cluster }, log, clock }) => {
    const record = eventRecorder(cluster, { component: 'cronjob-controller', clock, log });
    return {
      run: (signal) => new CronJobController({ cluster, log, clock, record, ...config }).run(signal),
      [Symbol.asyncDispose]: async () => undefined,
    };
  },
});
