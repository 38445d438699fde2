import { z } from 'zod';
import { definePlugin } from '../../../kernel/contract/index.ts';
import { AggregationController } from './aggregation-controller.ts';

export default definePlugin({
  kind: 'controller',
  name: 'cluster-role-aggregation',
  api: 1,
  summary: 'Gathers the rules of ClusterRoles that are made of others, such as admin, edit and view',
  config: z.strictObject({ concurrency: z.int().min(1).default(2) }),
  needs: ['cluster'],
  start: async ({ config: { concurrency }, uses: { cluster }, log, clock }) => ({
    run: (signal) => new AggregationController({ cluster, concurrency, log, clock }).run(signal),
    [Symbol.asyncDispose]: async () => undefined,
  }),
});
