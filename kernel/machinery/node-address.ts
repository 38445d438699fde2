/** The addresses that a node is known by, and which of them it serves at. */
import type { Node } from '../contract/kubernetes.ts';

export function internalAddresses(node: Node | undefined): readonly string[] {
  return (node?.status?.addresses ?? []).filter(({ type }) => type === 'InternalIP').map(({ address }) => address);
}

/** The first internal address of the family that another address is of; undefined: the node has none. */
export function internalAddress(node: Node | undefined, like: string): string | undefined {
  return internalAddresses(node).find((address) => address.includes(':') === like.includes(':'));
}
