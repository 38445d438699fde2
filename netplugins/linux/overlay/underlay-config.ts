/** Config key `underlay` of every overlay: which of a node's interfaces carries the packets to other nodes. */
import { z } from 'zod';

const cidr = z.union([z.cidrv4(), z.cidrv6()]);

export const underlayConfig = z
  .strictObject({
    interface: z
      .string()
      .min(1)
      .max(15)
      .optional()
      .describe('By name: all packets to other nodes leave by this interface'),
    cidrs: z
      .array(cidr)
      .min(1)
      .optional()
      .describe('By address: by the interface with an address in one of these ranges, to addresses of peers in them'),
  })
  .refine(({ interface: name, cidrs }) => name === undefined || cidrs === undefined, {
    error: 'expected interface or cidrs, not both',
  })
  .prefault({})
  .describe(
    'Which interface carries the packets between nodes; without interface and cidrs: the one of the route to the peer',
  );
