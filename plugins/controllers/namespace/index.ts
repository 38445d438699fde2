import { z } from 'zod';
import { definePlugin } from '../../../kernel/contract/index.ts';
import { NamespaceController } from './namespace-controller.ts';

export default definePlugin({
  kind: 'controller',
  name: 'namespace',
  api: 1,
  summary: 'Empties namespaces that are being deleted, and lets them go',
  config: z.strictObject({ concurrency: z.int().min(1).default(4) }),
  needs: ['cluster'],
  start: async ({ config, uses: { cluster }, log, clock }) => ({
    run: (signal) => new NamespaceController({ cluster, log, clock, ...config }).run(signal),
    [Symbol.asyncDispose]: async () => undefined,
  }),
});
