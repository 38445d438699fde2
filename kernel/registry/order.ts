import { type Kind, type Plugin, PintleError } from '../contract/index.ts';
import { kindFacts } from './kind-facts.ts';
import { pluginId } from './plugin-shape.ts';

/**
 * Depth-first by `needs`: what a plugin needs comes before it, otherwise the given order stays. `provided` kinds need no
 * plugin. Rejects with PLUGIN_NEED_MISSING or PLUGIN_CYCLE before anything is started.
 */
export function startOrder<T extends { readonly plugin: Plugin }>(
  chosen: readonly T[],
  provided: ReadonlySet<Kind> = new Set(),
): readonly T[] {
  const ordered: T[] = [];
  const done = new Set<T>();
  const visit = (item: T, path: readonly string[]): void => {
    if (done.has(item)) return;
    const id = pluginId(item.plugin);
    if (path.includes(id)) {
      const circle = [...path.slice(path.indexOf(id)), id];
      throw new PintleError('PLUGIN_CYCLE', `plugins need each other in a circle: ${circle.join(' -> ')}`, {
        details: { path: circle },
      });
    }
    for (const kind of item.plugin.needs ?? []) {
      if (provided.has(kind)) continue;
      const needed = chosen.filter((other) => other.plugin.kind === kind);
      if (needed.length === 0 && !kindFacts[kind].many)
        throw new PintleError(
          'PLUGIN_NEED_MISSING',
          `${id} needs a ${kind}, but none is chosen in this process. Name one in plugins.use.${kind}`,
          { details: { plugin: id, kind } },
        );
      for (const other of needed) visit(other, [...path, id]);
    }
    done.add(item);
    ordered.push(item);
  };
  for (const item of chosen) visit(item, []);
  return ordered;
}
