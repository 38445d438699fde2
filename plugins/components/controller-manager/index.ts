import { hostname } from 'node:os';
import { z } from 'zod';
import { definePlugin } from '../../../kernel/contract/index.ts';
import { workQueueMetrics } from '../../../kernel/machinery/metrics/work-queue-metrics.ts';
import { LeaderElection } from './leader-election.ts';
import { runControllers, type ControllerState } from './run-controllers.ts';

const seconds = (value: number) => z.number().positive().default(value);

export default definePlugin({
  kind: 'component',
  name: 'controller-manager',
  api: 1,
  summary: 'Runs the configured controllers and starts again those that stop',
  role: 'server',
  config: z.strictObject({
    leaderElection: z
      .strictObject({
        namespace: z.string().default('kube-system'),
        name: z.string().default('pintle-controller-manager'),
        identity: z.string().optional(),
        leaseDurationSeconds: seconds(15),
        renewDeadlineSeconds: seconds(10),
        retryPeriodSeconds: seconds(2),
      })
      .optional(),
  }),
  needs: ['cluster', 'controller'],
  start: async ({ config, uses, log, clock }) => {
    const stop = new AbortController();
    const states = new Map<string, ControllerState>();
    const run = (signal: AbortSignal) => runControllers(uses.controller, states, { log, clock }, signal);
    const { leaderElection } = config;
    const election =
      leaderElection === undefined
        ? undefined
        : new LeaderElection({
            ...leaderElection,
            identity: leaderElection.identity ?? `${hostname()}_${process.pid}_${crypto.randomUUID().slice(0, 8)}`,
            cluster: uses.cluster,
            log,
            clock,
          });
    const running = election === undefined ? run(stop.signal) : election.lead(run, stop.signal);
    return {
      status: () => {
        if (election !== undefined && !election.isLeader) return { ready: true, reason: 'another process leads' };
        const stopped = [...states].filter(([, state]) => state.failure !== undefined);
        if (stopped.length === 0) return { ready: true };
        return { ready: false, reason: stopped.map(([name, state]) => `${name}: ${state.failure}`).join('; ') };
      },
      metrics: async () => workQueueMetrics(),
      [Symbol.asyncDispose]: async () => {
        stop.abort();
        await running;
      },
    };
  },
});
