import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { definePlugin } from '../../../kernel/contract/index.ts';
import { connectInNetns } from '../../../netplugins/linux/connect.ts';
import { startNodeAgent } from './node-agent.ts';

const label = z.record(z.string(), z.string());

/** Taint effects as in core/v1. */
const taint = z.strictObject({
  key: z.string(),
  value: z.string().optional(),
  effect: z.enum(['NoSchedule', 'PreferNoSchedule', 'NoExecute']),
});

export default definePlugin({
  kind: 'component',
  name: 'node-agent',
  api: 1,
  role: 'node',
  summary: 'Registers the node and runs its pods through runtime, attachment and overlay',
  config: z.strictObject({
    /** Addresses of this node that other nodes reach; empty: the address of the interface with the default route. */
    addresses: z.array(z.union([z.ipv4(), z.ipv6()])).default([]),
    labels: label.default({}),
    taints: z.array(taint).default([]),
    maxPods: z.int().min(1).max(10_000).default(110),
    leaseSeconds: z.int().min(2).default(40),
    /** How often an unchanged node status is written all the same. */
    statusSeconds: z.int().min(1).default(300),
    maxLogBytes: z
      .int()
      .min(1024)
      .default(10 * 1024 * 1024),
    maxLogFiles: z.int().min(1).max(100).default(5),
    /** Delay before the second restart of a container; doubles up to the maximum. */
    backoffSeconds: z.number().positive().default(10),
    maxBackoffSeconds: z.number().positive().default(300),
    /** How often files follow the ConfigMaps and Secrets that they come from, and emptyDirs are measured. */
    volumeSeconds: z.number().positive().default(10),
    /** Below this much free space the node reports DiskPressure. */
    minFreeBytes: z
      .int()
      .min(0)
      .default(100 * 1024 * 1024),
    /** How often the usage of node and containers is sampled. */
    usageSeconds: z.number().min(0.1).default(10),
  }),
  needs: ['cluster', 'runtime', 'attachment', 'overlay', 'proxy', 'volume'],
  start: async (context, signal) => {
    await mkdir(join(context.stateDir, 'pods'), { recursive: true });
    return startNodeAgent(context, { connectIn: connectInNetns }, signal);
  },
});
