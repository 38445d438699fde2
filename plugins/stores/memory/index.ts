import { z } from 'zod';
import { definePlugin } from '../../../kernel/contract/plugin.ts';
import { createMemoryStore } from './memory-store.ts';

const config = z
  .strictObject({
    history: z
      .strictObject({
        keepSeconds: z
          .number()
          .positive()
          .max(86_400)
          .default(60)
          .describe('How long old revisions stay readable and watchable'),
        keepRevisions: z.int().nonnegative().default(5_000).describe('Revisions that stay, however old they are'),
        maxRevisions: z
          .int()
          .positive()
          .default(50_000)
          .describe('Revisions that stay at most, however young they are'),
      })
      .prefault({}),
  })
  .prefault({});

export default definePlugin({
  kind: 'store',
  name: 'memory',
  api: 1,
  summary: 'Keeps the cluster state in memory: fast, and gone when the server ends',
  config,
  capabilities: [],
  start: async ({ config: { history }, clock }) => createMemoryStore({ history, clock }),
});
