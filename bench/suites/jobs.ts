/** Measurements that run in the process of the plugins that they measure, by name. */
import type { Jobs } from '../bed/plugin-process.ts';

export const jobs: Jobs = {
  store: async () => (await import('./store/store-job.ts')).storeJob,
  'store-crash': async () => (await import('./store/store-job.ts')).storeCrashJob,
  'store-recover': async () => (await import('./store/store-job.ts')).storeRecoverJob,
  scheduler: async () => (await import('./scheduler/scheduler-job.ts')).schedulerJob,
  'runtime-pods': async () => (await import('./runtime/pods-job.ts')).runtimePodsJob,
  'bare-pods': async () => (await import('./runtime/pods-job.ts')).barePodsJob,
  'proxy-sync': async () => (await import('./proxy/sync-job.ts')).proxySyncJob,
  'bare-veth': async () => (await import('./attachment/bare-veth-job.ts')).bareVethJob,
};
