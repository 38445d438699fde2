import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { definePlugin } from '../../../kernel/contract/index.ts';
import { connectInNetns } from '../../../netplugins/linux/connect.ts';
import { isQuantity } from '../../../kernel/machinery/quantity.ts';
import { isThresholdValue, signals } from './eviction/thresholds.ts';
import { startNodeAgent } from './node-agent.ts';

const thresholds = z
  .partialRecord(
    z.enum(signals),
    z.string().refine(isThresholdValue, 'expected a quantity such as 100Mi or a share such as 10%'),
  )
  .default({});

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
    /** Folder of manifests whose pods run on this node whatever the API says; undefined: none. */
    staticPodPath: z.string().startsWith('/').optional(),
    /** Processes and threads that one pod may have. */
    podPids: z.int().min(1).default(4096),
    /** Sysctls that pods may set besides Kubernetes' safe set; "net.core.*" stands for all that begin so. */
    allowedUnsafeSysctls: z.array(z.string()).default([]),
    /** How often files follow the ConfigMaps and Secrets that they come from, and emptyDirs are measured. */
    volumeSeconds: z.number().positive().default(10),
    /** What of the machine is not for pods: `allocatable` is less by it. */
    reserved: z
      .strictObject({
        cpu: z.string().refine(isQuantity, 'expected a quantity such as 500m').default('0'),
        memory: z.string().refine(isQuantity, 'expected a quantity such as 1Gi').default('0'),
      })
      .prefault({}),
    /** Below how much the node counts as in trouble and ends pods; signals that are not named keep their default. */
    eviction: z
      .strictObject({
        hard: thresholds,
        soft: thresholds,
        softGraceSeconds: z.partialRecord(z.enum(signals), z.number().min(0)).default({}),
        minimumReclaim: thresholds,
        /** A pressure is over when it has not been seen for so long. */
        pressureTransitionSeconds: z.number().min(0).default(300),
        /** Most that a pod may take to end when a soft threshold is crossed. */
        maxPodGraceSeconds: z.number().min(0).default(0),
      })
      .prefault({}),
    /** Several nodes share this machine: disk thresholds are amounts by default, no shares. */
    sharedHost: z.boolean().default(false),
    /** How often the usage of node and containers is sampled. */
    usageSeconds: z.number().min(0.1).default(10),
  }),
  needs: ['cluster', 'runtime', 'attachment', 'overlay', 'proxy', 'volume'],
  start: async (context, signal) => {
    await mkdir(join(context.stateDir, 'pods'), { recursive: true });
    return startNodeAgent(context, { connectIn: connectInNetns }, signal);
  },
});
