/** Whether another program's firewall stands in the way of pods. */
import { nftList } from '../nft.ts';

/**
 * No rule of our own table can let a packet through that another table's FORWARD policy drops (in nftables an accept ends
 * only its own table), and other programs' tables are not ours to touch: says so, with the cure.
 */
export async function forwardingWarning(
  linkPattern: string,
  options: { readonly netns?: string | undefined },
): Promise<string | undefined> {
  // No such chain, or no nft: nothing to warn of.
  const chain = (await nftList(['chain', 'ip', 'filter', 'FORWARD'], options).catch(() => undefined))
    ?.map((entry) => entry['chain'])
    .find((found) => found !== undefined);
  if (chain?.['policy'] !== 'drop') return undefined;
  const cure = (direction: string): string => `iptables -I DOCKER-USER ${direction} ${linkPattern} -j ACCEPT`;
  return (
    'the FORWARD policy of table ip filter is DROP (Docker sets it): pods of this node reach nothing outside the node; ' +
    `cure: ${cure('-i')}; ${cure('-o')}`
  );
}
