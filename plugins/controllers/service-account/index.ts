import { readFile } from 'node:fs/promises';
import { z } from 'zod';
import { definePlugin } from '../../../kernel/contract/index.ts';
import { ServiceAccountController } from './service-account-controller.ts';

export default definePlugin({
  kind: 'controller',
  name: 'service-account',
  api: 1,
  summary: 'Gives every namespace its default ServiceAccount, and the CA bundle when one is configured',
  config: z.strictObject({
    concurrency: z.int().min(1).default(4),
    /** PEM file for ConfigMap kube-root-ca.crt of every namespace. Undefined: none is written. */
    rootCaFile: z.string().min(1).optional(),
  }),
  needs: ['cluster'],
  start: async ({ config: { concurrency, rootCaFile }, uses: { cluster }, log, clock }) => ({
    run: async (signal) => {
      // Read at each start: a file that is not there yet is tried again with the controller.
      const rootCa = rootCaFile === undefined ? undefined : await readFile(rootCaFile, 'utf8');
      return new ServiceAccountController({ cluster, concurrency, rootCa, log, clock }).run(signal);
    },
    [Symbol.asyncDispose]: async () => undefined,
  }),
});
