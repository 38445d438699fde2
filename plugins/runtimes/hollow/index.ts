/** Plugin runtime/hollow: reports what a real runtime would, for scale tests. See README.md. */
import { z } from 'zod';
import { definePlugin } from '../../../kernel/contract/index.ts';
import { HollowRuntime } from './hollow-runtime.ts';

export default definePlugin({
  kind: 'runtime',
  name: 'hollow',
  api: 1,
  summary: 'Nothing runs: states and logs as a real runtime would report them, for scale tests',
  config: z.strictObject({
    startDelayMs: z.number().int().min(0).default(0).describe('How long starting a container takes'),
    cpuMillis: z.number().min(0).default(0).describe('Thousandths of a core that each container says it uses'),
    memoryBytes: z.number().int().min(0).default(0).describe('Memory that each container says it uses'),
  }),
  capabilities: ['images'],
  start: async (context) => new HollowRuntime({ stateDir: context.stateDir, clock: context.clock, ...context.config }),
});
