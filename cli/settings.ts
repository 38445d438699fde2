import type { ClusterConfiguration } from '../kernel/config/cluster-configuration.ts';
import type { Settings } from '../kernel/registry/configure.ts';

/** Of settings that nobody asked for by a flag: those whose plugin the config names at all. */
export function applicable(config: ClusterConfiguration, settings: Settings): Settings {
  const named = new Set(
    Object.entries(config.plugins.use).flatMap(([kind, choices]) => choices.map((choice) => `${kind}/${choice.name}`)),
  );
  return Object.fromEntries(Object.entries(settings).filter(([id]) => named.has(id)));
}
