import { z } from 'zod';
import { definePlugin } from '../../../kernel/contract/index.ts';
import { preflightVeth } from '../../linux/pods/preflight.ts';
import { probeBridge } from '../../linux/probes.ts';
import { openBridge } from './bridge-attachment.ts';

const config = z
  .strictObject({
    bridge: z
      .string()
      .regex(/^[a-zA-Z][a-zA-Z0-9_.-]{0,14}$/)
      .default('cni0')
      .describe("Name of the node's bridge"),
  })
  .prefault({});

export default definePlugin({
  kind: 'attachment',
  name: 'bridge',
  api: 1,
  summary: 'Pods on a bridge of the node, every packet routed by the node',
  config,
  capabilities: ['ipv4', 'ipv6', 'host-ports', 'bandwidth'],
  preflight: (host) => preflightVeth(host, { probe: probeBridge, fix: 'modprobe bridge veth' }),
  start: async ({ config: { bridge }, stateDir, log }) => openBridge({ bridge, stateDir, log }),
});
