import { readFile } from 'node:fs/promises';
import { z } from 'zod';
import { definePlugin } from '../../../kernel/contract/index.ts';
import { TokenSecrets } from './token-secrets.ts';
import { ServiceAccountController } from './service-account-controller.ts';

export default definePlugin({
  kind: 'controller',
  name: 'service-account',
  api: 1,
  summary: 'Gives every namespace its default ServiceAccount and the CA bundle, and token Secrets their token',
  config: z.strictObject({
    concurrency: z.int().min(1).default(4),
    /** PEM file for ConfigMap kube-root-ca.crt of every namespace. Undefined: the CA that the API server has told. */
    rootCaFile: z.string().min(1).optional(),
  }),
  needs: ['cluster'],
  start: async ({ config: { concurrency, rootCaFile }, uses: { cluster }, log, clock }) => ({
    run: async (signal) => {
      // Read at each start: a file that is not there yet is tried again with the controller.
      const rootCa = rootCaFile === undefined ? undefined : await readFile(rootCaFile, 'utf8');
      const stop = new AbortController();
      const either = AbortSignal.any([signal, stop.signal]);
      const options = { cluster, concurrency, log, clock };
      try {
        await Promise.all([
          new ServiceAccountController({ ...options, rootCa }).run(either),
          new TokenSecrets(options).run(either),
        ]);
      } finally {
        // One that cannot go on takes the other with it: the manager starts both again.
        stop.abort(new Error('the other half of controller service-account has stopped'));
      }
    },
    [Symbol.asyncDispose]: async () => undefined,
  }),
});
