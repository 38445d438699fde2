/**
 * Wires the kernel's services and the plugin instances. The only file that talks to inversify: without decorators, every
 * service made by a factory that names its tokens. The container makes and hands out; it owns no life cycle (inversify
 * deactivates in binding order and stops at the first failure): that is registry/life-cycle.ts.
 */
import { Container } from 'inversify';
import { type Kind, type Kinds, type Need, PintleError, type Plugin } from '../contract/index.ts';
import { Catalogue } from '../registry/catalogue.ts';
import { kindFacts } from '../registry/kind-facts.ts';
import { LifeCycle } from '../registry/life-cycle.ts';
import { askOnce, choose, type PlanOptions, selectPlugins } from '../registry/plan.ts';
import { Report } from '../registry/report.ts';
import { startOrder } from '../registry/order.ts';
import { kindToken, type Overrides, tokens } from './tokens.ts';

export function kernelServices(overrides: Overrides): Container {
  const container = new Container({ defaultScope: 'Singleton' });
  const provided = new Set(Object.keys(overrides) as Kind[]);
  container.bind(tokens.report).toResolvedValue(() => new Report());
  container
    .bind(tokens.catalogue)
    .toResolvedValue(
      (builtIns, config) => Catalogue.open(builtIns, config.plugins.load, config.directory),
      [tokens.builtIns, tokens.config],
    );
  container.bind(tokens.planOptions).toResolvedValue(
    (config, catalogue, role, settings, report): PlanOptions => ({
      config,
      catalogue,
      role,
      settings,
      report,
      provided,
    }),
    [tokens.config, tokens.catalogue, tokens.role, tokens.settings, tokens.report],
  );
  container
    .bind(tokens.askHost)
    .toResolvedValue((host, config) => askOnce(host, config.cluster.podCidrs), [tokens.host, tokens.config]);
  container.bind(tokens.selection).toResolvedValue((options) => selectPlugins(options), [tokens.planOptions]);
  container
    .bind(tokens.plan)
    .toResolvedValue(
      async (selection, askHost, report, log) =>
        startOrder(await choose(selection, askHost, report, log.of('kernel')), provided),
      [tokens.selection, tokens.askHost, tokens.report, tokens.log],
    );
  container.bind(tokens.lifeCycleOptions).toResolvedValue(
    (clock, log, config, place) => ({
      clock,
      log: log.of('kernel'),
      logOf: (id: string) => log.of(id),
      cluster: config.cluster,
      ...place,
    }),
    [tokens.clock, tokens.log, tokens.config, tokens.place],
  );
  container
    .bind(tokens.lifeCycle)
    .toResolvedValue(
      (report, options) => new LifeCycle({ report, ...options }),
      [tokens.report, tokens.lifeCycleOptions],
    );
  for (const kind of provided) bindOverride(container, kind, overrides[kind]);
  return container;
}

function bindOverride<K extends Kind>(container: Container, kind: K, given: unknown): void {
  if (!kindFacts[kind].many) provide(container, kind, 'override', given as Kinds[K]);
  else for (const [name, instance] of given as ReadonlyMap<string, Kinds[K]>) provide(container, kind, name, instance);
}

/** Binds a running instance under the token of its kind. */
export function provide<K extends Kind>(container: Container, kind: K, name: string, instance: Kinds[K]): void {
  container.bind(kindToken(kind)).toConstantValue({ name, instance });
}

/** The instance of a kind, or for kinds with many all by name. Rejects with PLUGIN_NEED_MISSING when there is none. */
export function instanceOf<K extends Kind>(container: Container, kind: K): Need<K> {
  const bound = container.isBound(kindToken(kind));
  if (kindFacts[kind].many) {
    const all = bound ? container.getAll(kindToken(kind)) : [];
    return new Map(all.map(({ name, instance }) => [name, instance])) as unknown as Need<K>;
  }
  if (!bound)
    throw new PintleError('PLUGIN_NEED_MISSING', `no ${kind} runs in this process. Name one in plugins.use.${kind}`, {
      details: { kind },
    });
  return container.get(kindToken(kind)).instance as Need<K>;
}

/** What a plugin is handed: an instance for each kind it declared, and nothing else. */
export const usesOf = (container: Container, plugin: Plugin): object =>
  Object.freeze(Object.fromEntries((plugin.needs ?? []).map((kind) => [kind, instanceOf(container, kind)])));
