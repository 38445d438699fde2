import { z } from 'zod';
import { definePlugin } from '../../../kernel/contract/index.ts';
import { QuotaController } from './quota-controller.ts';

export default definePlugin({
  kind: 'controller',
  name: 'resource-quota',
  api: 1,
  summary: 'Keeps the status of ResourceQuotas: what is used of what is allowed',
  config: z.strictObject({
    concurrency: z.int().min(1).default(4),
    gatherMs: z.int().min(0).default(50).describe('How long changes are gathered before a status is written'),
  }),
  needs: ['cluster'],
  start: async ({ config, uses: { cluster }, log, clock }) => ({
    run: (signal) => new QuotaController({ cluster, log, clock, ...config }).run(signal),
    [Symbol.asyncDispose]: async () => undefined,
  }),
});
