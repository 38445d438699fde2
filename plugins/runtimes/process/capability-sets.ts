/**
 * Which Linux capabilities a container keeps: Docker's default set without MKNOD (there is no device filter here, so a
 * device node would be the device), plus and minus what its spec says.
 */
import { PintleError } from '../../../kernel/contract/index.ts';
import { linuxCapabilities as known } from '../../../kernel/machinery/linux-capabilities.ts';

const defaults = [
  'audit_write',
  'chown',
  'dac_override',
  'fowner',
  'fsetid',
  'kill',
  'net_bind_service',
  'net_raw',
  'setfcap',
  'setgid',
  'setpcap',
  'setuid',
  'sys_chroot',
] as const;

interface CapabilityWishes {
  readonly privileged: boolean;
  readonly addCapabilities: readonly string[];
  readonly dropCapabilities: readonly string[];
}

/** The bounding set, or undefined for "all that the runtime has". */
export function boundingSet(spec: CapabilityWishes): readonly string[] | undefined {
  const add = spec.addCapabilities.map(normalise);
  const drop = spec.dropCapabilities.map(normalise);
  if (spec.privileged) return undefined;
  const start = add.includes('all') ? known : drop.includes('all') ? [] : defaults;
  const kept = new Set<string>(start);
  if (!drop.includes('all')) for (const name of drop) kept.delete(name);
  for (const name of add) if (name !== 'all') kept.add(name);
  if (add.includes('all')) for (const name of drop) kept.delete(name);
  return [...kept].sort();
}

function normalise(name: string): string {
  const plain = name.toLowerCase().replace(/^cap_/, '');
  if (plain === 'all' || known.has(plain)) return plain;
  throw new PintleError(
    'CONTAINER_INVALID',
    `capability ${name} is unknown: expected a name such as NET_ADMIN, or ALL`,
  );
}

/** The argument of setpriv --bounding-set. */
export function formatBoundingSet(set: readonly string[]): string {
  return ['-all', ...set.map((name) => `+${name}`)].join(',');
}
