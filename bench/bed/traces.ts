/** Everything in a node's namespace that a network plugin could leave behind, line by line. */
import { RT_TABLE_LOCAL, RTN_LOCAL } from '../../netplugins/linux/rtnetlink.ts';
import type { Place } from './place.ts';

const commands: readonly (readonly [command: string, ...argv: string[]])[] = [
  ['nft', 'list', 'ruleset'],
  ['iptables-save'],
  ['ip6tables-save'],
  ['ipset', 'list', '-name'],
];

export function tracesOf(node: Place): ReadonlySet<string> {
  const lines = node.links((links) => {
    const all = links.listLinks();
    const name = (index: number | undefined): string => all.find((link) => link.index === index)?.name ?? String(index);
    return [
      ...all.map((link) => `link ${link.name} mtu ${link.mtu}`),
      ...links
        .listAddresses()
        // Link-local ones come a moment after their link.
        .filter(({ scope }) => scope !== 253)
        .map(({ index, address, prefixLength }) => `address ${address}/${prefixLength} ${name(index)}`),
      ...[...links.listRoutes(), ...links.listRoutes({ table: RT_TABLE_LOCAL })]
        // What the kernel makes by itself as links come and go.
        .filter(({ protocol, type }) => protocol !== 2 && [1, RTN_LOCAL].includes(type))
        .map(
          ({ destination, gateway, link, table }) => `route ${destination} via ${gateway} ${name(link)} table ${table}`,
        ),
      ...links
        .listNeighbours()
        .filter(({ permanent, mac }) => permanent && mac !== undefined && !/^(00:){5}00$|^33:33|^01:00/.test(mac))
        .map(({ address, link }) => `neighbour ${address} ${name(link)}`),
    ];
  });
  const rules = commands.flatMap(([command, ...argv]) => {
    const { status, stdout } = node.runNow(command, argv);
    if (status !== 0) return [];
    return stdout
      .split('\n')
      .map((line) => line.trim())
      .filter((line) => line !== '' && !line.startsWith('#') && !/^(:\w+ ACCEPT|\*\w+$|COMMIT$|[{}]+$)/.test(line))
      .map((line) => `${command}: ${line.replace(/packets \d+ bytes \d+/, '')}`);
  });
  return new Set([...lines, ...rules]);
}

/** What is there now and was not before; at most a few lines, as one is enough to look into. */
export function leftovers(before: ReadonlySet<string>, now: ReadonlySet<string>, where: string): readonly string[] {
  const left = [...now].filter((line) => !before.has(line));
  const missing = [...before].filter((line) => !now.has(line)).map((line) => `missing: ${line}`);
  return [...left, ...missing].slice(0, 8).map((line) => `${where}: ${line}`);
}
