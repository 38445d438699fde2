/** The suites by name. The code of one is loaded when it is asked for. */
import type { Suite } from '../method/suite.ts';
import type { SuiteContext } from './selection.ts';

type Open = (context: SuiteContext) => Promise<Suite>;

export const suites: Readonly<Record<string, Open>> = {
  net: async (context) =>
    context.options['cluster'] === undefined
      ? (await import('./net/net-suite.ts')).netSuite(context)
      : (await import('./cluster/cluster-suite.ts')).clusterSuite(context),
  proxy: async (context) => (await import('./proxy/proxy-suite.ts')).proxySuite(context),
  store: async (context) => (await import('./store/store-suite.ts')).storeSuite(context),
  scheduler: async (context) => (await import('./scheduler/scheduler-suite.ts')).schedulerSuite(context),
  api: async (context) => (await import('./api/api-suite.ts')).apiSuite(context),
  runtime: async (context) => (await import('./runtime/runtime-suite.ts')).runtimeSuite(context),
  attachment: async (context) => (await import('./attachment/attachment-suite.ts')).attachmentSuite(context),
};

export const suiteNames: readonly string[] = Object.keys(suites);
