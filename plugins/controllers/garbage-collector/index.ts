import { z } from 'zod';
import { definePlugin } from '../../../kernel/contract/index.ts';
import { GarbageCollector } from './garbage-collector.ts';

export default definePlugin({
  kind: 'controller',
  name: 'garbage-collector',
  api: 1,
  summary: 'Deletes, or orphans, the dependents of objects that are gone or going',
  config: z.strictObject({
    concurrency: z.int().min(1).default(16),
    /** How often the set of resources is compared with discovery. */
    discoveryPeriodSeconds: z.number().positive().default(5),
  }),
  needs: ['cluster'],
  start: async ({ config, uses: { cluster }, log, clock }) => ({
    run: (signal) => new GarbageCollector({ cluster, log, clock, ...config }).run(signal),
    [Symbol.asyncDispose]: async () => undefined,
  }),
});
