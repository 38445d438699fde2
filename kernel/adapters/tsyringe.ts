/**
 * For plugin authors who wire the parts of one plugin with tsyringe. The author hands in *their* container (two copies of
 * tsyringe do not know each other's classes), so nothing of tsyringe is loaded here.
 *
 *     start: async (context) => {
 *       const scope = withTsyringe(container, context);
 *       const policy = scope.container.resolve(LabelPolicy);
 *       return { filter: ..., score: ..., [Symbol.asyncDispose]: () => scope[Symbol.asyncDispose]() };
 *     }
 *
 * Each start gets a child container: register classes in it, or with `@injectable()` and `@scoped(Lifecycle.ContainerScoped)`.
 * `@singleton()`, `@registry()` and `@injectable({ token })` write to the global root, which two kernels would share.
 */
import type { DependencyContainer, InjectionToken } from 'tsyringe';
import type { Clock, ClusterFacts, Kind, Logger, Need, PluginContext } from '../contract/index.ts';

/** What the child container holds from the start: `@inject(pintleTokens.config)`. Needs are under `uses(kind)`. */
export const pintleTokens = {
  config: 'pintle.config',
  cluster: 'pintle.cluster' as InjectionToken<ClusterFacts>,
  log: 'pintle.log' as InjectionToken<Logger>,
  clock: 'pintle.clock' as InjectionToken<Clock>,
  stateDir: 'pintle.stateDir' as InjectionToken<string>,
  nodeName: 'pintle.nodeName' as InjectionToken<string | undefined>,
  uses: <K extends Kind>(kind: K): InjectionToken<Need<K>> => `pintle.uses.${kind}`,
} as const;

export interface TsyringeScope extends AsyncDisposable {
  readonly container: DependencyContainer;
}

/** A child of the author's container, seeded with the plugin's context. Disposing it disposes what it made, once. */
export function withTsyringe<Config, Needs extends Kind>(
  root: DependencyContainer,
  context: PluginContext<Config, Needs>,
): TsyringeScope {
  const container = root.createChildContainer();
  const seed = (token: InjectionToken<unknown>, value: unknown): void => {
    container.register(token, { useValue: value });
  };
  for (const key of ['config', 'cluster', 'log', 'clock', 'stateDir', 'nodeName'] as const)
    seed(pintleTokens[key], context[key]);
  for (const [kind, instance] of Object.entries(context.uses)) seed(pintleTokens.uses(kind as Kind), instance);
  let disposed: Promise<void> | undefined;
  return {
    container,
    [Symbol.asyncDispose]: () => (disposed ??= (async () => container.dispose())()),
  };
}
