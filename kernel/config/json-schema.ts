import type { Kind, Plugin } from '../contract/index.ts';
import { configJsonSchema } from '../registry/configure.ts';
import { kindFacts, kinds } from '../registry/kind-facts.ts';
import { defaultsItem } from './check-configuration.ts';
import { apiVersion, type ClusterSection, configKind } from './cluster-configuration.ts';

type Schema = Readonly<Record<string, unknown>>;

const strict = (properties: Readonly<Record<string, Schema>>, required: readonly string[] = []): Schema => ({
  type: 'object',
  properties,
  additionalProperties: false,
  ...(required.length === 0 ? {} : { required }),
});

/** The config file's JSON Schema for editors, with the config of each given plugin. */
export function configurationJsonSchema(plugins: readonly Plugin[], defaults: ClusterSection): Schema {
  const strings = (description: string, standard: readonly string[]): Schema => ({
    type: 'array',
    items: { type: 'string' },
    description,
    default: standard,
  });
  const use = Object.fromEntries(kinds.map((kind) => [kind, choicesSchema(kind, plugins)]));
  return {
    $schema: 'https://json-schema.org/draft/2020-12/schema',
    title: `Pintle ${configKind}`,
    ...strict(
      {
        apiVersion: { const: apiVersion },
        kind: { const: configKind },
        cluster: strict({
          podCidrs: strings('Ranges of pod addresses, one a family', defaults.podCidrs),
          serviceCidrs: strings('Ranges of Service addresses, one a family', defaults.serviceCidrs),
          dnsDomain: { type: 'string', description: 'Domain of the cluster', default: defaults.dnsDomain },
          dnsServiceIp: { type: 'string', description: 'Address of the DNS service', default: defaults.dnsServiceIp },
          nodes: { type: 'integer', minimum: 0, maximum: 5000, default: defaults.nodes },
        }),
        plugins: strict({
          load: strings('Modules with plugins: paths relative to this file, or package names', []),
          use: { ...strict(use), description: 'Which plugins run. A kind that is not named keeps its default' },
        }),
      },
      ['apiVersion', 'kind'],
    ),
  };
}

function choicesSchema(kind: Kind, plugins: readonly Plugin[]): Schema {
  const own = plugins.filter((plugin) => plugin.kind === kind);
  const named = own.map((plugin) =>
    strict({ name: { const: plugin.name, description: plugin.summary }, config: configOf(plugin) }, ['name']),
  );
  // plugins of plugins.load are known to the program alone: any other name, any config
  const otherName = { type: 'string', pattern: `^(?!(?:${own.map((plugin) => plugin.name).join('|')})$)` };
  const foreign = strict({ name: otherName, config: { type: 'object' } }, ['name']);
  const choice = { anyOf: [...named, foreign, { type: 'string', description: 'A name, with the default config' }] };
  const { many } = kindFacts[kind];
  return {
    description: many
      ? `The set that runs. "${defaultsItem}" stands for the default set`
      : 'The one that runs; a list is an order of preference',
    anyOf: [choice, { type: 'array', items: choice }],
  };
}

function configOf(plugin: Plugin): Schema {
  const { $schema: _, ...schema } = configJsonSchema(plugin) ?? { type: 'object' };
  return schema;
}
