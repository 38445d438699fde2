/**
 * CNI network configuration lists (cni.dev spec, section 1): read from the plugin's settings, a file or a folder, or the
 * built-in one.
 */
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { PintleError, type AttachmentCapability } from '../../../kernel/contract/index.ts';
import { AF_INET, parseCidr } from '../../linux/ip-address.ts';

const pluginSchema = z.looseObject({
  type: z
    .string()
    .regex(/^[A-Za-z0-9][A-Za-z0-9_.-]*$/)
    .describe('name of the executable'),
  capabilities: z.record(z.string(), z.boolean()).optional(),
  ipam: z.looseObject({ type: z.string().optional() }).optional(),
});

const listSchema = z.looseObject({
  cniVersion: z.string(),
  cniVersions: z.array(z.string()).optional(),
  name: z.string().regex(/^[A-Za-z0-9][A-Za-z0-9_.-]*$/),
  disableCheck: z.boolean().optional(),
  disableGC: z.boolean().optional(),
  plugins: z.array(pluginSchema).min(1),
});

export type PluginConf = z.infer<typeof pluginSchema>;
export type NetworkList = z.infer<typeof listSchema>;

/** Versions of the specification that this plugin speaks, oldest first. */
export const spokenVersions = ['0.3.0', '0.3.1', '0.4.0', '1.0.0', '1.1.0'] as const;

export interface ListSource {
  /** A list as it stands in the settings. */
  readonly list?: unknown;
  /** A file, or a folder whose first list by name counts. */
  readonly path?: string | undefined;
}

/** The list that the settings name; undefined: none, the built-in one is meant. Throws INVALID. */
export function readList({ list, path }: ListSource): NetworkList | undefined {
  if (list !== undefined) return parseList(list, 'config.list');
  if (path === undefined) return undefined;
  const file = fileOf(path);
  let content: unknown;
  try {
    content = JSON.parse(readFileSync(file, 'utf8'));
  } catch (error) {
    throw unusable(file, (error as Error).message);
  }
  return parseList(content, file);
}

/** As container runtimes do it: the first of the folder, in the order of names. */
function fileOf(path: string): string {
  try {
    if (!statSync(path).isDirectory()) return path;
    const [first] = readdirSync(path)
      .filter((name) => /\.(conflist|conf|json)$/.test(name))
      .sort();
    if (first !== undefined) return join(path, first);
  } catch (error) {
    throw unusable(path, (error as Error).message);
  }
  throw unusable(path, 'the folder has no file that ends in .conflist, .conf or .json');
}

function parseList(value: unknown, where: string): NetworkList {
  const isPlain = typeof value === 'object' && value !== null && !('plugins' in value) && 'type' in value;
  // A file with one plugin and no list: the older form.
  const { cniVersion, name, ...plugin } = (isPlain ? value : {}) as Record<string, unknown>;
  const parsed = listSchema.safeParse(isPlain ? { cniVersion, name, plugins: [plugin] } : value);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw unusable(where, `${issue?.path.join('.') ?? ''}: ${issue?.message ?? ''}`);
}

function unusable(where: string, reason: string): PintleError {
  return new PintleError(
    'INVALID',
    `CNI configuration ${where} cannot be used: ${reason}; expected a list with cniVersion, name and plugins. ` +
      'Correct it, or set config.list or config.path of attachment cni to another',
  );
}

export interface BuiltInInput {
  readonly podCidrs: readonly string[];
  readonly mtuBytes: number;
  readonly bandwidth: boolean;
}

/**
 * Routed links, so that the node's forwarding path sees every packet; addresses from the node's pod ranges. What leaves the
 * cluster is masqueraded by the attachment itself: the executables know one node's range alone, and would hide pods from
 * those of other nodes. For the same reason portmap leaves source addresses alone.
 */
export function builtInList({ podCidrs, mtuBytes, bandwidth }: BuiltInInput): NetworkList {
  const isV4 = podCidrs.map((range) => parseCidr(range).family === AF_INET);
  const routes = [...new Set(isV4)].map((v4) => ({ dst: v4 ? '0.0.0.0/0' : '::/0' }));
  return {
    cniVersion: '1.0.0',
    cniVersions: ['0.4.0', '1.0.0', '1.1.0'],
    name: 'pintle',
    plugins: [
      {
        type: 'ptp',
        mtu: mtuBytes,
        ipMasq: false,
        capabilities: { ipRanges: true },
        ipam: { type: 'host-local', routes },
      },
      {
        type: 'portmap',
        capabilities: { portMappings: true },
        snat: false,
        // The kernel lets nothing from ::1 leave the node: refused at once, instead of lost.
        conditionsV6: ['!', '-d', '::1/128'],
      },
      ...(bandwidth ? [{ type: 'bandwidth', capabilities: { bandwidth: true } }] : []),
    ],
  };
}

function hasCapability({ plugins }: NetworkList, name: string): boolean {
  return plugins.some(({ capabilities }) => capabilities?.[name] === true);
}

/** What the list's plugins can do for pods. `bandwidth`: whether the built-in list has a plugin for it. */
export function capabilitiesOf(source: ListSource, bandwidth: boolean): readonly AttachmentCapability[] {
  const families: readonly AttachmentCapability[] = ['ipv4', 'ipv6'];
  let list: NetworkList | undefined;
  try {
    list = readList(source);
  } catch {
    // `configure` says what is wrong with it.
    return families;
  }
  const hasPorts = list === undefined || hasCapability(list, 'portMappings');
  const hasBandwidth = list === undefined ? bandwidth : hasCapability(list, 'bandwidth');
  return [
    ...families,
    ...(hasPorts ? (['host-ports'] as const) : []),
    ...(hasBandwidth ? (['bandwidth'] as const) : []),
  ];
}

/** Executables that a list runs, each once. */
export function executablesOf({ plugins }: NetworkList): readonly string[] {
  const delegates = plugins.map(({ ipam }) => ipam?.type ?? '').filter((type) => type !== '');
  return [...new Set([...plugins.map(({ type }) => type), ...delegates])];
}

/**
 * host-local keeps its leases in one folder of the machine unless told otherwise; several nodes may share the machine, and a
 * purge must find them.
 */
export function withOwnLeases(list: NetworkList, dataDir: string): NetworkList {
  const plugins = list.plugins.map((plugin): PluginConf => {
    const { ipam } = plugin;
    if (ipam?.type !== 'host-local' || ipam['dataDir'] !== undefined) return plugin;
    return { ...plugin, ipam: { ...ipam, dataDir } };
  });
  return { ...list, plugins };
}

/** Whether `version` is at least `least`: "1.1.0". */
export function isAtLeast(version: string, least: string): boolean {
  const parts = (text: string): number[] => text.split('.').map(Number);
  const [a, b] = [parts(version), parts(least)];
  for (let index = 0; index < 3; index += 1) if (a[index] !== b[index]) return (a[index] ?? 0) > (b[index] ?? 0);
  return true;
}
