import type { PluginDefinition } from '../../../kernel/contract/plugin.ts';
import type { Store } from '../../../kernel/contract/store.ts';

/** A store plugin with another `watch`. */
export function withWatch<Config>(
  plugin: PluginDefinition<'store', Config, never>,
  watch: (store: Store) => Store['watch'],
): PluginDefinition<'store', Config, never> {
  return {
    ...plugin,
    start: async (context, signal) => {
      const store = await plugin.start(context, signal);
      return {
        get: (key) => store.get(key),
        list: (query) => store.list(query),
        commit: (changes) => store.commit(changes),
        watch: watch(store),
        compact: (revision) => store.compact(revision),
        status: () => store.status(),
        [Symbol.asyncDispose]: () => store[Symbol.asyncDispose](),
      };
    },
  };
}
