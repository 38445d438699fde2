/** The annotations by which a pod asks for less bandwidth than there is; kubelet's names and bounds. */
import { PintleError, type Bandwidth } from '../../../kernel/contract/index.ts';
import type { Pod } from '../../../kernel/contract/kubernetes.ts';
import { isQuantity, parseQuantity } from '../../../kernel/machinery/quantity.ts';

const least = 1_000;
const most = 1e15;

/** Undefined: no limit is asked for. Throws CONTAINER_INVALID. */
export function bandwidthOf({ metadata: { annotations } }: Pod): Bandwidth | undefined {
  const read = (direction: 'ingress' | 'egress'): number | undefined => {
    const name = `kubernetes.io/${direction}-bandwidth`;
    const text = annotations?.[name];
    if (text === undefined) return undefined;
    const value = isQuantity(text) ? parseQuantity(text) : Number.NaN;
    if (value >= least && value <= most) return value;
    throw new PintleError(
      'CONTAINER_INVALID',
      `annotation ${name} is "${text}": expected bits a second from 1k to 1P, such as "10M"`,
    );
  };
  const limits = { ingressBitsPerSecond: read('ingress'), egressBitsPerSecond: read('egress') };
  return limits.ingressBitsPerSecond === undefined && limits.egressBitsPerSecond === undefined ? undefined : limits;
}
