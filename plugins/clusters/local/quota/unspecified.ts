/** Where a quota counts cpu or memory, every container must say how much of it it wants. */
import type { Container, Pod } from '../../../../kernel/contract/kubernetes.ts';

const fields: ReadonlyMap<string, readonly ['requests' | 'limits', string]> = new Map([
  ['cpu', ['requests', 'cpu']],
  ['memory', ['requests', 'memory']],
  ['requests.cpu', ['requests', 'cpu']],
  ['requests.memory', ['requests', 'memory']],
  ['limits.cpu', ['limits', 'cpu']],
  ['limits.memory', ['limits', 'memory']],
]);

/** "limits.cpu for: main; requests.memory for: init,main", or nothing. */
export function unspecified({ spec }: Pod, names: readonly string[]): string {
  const lacking = (name: string): string => {
    const [part, resource] = fields.get(name)!;
    const has = ({ resources }: Pick<Container, 'resources'>) =>
      resources?.[part]?.[resource] !== undefined ||
      (part === 'requests' && resources?.limits?.[resource] !== undefined);
    if (has(spec)) return '';
    const without = [...spec.containers, ...(spec.initContainers ?? [])].filter((container) => !has(container));
    return without
      .map((container) => container.name)
      .toSorted()
      .join(',');
  };
  return names
    .filter((name) => fields.has(name))
    .toSorted()
    .map((name) => [name, lacking(name)] as const)
    .filter(([, containers]) => containers !== '')
    .map(([name, containers]) => `${name} for: ${containers}`)
    .join('; ');
}
