import { z } from 'zod';
import { definePlugin } from '../../../kernel/contract/index.ts';
import { EndpointsController } from './endpoints-controller.ts';

export default definePlugin({
  kind: 'controller',
  name: 'endpoints',
  api: 1,
  summary: 'Keeps the legacy Endpoints object of Services with a selector',
  config: z.strictObject({ concurrency: z.int().min(1).default(8) }),
  needs: ['cluster'],
  start: async ({ config, uses: { cluster }, log, clock }) => ({
    run: (signal) => new EndpointsController({ cluster, log, clock, ...config }).run(signal),
    [Symbol.asyncDispose]: async () => undefined,
  }),
});
