import type { Kind, Plugin, Preflight } from '../contract/index.ts';

/** Kinds that carry pods' packets, and say by capability of which families. */
const carriers: readonly Kind[] = ['attachment', 'overlay', 'proxy'];

/** Why a plugin has no part in a cluster with these pod ranges. One that names no family is taken to have IPv4. */
export function familyProblem(
  { kind, name, capabilities = [] }: Plugin,
  podCidrs: readonly string[],
): (Preflight & { readonly ok: false }) | undefined {
  if (!carriers.includes(kind)) return undefined;
  const named = (capabilities as readonly string[]).filter((each) => each === 'ipv4' || each === 'ipv6');
  const has = named.length === 0 ? ['ipv4'] : named;
  const lacking = podCidrs.find((cidr) => !has.includes(cidr.includes(':') ? 'ipv6' : 'ipv4'));
  if (lacking === undefined) return undefined;
  const family = lacking.includes(':') ? 'IPv6' : 'IPv4';
  return {
    ok: false,
    reason: `${kind} ${name} has no ${family} (capabilities: ${capabilities.join(', ') || 'none'}), and cluster.podCidrs has ${lacking}`,
    fix: `choose ${kind === 'overlay' || kind === 'attachment' ? 'an' : 'a'} ${kind} with ${family}, or take the range out of cluster.podCidrs`,
  };
}
