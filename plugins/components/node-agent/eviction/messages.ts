/** What is said of an evicted pod, in a kubelet's words. */
import type { Pod } from '../../../../kernel/contract/kubernetes.ts';
import { canonicalQuantity } from '../../../../kernel/machinery/quantity.ts';

export interface ContainerExcess {
  readonly name: string;
  readonly usedBytes: number;
}

export function pressureMessage(
  resource: string,
  threshold: number,
  available: number,
  pod: Pod,
  containers: readonly ContainerExcess[],
): string {
  const amount = resource === 'inodes' || resource === 'pids' ? String : bytesText;
  let text = `The node was low on resource: ${resource}. Threshold quantity: ${amount(Math.floor(threshold))}, available: ${amount(Math.floor(available))}. `;
  for (const { name, usedBytes } of containers) {
    const definition = pod.spec.containers.find((each) => each.name === name);
    const request = definition?.resources?.requests?.[resource] ?? '0';
    text += `Container ${name} was using ${bytesText(usedBytes)}, request is ${request}, has larger consumption of ${resource}. `;
  }
  return text;
}

export const containerStorageMessage = (container: string, limit: string): string =>
  `Container ${container} exceeded its local ephemeral storage limit "${limit}". `;
export const podStorageMessage = (limit: string): string =>
  `Pod ephemeral local storage usage exceeds the total limit of containers ${limit}. `;

/** Whole Ki, as usage is printed. */
export function bytesText(bytes: number): string {
  return bytes < 1024 ? String(bytes) : canonicalQuantity(`${Math.floor(bytes / 1024)}Ki`);
}
