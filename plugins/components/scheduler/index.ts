import { z } from 'zod';
import { definePlugin, type SchedulerPolicy } from '../../../kernel/contract/index.ts';
import { backoffDelay } from '../../../kernel/machinery/backoff.ts';
import { pause } from '../../../kernel/machinery/clock.ts';
import { eventRecorder } from '../../../kernel/machinery/event-recorder.ts';
import { schedulerMetrics } from './metrics.ts';
import { choosePolicies } from './profiles.ts';
import { SchedulingLoop } from './scheduling-loop.ts';

export default definePlugin({
  kind: 'component',
  name: 'scheduler',
  api: 1,
  summary: 'Assigns pods to nodes, as the scheduling policies judge',
  role: 'server',
  config: z.strictObject({
    profiles: z.record(z.string(), z.string()).default({}),
    bindConcurrency: z.int().min(1).max(10_000).default(128),
  }),
  needs: ['cluster', 'scheduler'],
  start: async ({ config, uses, log, clock }) => {
    const profiles: ReadonlyMap<string, SchedulerPolicy> = choosePolicies(config.profiles, uses.scheduler);
    const { cluster } = uses;
    const record = eventRecorder(cluster, { component: 'default-scheduler', clock, log });
    const stop = new AbortController();
    let loop: SchedulingLoop | undefined;
    let failure: string | undefined;
    const keepRunning = async () => {
      for (let failures = 1; !stop.signal.aborted; failures++) {
        loop = new SchedulingLoop({
          cluster,
          profiles,
          bindConcurrency: config.bindConcurrency,
          record,
          clock,
          log,
          random: Math.random,
        });
        try {
          await loop.run(stop.signal);
        } catch (error) {
          failure = error instanceof Error ? error.message : String(error);
          log.error('the scheduling loop stopped and will be started again', { error: failure });
          await pause(clock, backoffDelay(failures, { minMs: 500, maxMs: 30_000 }), stop.signal);
        }
      }
    };
    const running = keepRunning();
    return {
      status: () =>
        loop?.isSynced === true
          ? { ready: true }
          : { ready: false, reason: failure ?? 'pods and nodes have not been listed yet' },
      metrics: async () => schedulerMetrics(loop),
      [Symbol.asyncDispose]: async () => {
        stop.abort();
        await running;
      },
    };
  },
});
