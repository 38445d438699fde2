import type { CatalogueEntry } from '../../../kernel/registry/catalogue.ts';
import { kindFacts } from '../../../kernel/registry/kind-facts.ts';
import type { ClusterConfiguration, ConfigDefaults } from '../../../kernel/config/cluster-configuration.ts';
import { parseConfig } from '../../../kernel/config/load-config.ts';
import { type Host, type Kind, type Plugin, type PluginContext, type Role } from '../../../kernel/contract/index.ts';
import { z } from 'zod';

/** An object with every verb of a kind, none of which does anything. */
export const instanceOfKind = (kind: Kind, dispose: () => unknown = () => undefined): object => ({
  ...Object.fromEntries(kindFacts[kind].verbs.map((verb) => [verb, () => undefined])),
  [Symbol.asyncDispose]: async () => dispose(),
});

export interface FakeOptions {
  readonly role?: Role;
  readonly needs?: readonly Kind[];
  readonly config?: z.ZodType;
  readonly startDeadlineMs?: number;
  readonly preflight?: (host: Host, config: unknown) => unknown;
  /** What start resolves to; default: an instance with all verbs. */
  readonly start?: (context: PluginContext<never, Kind>, signal: AbortSignal) => unknown;
  readonly dispose?: () => unknown;
}

/** A plugin that writes what happens to it into `journal`. */
export function fakePlugin(kind: Kind, name: string, journal: string[], options: FakeOptions = {}): Plugin {
  const { start, dispose, config = z.strictObject({}), ...rest } = options;
  return {
    kind,
    name,
    api: 1,
    summary: `fake ${name}`,
    config,
    ...rest,
    start: async (context: PluginContext<never, Kind>, signal: AbortSignal) => {
      journal.push(`start ${kind}/${name}`);
      if (start !== undefined) return start(context, signal);
      return instanceOfKind(kind, () => {
        journal.push(`stop ${kind}/${name}`);
        return dispose?.();
      });
    },
  } as unknown as Plugin;
}

export const entryOf = (plugin: Plugin): CatalogueEntry => ({
  kind: plugin.kind,
  name: plugin.name,
  summary: plugin.summary,
  ...(plugin.role === undefined ? {} : { role: plugin.role }),
  load: async () => ({ default: plugin }),
});

export const noDefaults: ConfigDefaults = {
  cluster: {
    podCidrs: ['10.244.0.0/16'],
    serviceCidrs: ['10.96.0.0/12'],
    dnsDomain: 'cluster.local',
    dnsServiceIp: '10.96.0.10',
    nodes: 3,
  },
  use: {
    store: [],
    cluster: [],
    scheduler: [],
    controller: [],
    runtime: [],
    attachment: [],
    overlay: [],
    proxy: [],
    volume: [],
    component: [],
  },
};

/** A config whose `plugins.use` is the given YAML flow mapping. */
export const configUsing = (use: string, defaults: ConfigDefaults = noDefaults): Promise<ClusterConfiguration> =>
  parseConfig(
    `apiVersion: pintle.dev/v1\nkind: ClusterConfiguration\nplugins:\n  use: ${use}\n`,
    'cluster.yaml',
    defaults,
  );
