import { z } from 'zod';
import { definePlugin } from '../../../kernel/contract/index.ts';
import { CleanerController } from './cleaner-controller.ts';

export default definePlugin({
  kind: 'controller',
  name: 'certificate-cleaner',
  api: 1,
  summary: 'Deletes CertificateSigningRequests that are signed, denied, failed or forgotten',
  config: z.strictObject({
    finishedMinutes: z
      .number()
      .positive()
      .default(60)
      .describe('How long a request is kept after it was signed, denied or failed'),
    pendingHours: z.number().positive().default(24).describe('How long one is kept that waits for approval or signer'),
  }),
  needs: ['cluster'],
  start: async ({ config: { finishedMinutes, pendingHours }, uses: { cluster }, log, clock }) => {
    const lifetimes = { finishedMs: finishedMinutes * 60_000, pendingMs: pendingHours * 3600_000 };
    return {
      run: (signal) => new CleanerController({ cluster, log, clock, ...lifetimes }).run(signal),
      [Symbol.asyncDispose]: async () => undefined,
    };
  },
});
