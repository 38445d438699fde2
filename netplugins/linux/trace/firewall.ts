/** Other programs' packet filters on the way of forwarded packets. Reads only; a kernel or host without one has none. */
import type { Problem } from '../../../kernel/contract/index.ts';
import { installedBackends, openIptables } from '../iptables.ts';
import { nftList } from '../nft.ts';
import { openRtnetlink, type Link } from '../rtnetlink.ts';

/** Of the namespace at `netns`; undefined: the process's own. */
interface Where {
  readonly netns?: string | undefined;
}

export interface FirewallView {
  readonly shown: string;
  readonly problem?: Problem | undefined;
}

const own = /^pintle/;
const notFollowed = (count: number, where: string): string =>
  count === 0 ? '' : `; ${count === 1 ? 'its rule is' : `its ${count} rules are`} not followed: ${where}`;

/**
 * Base chains of others that forwarded packets pass: their policy, and how many rules they have. What those rules do is not
 * followed: they may match on anything.
 */
export async function forwardChains(options: Where = {}): Promise<readonly FirewallView[]> {
  // A host without nft, or a kernel without nftables, has no such chains; one that goes meanwhile has no rules.
  const chains = (await nftList(['chains'], options).catch(() => undefined)) ?? [];
  const views: FirewallView[] = [];
  for (const { chain } of chains) {
    if (chain?.['hook'] !== 'forward' || own.test(String(chain['table']))) continue;
    const place = [chain['family'], chain['table'], chain['name']].map(String);
    const listed = await nftList(['chain', ...place], options).catch(() => undefined);
    const rules = (listed ?? []).filter(({ rule }) => rule !== undefined).length;
    const note = notFollowed(rules, `nft list chain ${place.join(' ')}`);
    const shown = `nft chain ${place.join(' ')} policy ${String(chain['policy'])}${note}`;
    views.push(view(shown, chain['policy'] === 'drop', place.slice(1).join(' ')));
  }
  if (!installedBackends(['ip']).includes('legacy')) return views;
  // Without a table's name: to name one would make it.
  const saved = await openIptables({ backend: 'legacy', family: 'ip', ...options })
    .save()
    .catch(() => '');
  const policy = /^\*filter\n(?::.*\n)*?:FORWARD (\w+)/m.exec(saved)?.[1];
  const rules = (saved.match(/^-A FORWARD /gm) ?? []).length;
  const note = notFollowed(rules, 'iptables-legacy -S FORWARD');
  if (policy !== undefined && (policy === 'DROP' || rules > 0))
    views.push(view(`iptables-legacy filter FORWARD policy ${policy}${note}`, policy === 'DROP', 'filter FORWARD'));
  return views;
}

function view(shown: string, drops: boolean, name: string): FirewallView {
  if (!drops) return { shown };
  return {
    shown,
    problem: {
      text: `chain ${name} drops every forwarded packet that none of its rules accepts, and no other table can overrule it: pods reach nothing outside their node, or nobody reaches them`,
      cure: 'let pods through in that firewall (with Docker: iptables -I DOCKER-USER -j ACCEPT), or set its policy to accept (iptables -P FORWARD ACCEPT)',
      isFatal: false,
    },
  };
}

/** Both back ends of iptables hold rules: each sees every packet, and neither shows the other's. */
export async function mixedBackends(): Promise<Problem | undefined> {
  const backends = installedBackends(['ip']);
  if (backends.length < 2) return undefined;
  const counts = await Promise.all(
    backends.map(async (backend) => {
      const saved = await openIptables({ backend, family: 'ip' })
        .save()
        .catch(() => '');
      return { backend, rules: (saved.match(/^-A /gm) ?? []).length };
    }),
  );
  if (counts.some(({ rules }) => rules === 0)) return undefined;
  return {
    text: `both back ends of iptables hold rules (${counts.map(({ backend, rules }) => `${backend}: ${rules}`).join(', ')}): a packet must pass both, and a listing shows one`,
    cure: 'move all programs to one: update-alternatives --config iptables, then remove the rules of the other (iptables-legacy -F, or iptables-nft -F)',
    isFatal: false,
  };
}

/** By what they have in the kernel: those that do on a node what Pintle does there, and how to be rid of it. */
const rivals = [
  {
    name: 'kube-proxy',
    of: /^kube-proxy$|^kube-ipvs0$|^KUBE-(SERVICES|NODEPORTS|PORTALS)/,
    cure: 'kube-proxy --cleanup',
  },
  {
    name: 'flanneld',
    of: /^flannel-ipv[46]$|^FLANNEL-/,
    cure: 'nft delete chain, or iptables -F and -X, of what is named',
  },
] as const;

function linkNamed(name: string, options: Where): Link | undefined {
  const rt = openRtnetlink(options);
  try {
    return rt.getLink(name);
  } finally {
    rt.close();
  }
}

/** Other programs that make the same kinds of rules: with two of them, which one a packet meets is chance. */
export async function rivalOwners(options: Where = {}): Promise<readonly Problem[]> {
  const places: { readonly name: string; readonly shown: string }[] = [];
  const tables = new Set<string>();
  for (const { chain } of (await nftList(['chains'], options).catch(() => undefined)) ?? []) {
    if (chain === undefined) continue;
    const [family, table, name] = [chain['family'], chain['table'], chain['name']].map(String) as [
      string,
      string,
      string,
    ];
    const shown = `nft table ${family} ${table}`;
    if (!tables.has(shown)) places.push({ name: table, shown });
    tables.add(shown);
    places.push({ name, shown: `chain ${name} of ${shown}` });
  }
  if (installedBackends(['ip']).includes('legacy')) {
    const saved = await openIptables({ backend: 'legacy', family: 'ip', ...options })
      .save()
      .catch(() => '');
    for (const [, name = ''] of saved.matchAll(/^:(\S+) - /gm))
      places.push({ name, shown: `iptables-legacy chain ${name}` });
  }
  // Proxy ipvs has a link of this name too, and says so in its alias.
  const link = linkNamed('kube-ipvs0', options);
  if (link !== undefined && !own.test(link.alias ?? '')) places.push({ name: link.name, shown: `link ${link.name}` });
  return rivals.flatMap(({ name, of, cure }) => {
    const found = places.filter((place) => of.test(place.name));
    if (found.length === 0) return [];
    const more = found.length === 1 ? '' : ` and ${found.length - 1} more`;
    return [
      {
        text: `${name} has rules on this node (${found[0]!.shown}${more}): with two that do the same, which one a packet meets is chance, and each mends only its own`,
        cure: `stop ${name} on this node, then remove what it left: ${cure}`,
        isFatal: false,
      },
    ];
  });
}
