/** Measurements that run in the process of the plugins that they measure, by name. */
import type { Jobs } from '../bed/plugin-process.ts';

export const jobs: Jobs = {
  store: async () => (await import('./store/store-job.ts')).storeJob,
  scheduler: async () => (await import('./scheduler/scheduler-job.ts')).schedulerJob,
};
