import { z } from 'zod';
import { definePlugin } from '../../../kernel/contract/index.ts';
import { nodePolicy } from '../../../kernel/machinery/scheduling/node-policy.ts';
import { leastAllocated, preferredNode, preferredTaints } from '../../../kernel/machinery/scheduling/scores.ts';

export default definePlugin({
  kind: 'scheduler',
  name: 'spread',
  api: 1,
  capabilities: ['inter-pod'],
  summary: 'Puts pods on the nodes with the most room',
  config: z.strictObject({
    allocationWeight: z.number().nonnegative().default(1),
    nodeAffinityWeight: z.number().nonnegative().default(2),
    taintWeight: z.number().nonnegative().default(3),
  }),
  start: async ({ config }) => ({
    ...nodePolicy({
      scores: [
        [config.allocationWeight, leastAllocated],
        [config.nodeAffinityWeight, preferredNode],
        [config.taintWeight, preferredTaints],
      ],
    }),
    [Symbol.asyncDispose]: async () => undefined,
  }),
});
