/** The nft text of the node's masquerade: pod traffic that leaves the cluster takes the node's address. */
import { AF_INET, canonicalCidr, parseCidr } from '../ip-address.ts';

export const nftFamilies = ['ip', 'ip6'] as const;
export type NftFamily = (typeof nftFamilies)[number];

export interface MasqueradeInput {
  /** The plugin's own table, in families ip and ip6. */
  readonly table: string;
  readonly podCidrs: readonly string[];
  readonly clusterCidrs: readonly string[];
}

const multicast: Readonly<Record<NftFamily, string>> = { ip: '224.0.0.0/4', ip6: 'ff00::/8' };

function ofFamily(ranges: readonly string[], family: NftFamily): string[] {
  return [
    ...new Set(
      ranges.filter((range) => (parseCidr(range).family === AF_INET) === (family === 'ip')).map(canonicalCidr),
    ),
  ];
}

/** Families that the node's pods have. */
function familiesOf(input: Pick<MasqueradeInput, 'podCidrs'>): NftFamily[] {
  return nftFamilies.filter((family) => ofFamily(input.podCidrs, family).length > 0);
}

/** One transaction that makes the tables exactly so, whatever is there. */
export function renderMasquerade(input: MasqueradeInput): string {
  const wanted = familiesOf(input);
  return nftFamilies
    .map((family) => (wanted.includes(family) ? renderTable(input, family) : renderRemoval(family, input.table)))
    .join('');
}

/** Adding a table that exists changes nothing, so that the deletion never fails. */
function renderRemoval(family: NftFamily, table: string): string {
  return `add table ${family} ${table}\ndelete table ${family} ${table}\n`;
}

export function renderRemovals(table: string): string {
  return nftFamilies.map((family) => renderRemoval(family, table)).join('');
}

function renderTable(input: MasqueradeInput, family: NftFamily): string {
  const pods = ofFamily(input.podCidrs, family).join(', ');
  const inside = [...new Set([...ofFamily([...input.clusterCidrs, ...input.podCidrs], family), multicast[family]])];
  // fully-random: two pods that take the same source port at the same moment would lose one packet (the 5 s DNS delay).
  return `${renderRemoval(family, input.table)}table ${family} ${input.table} {
	set inside {
		type ${family === 'ip' ? 'ipv4_addr' : 'ipv6_addr'}
		flags interval
		auto-merge
		elements = { ${inside.join(', ')} }
	}
	chain postrouting {
		type nat hook postrouting priority srcnat; policy accept;
		${family} saddr { ${pods} } ${family} daddr != @inside masquerade fully-random
	}
}
`;
}
