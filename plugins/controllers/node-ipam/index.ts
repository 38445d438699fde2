import { z } from 'zod';
import { definePlugin, PintleError } from '../../../kernel/contract/index.ts';
import { parseCidr } from '../../../kernel/machinery/cidr.ts';
import { eventRecorder } from '../../../kernel/machinery/event-recorder.ts';
import { CidrPool } from './cidr-pool.ts';
import { NodeIpamController } from './node-ipam-controller.ts';

/** /64 is customary, and leaves a range of /64 to one node alone. */
function sizeIPv6(cidr: string): number {
  return Math.min(Math.max((parseCidr(cidr)?.prefix ?? 0) + 8, 64), 120);
}

export default definePlugin({
  kind: 'controller',
  name: 'node-ipam',
  api: 1,
  summary: 'Gives every node its own range of pod addresses',
  config: z.strictObject({
    nodeMaskSizeIPv4: z.int().min(8).max(30).default(24),
    /** Default: 64, and of a range of /57 or smaller 256 parts. */
    nodeMaskSizeIPv6: z.int().min(16).max(124).optional(),
  }),
  needs: ['cluster'],
  start: async ({ config, cluster: facts, uses: { cluster }, log, clock }) => {
    const newPools = () =>
      facts.podCidrs.map((cidr) => {
        const size = cidr.includes(':') ? (config.nodeMaskSizeIPv6 ?? sizeIPv6(cidr)) : config.nodeMaskSizeIPv4;
        const pool = CidrPool.of(cidr, size);
        if (pool !== undefined) return pool;
        throw new PintleError(
          'CONFIG_INVALID',
          `controller node-ipam: the pod range ${cidr} cannot be cut into ranges of /${size} for nodes; ` +
            'expected a valid range that is at least as large. Change cluster.podCidrs or the node mask size.',
        );
      });
    newPools();
    const record = eventRecorder(cluster, { component: 'node-ipam-controller', clock, log });
    return {
      run: (signal) => new NodeIpamController({ cluster, pools: newPools(), log, clock, record }).run(signal),
      [Symbol.asyncDispose]: async () => undefined,
    };
  },
});
