import { join } from 'node:path';
import { z } from 'zod';
import { definePlugin } from '../../../kernel/contract/plugin.ts';
import { openLocalCluster } from './open.ts';

const config = z
  .strictObject({
    nodePorts: z
      .string()
      .regex(/^\d{1,5}-\d{1,5}$/, 'expected FIRST-LAST, such as 30000-32767')
      .refine((text) => {
        const [first, last] = text.split('-').map(Number);
        return first! > 0 && first! <= last! && last! < 65_536;
      }, 'expected a range within 1-65535')
      .default('30000-32767')
      .describe('Ports that Services of type NodePort are given'),
    authorization: z
      .enum(['rbac', 'always-allow'])
      .default('rbac')
      .describe('Who may do what: as Roles and bindings say, or everybody who is known everything'),
    serviceAccounts: z
      .boolean()
      .default(true)
      .describe('Pods must name a service account that exists, and get its token'),
    history: z
      .strictObject({
        changes: z
          .int()
          .min(10)
          .max(1_000_000)
          .default(10_000)
          .describe('Changes of each resource that watches can start from and lists can look back to, at most'),
        megabytes: z
          .number()
          .positive()
          .max(4_096)
          .default(8)
          .describe('Size of such changes of one resource together, at most; or half of what there is of it, if more'),
        seconds: z.number().positive().max(86_400).default(300).describe('How long such changes are kept'),
      })
      .prefault({}),
    bookmarkSeconds: z
      .number()
      .positive()
      .max(3_600)
      .default(60)
      .describe('How often idle watches are told how far they are'),
    eventTtlSeconds: z.number().positive().default(3_600).describe('How long Events are kept after their last change'),
    maxEvents: z
      .int()
      .min(100)
      .max(1_000_000)
      .default(5_000)
      .describe('How many Events are kept, and up to 200 more for 30 seconds; the oldest go first'),
  })
  .prefault({});

export default definePlugin({
  kind: 'cluster',
  name: 'local',
  api: 1,
  summary: 'The Kubernetes API in this process, on the store',
  role: 'server',
  config,
  needs: ['store'],
  capabilities: ['serve'],
  start: async ({ config: { nodePorts, serviceAccounts, ...rest }, cluster, uses, clock, log, stateDir }, signal) => {
    const [first, last] = nodePorts.split('-').map(Number);
    return openLocalCluster(
      {
        ...rest,
        nodePorts: { first: first!, last: last! },
        store: uses.store,
        serviceCidrs: cluster.serviceCidrs,
        serviceAccounts: serviceAccounts
          ? {
              keyFile: join(stateDir, 'service-account.key'),
              issuer: `https://kubernetes.default.svc.${cluster.dnsDomain}`,
            }
          : undefined,
        clock,
        log,
      },
      signal,
    );
  },
});
