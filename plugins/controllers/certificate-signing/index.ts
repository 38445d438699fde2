import { z } from 'zod';
import { definePlugin } from '../../../kernel/contract/index.ts';
import { SigningController } from './signing-controller.ts';

export default definePlugin({
  kind: 'controller',
  name: 'certificate-signing',
  api: 1,
  summary: "Signs approved CertificateSigningRequests of Kubernetes' own signers with the cluster's CA",
  config: z
    .strictObject({
      certFile: z.string().min(1).optional().describe("PEM file of the CA's certificate; default: of this server's CA"),
      keyFile: z
        .string()
        .min(1)
        .optional()
        .describe("PEM file of the CA's key (PKCS #8); default: of this server's CA"),
      maxLifetimeHours: z.number().positive().default(8760).describe('Longest life of a certificate'),
      concurrency: z.int().min(1).default(2),
    })
    .refine(({ certFile, keyFile }) => (certFile === undefined) === (keyFile === undefined), {
      message: 'certFile and keyFile belong together: set both, or neither',
    }),
  needs: ['cluster'],
  start: async ({ config: { certFile, keyFile, maxLifetimeHours, concurrency }, uses: { cluster }, log, clock }) => ({
    run: async (signal) => {
      if (certFile === undefined || keyFile === undefined) {
        // As a kube-controller-manager without the files: requests are kept, and somebody else may sign them.
        log.info('no CA to sign with: certificate requests are left alone');
        await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
        return;
      }
      const maxLifetimeMs = maxLifetimeHours * 3600_000;
      await new SigningController({ cluster, certFile, keyFile, maxLifetimeMs, concurrency, log, clock }).run(signal);
    },
    [Symbol.asyncDispose]: async () => undefined,
  }),
});
