/**
 * The verbs of a configuration list (cni.dev spec, section 3): its plugins one after the other, each with what the one before
 * answered; backwards for DEL. No state of its own.
 */
import { isPintleError, PintleError } from '../../../kernel/contract/index.ts';
import { AF_INET, familyOf } from '../../linux/ip-address.ts';
import { isAtLeast, spokenVersions, type NetworkList, type PluginConf } from './network-list.ts';
import type { AttachmentRecord } from './records.ts';
import { addressesOf, readResult, type CniResult } from './result.ts';
import { runExecutable, type Call, type CniVerb, type ExecutableOptions } from './run-executable.ts';

type Attachment = Omit<AttachmentRecord, 'sandboxId' | 'bootId' | 'isBuiltIn' | 'hostPorts' | 'bandwidth'>;

function inputOf({ list, capabilityArgs }: Pick<Attachment, 'list' | 'capabilityArgs'>, plugin: PluginConf): object {
  const wanted = Object.entries(capabilityArgs).filter(([name]) => plugin.capabilities?.[name] === true);
  return {
    ...plugin,
    cniVersion: list.cniVersion,
    name: list.name,
    ...(wanted.length > 0 ? { runtimeConfig: Object.fromEntries(wanted) } : {}),
  };
}

function callOf(verb: CniVerb, attachment: Attachment, plugin: PluginConf, more: object): Call {
  const { containerId, netns, ifName, args } = attachment;
  const input = { ...inputOf(attachment, plugin), ...more };
  return { verb, type: plugin.type, input, containerId, ifName, args, netns: netns === '' ? undefined : netns };
}

export async function addToNetwork(attachment: Attachment, options: ExecutableOptions): Promise<CniResult> {
  let result: CniResult | undefined;
  for (const plugin of attachment.list.plugins) {
    const more = result === undefined ? {} : { prevResult: result };
    result = readResult(await runExecutable(callOf('ADD', attachment, plugin, more), options), plugin.type);
  }
  return result ?? {};
}

/** Every plugin is asked, also after one has failed; then rejects with the first failure. */
export async function removeFromNetwork(attachment: Attachment, options: ExecutableOptions): Promise<void> {
  const { list, result } = attachment;
  const more = result !== undefined && isAtLeast(list.cniVersion, '0.4.0') ? { prevResult: result } : {};
  const failures: unknown[] = [];
  for (const plugin of list.plugins.toReversed())
    try {
      await runExecutable(callOf('DEL', attachment, plugin, more), options);
    } catch (error) {
      failures.push(error);
    }
  if (failures.length > 0) throw failures[0];
}

/**
 * DEL and ADD of those plugins of the list alone that `isMeant` chooses, which must be ones that make nothing but rules: the
 * pod's interface and addresses are not touched.
 */
export async function renewInNetwork(
  attachment: Attachment,
  isMeant: (plugin: PluginConf) => boolean,
  options: ExecutableOptions,
): Promise<void> {
  const { list, result } = attachment;
  const plugins = list.plugins.filter(isMeant);
  const more = { prevResult: result };
  for (const plugin of plugins.toReversed()) await runExecutable(callOf('DEL', attachment, plugin, more), options);
  for (const plugin of plugins) await runExecutable(callOf('ADD', attachment, plugin, more), options);
}

/** What the plugins find wrong, in their words. */
export async function checkInNetwork(attachment: Attachment, options: ExecutableOptions): Promise<readonly string[]> {
  const { list, result } = attachment;
  if (list.disableCheck === true || !isAtLeast(list.cniVersion, '0.4.0')) return [];
  const ips = result === undefined ? [] : addressesOf(result, attachment.ifName).map(({ ip }) => ip);
  const wrong: string[] = [];
  for (const plugin of list.plugins)
    try {
      await runExecutable(callOf('CHECK', attachment, plugin, { prevResult: result }), options);
    } catch (error) {
      const { message } = error as Error;
      if (!isFalseAlarm(message, ips) && !(isCrash(error) && !isAskedOf(plugin, attachment))) wrong.push(message);
    }
  return wrong;
}

/**
 * portmap 1.1.1 (Debian 12) looks for the rules of each of a pod's addresses among those of IPv4 and of IPv6: what it misses
 * in the other family's is not wrong.
 */
export function isFalseAlarm(message: string, ips: readonly string[]): boolean {
  const [, family, bracket] =
    /could not check ipv([46]) dnat: (?:rule .*--to-destination (\[?)|chain )/.exec(message) ?? [];
  if (family === undefined) return false;
  if (bracket !== undefined) return (family === '6') === (bracket === '');
  return !ips.some((ip) => (familyOf(ip) === AF_INET) === (family === '4'));
}

/** bandwidth 1.1.1 (Debian 12) crashes in CHECK of a pod without limits; it has found nothing. */
function isCrash(error: unknown): boolean {
  return isPintleError(error) && error.details['crashed'] === true;
}

function isAskedOf({ capabilities = {} }: PluginConf, { capabilityArgs }: Attachment): boolean {
  const known = Object.keys(capabilities).filter((name) => capabilities[name] === true);
  return known.length === 0 || known.some((name) => name in capabilityArgs);
}

interface Known {
  readonly containerId: string;
  readonly ifName: string;
}

/** From version 1.1 on: tells the plugins which attachments exist, so that they free what belongs to no other. */
export async function collectInNetwork(
  list: NetworkList,
  valid: readonly Known[],
  options: ExecutableOptions,
): Promise<void> {
  if (list.disableGC === true || !isAtLeast(list.cniVersion, '1.1.0')) return;
  const attachments = valid.map(({ containerId, ifName }) => ({ containerID: containerId, ifname: ifName }));
  for (const plugin of list.plugins) {
    const input = { ...inputOf({ list, capabilityArgs: {} }, plugin), 'cni.dev/valid-attachments': attachments };
    await runExecutable({ verb: 'GC', type: plugin.type, input }, options);
  }
}

/** From version 1.1 on: whether the plugins can attach pods now; undefined: they can. */
export async function networkProblem(list: NetworkList, options: ExecutableOptions): Promise<string | undefined> {
  if (!isAtLeast(list.cniVersion, '1.1.0')) return undefined;
  for (const plugin of list.plugins)
    try {
      const input = inputOf({ list, capabilityArgs: {} }, plugin);
      await runExecutable({ verb: 'STATUS', type: plugin.type, input }, options);
    } catch (error) {
      return (error as Error).message;
    }
  return undefined;
}

/** The list at the newest version that it allows and all its plugins have. Throws UNSUPPORTED. */
export async function agreeOnVersion(list: NetworkList, options: ExecutableOptions): Promise<NetworkList> {
  const allowed = [...new Set([list.cniVersion, ...(list.cniVersions ?? [])])];
  const known = new Map<string, readonly string[]>();
  for (const { type } of list.plugins) {
    const input = { cniVersion: list.cniVersion };
    const answer = known.has(type) ? undefined : await runExecutable({ verb: 'VERSION', type, input }, options);
    if (answer !== undefined) known.set(type, (answer as { supportedVersions?: string[] }).supportedVersions ?? []);
  }
  const isCommon = (version: string): boolean => [...known.values()].every((versions) => versions.includes(version));
  const cniVersion = spokenVersions.filter((version) => allowed.includes(version) && isCommon(version)).at(-1);
  if (cniVersion !== undefined) return { ...list, cniVersion };
  const has = [...known].map(([type, versions]) => `${type}: ${versions.join(', ')}`).join('; ');
  throw new PintleError(
    'UNSUPPORTED',
    `CNI list ${list.name} asks for version ${allowed.join(' or ')}; expected one of ${spokenVersions.join(', ')} that all its ` +
      `plugins have (${has}). Change cniVersion, or update the plugins`,
  );
}
