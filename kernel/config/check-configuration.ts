import type { Kind } from '../contract/index.ts';
import { formatAddress, parseAddress, parseCidr } from '../machinery/cidr.ts';
import { kinds } from '../registry/kind-facts.ts';
import { suggestion } from '../registry/nearest.ts';
import { describe } from '../registry/plugin-shape.ts';
import {
  apiVersion,
  type ClusterConfiguration,
  type ClusterSection,
  configKind,
  type ConfigDefaults,
  type PluginChoice,
} from './cluster-configuration.ts';
import type { ConfigIssue, ConfigPath } from './config-issue.ts';

/** In a list of plugins: stands for the defaults of that kind, without those that the list names itself. */
export const defaultsItem = 'defaults';

type Checked = Pick<ClusterConfiguration, 'cluster' | 'plugins'>;
type Fields = Readonly<Record<string, unknown>>;

/** Checks a parsed config file and fills in the defaults. Plugins' own config and names are checked later, by the registry. */
export function checkConfiguration(
  value: unknown,
  defaults: ConfigDefaults,
): { readonly checked: Checked; readonly issues: readonly ConfigIssue[] } {
  const check = new Check();
  const root = check.fields(value, [], ['apiVersion', 'kind', 'cluster', 'plugins']);
  check.constant(root, 'apiVersion', apiVersion);
  check.constant(root, 'kind', configKind);
  const plugins = check.fields(root['plugins'], ['plugins'], ['load', 'use']);
  const checked: Checked = {
    cluster: checkCluster(check, root['cluster'], defaults.cluster),
    plugins: {
      load: check.strings(plugins['load'], ['plugins', 'load'], []),
      use: checkUse(check, plugins['use'], defaults.use),
    },
  };
  return { checked, issues: check.issues };
}

/** Collects issues instead of stopping at the first. */
class Check {
  readonly issues: ConfigIssue[] = [];

  report(path: ConfigPath, message: string, part: 'key' | 'value' = 'value'): void {
    this.issues.push({ path, message, part });
  }

  fields(value: unknown, path: ConfigPath, known: readonly string[]): Fields {
    if (value === undefined || value === null) return {};
    if (typeof value !== 'object' || Array.isArray(value)) {
      this.report(path, `is ${describe(value)}, expected a mapping with ${known.join(', ')}`);
      return {};
    }
    for (const key of Object.keys(value))
      if (!known.includes(key)) this.report([...path, key], `unknown key; ${suggestion(key, known)}`, 'key');
    return { ...value };
  }

  constant(fields: Fields, key: string, expected: string): void {
    if (fields[key] !== expected) this.report([key], `is ${describe(fields[key])}, expected ${expected}`);
  }

  strings(value: unknown, path: ConfigPath, absent: readonly string[]): readonly string[] {
    if (value === undefined || value === null) return absent;
    if (!Array.isArray(value)) {
      this.report(path, `is ${describe(value)}, expected a list of strings`);
      return absent;
    }
    return value.filter((item, index): item is string => {
      if (typeof item === 'string' && item !== '') return true;
      this.report([...path, index], `is ${describe(item)}, expected a string`);
      return false;
    });
  }
}

function checkCluster(check: Check, value: unknown, defaults: ClusterSection): ClusterSection {
  const path = ['cluster'];
  const known = ['podCidrs', 'serviceCidrs', 'dnsDomain', 'dnsServiceIp', 'nodes'];
  const fields = check.fields(value, path, known);
  const cidrs = (key: 'podCidrs' | 'serviceCidrs'): readonly string[] => {
    const list = check.strings(fields[key], [...path, key], defaults[key]);
    const isOneEach = new Set(list.map((cidr) => cidr.includes(':'))).size === list.length;
    if (list.length < 1 || !isOneEach) check.report([...path, key], 'expected one range, or one of each IP family');
    list.forEach((cidr, index) => {
      if (parseCidr(cidr) === undefined)
        check.report([...path, key, index], `is ${describe(cidr)}, expected a range such as 10.244.0.0/16`);
    });
    return list;
  };
  const serviceCidrs = cidrs('serviceCidrs');
  const cluster: ClusterSection = {
    podCidrs: cidrs('podCidrs'),
    serviceCidrs,
    dnsDomain: text(fields['dnsDomain'], 'dnsDomain', defaults.dnsDomain),
    dnsServiceIp: text(fields['dnsServiceIp'], 'dnsServiceIp', customaryDns(serviceCidrs, defaults.dnsServiceIp)),
    nodes: nodeCount(fields['nodes']),
  };
  function text(given: unknown, key: string, absent: string): string {
    if (given === undefined || given === null) return absent;
    if (typeof given === 'string') return given;
    check.report([...path, key], `is ${describe(given)}, expected a string`);
    return absent;
  }
  function nodeCount(given: unknown): number {
    if (given === undefined || given === null) return defaults.nodes;
    if (typeof given === 'number' && Number.isInteger(given) && given >= 0 && given <= 5000) return given;
    check.report([...path, 'nodes'], `is ${describe(given)}, expected a whole number from 0 to 5000`);
    return defaults.nodes;
  }
  if (!/^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$/.test(cluster.dnsDomain))
    check.report([...path, 'dnsDomain'], `is ${describe(cluster.dnsDomain)}, expected a domain such as cluster.local`);
  if (!cluster.serviceCidrs.some((cidr) => holds(cidr, cluster.dnsServiceIp)))
    check.report(
      [...path, fields['dnsServiceIp'] === undefined ? 'serviceCidrs' : 'dnsServiceIp'],
      `dnsServiceIp ${describe(cluster.dnsServiceIp)} is not an address inside serviceCidrs ${cluster.serviceCidrs.join(', ')}`,
    );
  const isIpv6 = (cidr: string): boolean => cidr.includes(':');
  for (const service of serviceCidrs)
    if (!cluster.podCidrs.some((pod) => isIpv6(pod) === isIpv6(service)))
      check.report(
        [...path, fields['serviceCidrs'] === undefined ? 'podCidrs' : 'serviceCidrs'],
        `Services have addresses in ${service}, and no pod could answer there: podCidrs ${cluster.podCidrs.join(', ')} has no ` +
          `${isIpv6(service) ? 'IPv6' : 'IPv4'} range; expected one`,
      );
  for (const pod of cluster.podCidrs)
    for (const service of cluster.serviceCidrs)
      if (holds(pod, service.split('/')[0]!) || holds(service, pod.split('/')[0]!))
        check.report([...path, 'podCidrs'], `${pod} overlaps ${service} of serviceCidrs, expected ranges apart`);
  return cluster;
}

function holds(cidr: string, address: string): boolean {
  const [range, given] = [parseCidr(cidr), parseAddress(address)];
  if (range === undefined || range.bits !== given?.bits) return false;
  const host = BigInt(range.bits - range.prefix);
  return range.base >> host === given.value >> host;
}

/** The tenth address of the first range of Services, as it is customary; `absent` where there is none. */
function customaryDns([cidr = '']: readonly string[], absent: string): string {
  const range = parseCidr(cidr);
  return range === undefined || range.prefix > range.bits - 4 ? absent : formatAddress(range.base + 10n, range.bits);
}

function checkUse(check: Check, value: unknown, defaults: ConfigDefaults['use']): Checked['plugins']['use'] {
  const path = ['plugins', 'use'];
  const fields = check.fields(value, path, kinds);
  const choices = (kind: Kind): readonly PluginChoice[] => {
    const standard = defaults[kind].map((choice): PluginChoice => ({ config: {}, ...choice }));
    return Object.hasOwn(fields, kind) ? checkChoices(check, fields[kind], [...path, kind], standard) : standard;
  };
  return Object.fromEntries(kinds.map((kind) => [kind, choices(kind)])) as Checked['plugins']['use'];
}

function checkChoices(
  check: Check,
  value: unknown,
  path: ConfigPath,
  standard: readonly PluginChoice[],
): readonly PluginChoice[] {
  const items = (Array.isArray(value) ? value : [value]) as readonly unknown[];
  const pathOf = (index: number): ConfigPath => (Array.isArray(value) ? [...path, index] : path);
  const named = items.map((item, index) =>
    item === defaultsItem ? undefined : checkChoice(check, item, pathOf(index)),
  );
  const names = named.flatMap((choice) => (choice === undefined ? [] : [choice.name]));
  names.forEach((name, index) => {
    if (name !== '' && names.indexOf(name) !== index)
      check.report(path, `names ${describe(name)} twice, expected each plugin once`);
  });
  const rest = standard.filter((choice) => !names.includes(choice.name));
  return named.flatMap((choice) => (choice === undefined ? rest : choice.name === '' ? [] : [choice]));
}

/** `name: x` with optional `config`, or the name alone. */
function checkChoice(check: Check, item: unknown, path: ConfigPath): PluginChoice {
  if (typeof item === 'string' && item !== '') return { name: item, config: {}, path };
  if (typeof item !== 'object' || item === null || Array.isArray(item)) {
    check.report(path, `is ${describe(item)}, expected { name: ..., config: ... }`);
    return { name: '', config: {}, path };
  }
  const fields = check.fields(item, path, ['name', 'config']);
  if (typeof fields['name'] !== 'string' || fields['name'] === '') {
    check.report([...path, 'name'], `is ${describe(fields['name'])}, expected a plugin's name`);
    return { name: '', config: {}, path };
  }
  const config = fields['config'] ?? {};
  if (typeof config !== 'object' || Array.isArray(config)) {
    check.report([...path, 'config'], `is ${describe(config)}, expected a mapping`);
    return { name: fields['name'], config: {}, path };
  }
  return { name: fields['name'], config: { ...config }, path };
}
