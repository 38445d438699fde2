import { z } from 'zod';
import { definePlugin } from '../../../kernel/contract/index.ts';
import { nodePolicy } from '../../../kernel/machinery/scheduling/node-policy.ts';
import { mostAllocated, preferredNode, preferredTaints } from '../../../kernel/machinery/scheduling/scores.ts';

export default definePlugin({
  kind: 'scheduler',
  name: 'binpack',
  api: 1,
  capabilities: ['inter-pod'],
  summary: 'Fills nodes up before it uses the next',
  config: z.strictObject({
    allocationWeight: z.number().nonnegative().default(1),
    nodeAffinityWeight: z.number().nonnegative().default(2),
    taintWeight: z.number().nonnegative().default(3),
  }),
  start: async ({ config }) => ({
    ...nodePolicy({
      scores: [
        [config.allocationWeight, mostAllocated],
        [config.nodeAffinityWeight, preferredNode],
        [config.taintWeight, preferredTaints],
      ],
    }),
    [Symbol.asyncDispose]: async () => undefined,
  }),
});
