import { createRequire } from 'node:module';
import { readFileSync } from 'node:fs';
import { isAbsolute, join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { type Kind, type Plugin, PintleError, type Role } from '../contract/index.ts';
import { suggestion } from './nearest.ts';
import { checkPlugin, pluginId, roleOf } from './plugin-shape.ts';

/** A plugin that comes with the program: known by name before its code is loaded. */
export interface CatalogueEntry {
  readonly kind: Kind;
  readonly name: string;
  readonly summary: string;
  /** As the plugin's own `role`. Default: that of its kind. */
  readonly role?: Role;
  /** Imports the module whose default export is the plugin. */
  readonly load: () => Promise<{ readonly default: unknown }>;
}

export interface CatalogueItem {
  readonly kind: Kind;
  readonly name: string;
  readonly summary: string;
  readonly role: Role;
  /** "built-in", or the module of plugins.load. */
  readonly origin: string;
  plugin(): Promise<Plugin>;
}

/** Every plugin that can be named in a config file: built-ins, and the modules of `plugins.load`. */
export class Catalogue {
  readonly #items = new Map<string, CatalogueItem>();

  constructor(builtIns: readonly CatalogueEntry[]) {
    for (const entry of builtIns) this.#add(builtInItem(entry));
  }

  /** Imports `modules`; those that start with a dot are relative to `directory`, bare names are looked up from there. */
  static async open(
    builtIns: readonly CatalogueEntry[],
    modules: readonly string[],
    directory: string,
  ): Promise<Catalogue> {
    const catalogue = new Catalogue(builtIns);
    for (const module of modules)
      for (const plugin of await loadPlugins(module, directory)) {
        const { kind, name, summary } = plugin;
        catalogue.#add({ kind, name, summary, role: roleOf(plugin), origin: module, plugin: async () => plugin });
      }
    return catalogue;
  }

  items(): readonly CatalogueItem[] {
    return [...this.#items.values()];
  }

  names(kind: Kind): readonly string[] {
    return this.items().flatMap((item) => (item.kind === kind ? [item.name] : []));
  }

  get(kind: Kind, name: string): CatalogueItem | undefined {
    return this.#items.get(`${kind}/${name}`);
  }

  #add(item: CatalogueItem): void {
    const id = pluginId(item);
    const other = this.#items.get(id);
    if (other !== undefined)
      throw new PintleError(
        'PLUGIN_DUPLICATE',
        `${id} is claimed by ${other.origin} and by ${item.origin}. Take one of them out, or rename it`,
        { details: { origins: [other.origin, item.origin] } },
      );
    this.#items.set(id, item);
  }
}

/** A plugin that was named but does not exist: its message. */
export const unknownPlugin = (kind: Kind, name: string, catalogue: Catalogue): string =>
  `no ${kind} is named \`${name}\`; ${suggestion(name, catalogue.names(kind))}`;

function builtInItem(entry: CatalogueEntry): CatalogueItem {
  const { kind, name, summary } = entry;
  const id = pluginId(entry);
  const load = async (): Promise<Plugin> => {
    const plugin = checkPlugin((await importModule(entry.load, `built-in ${id}`)).default, `built-in ${id}`);
    if (pluginId(plugin) !== id || roleOf(plugin) !== roleOf(entry))
      throw new PintleError(
        'PLUGIN_INVALID',
        `built-in ${id} (role ${roleOf(entry)}) is ${pluginId(plugin)} (role ${roleOf(plugin)}) in its module; make them agree`,
      );
    return plugin;
  };
  let loaded: Promise<Plugin> | undefined;
  return { kind, name, summary, role: roleOf(entry), origin: 'built-in', plugin: () => (loaded ??= load()) };
}

async function loadPlugins(module: string, directory: string): Promise<readonly Plugin[]> {
  const exported = (await importModule(() => import(resolveModule(module, directory)), module)).default;
  const values: readonly unknown[] = Array.isArray(exported) ? exported : [exported];
  if (values.length === 0)
    throw new PintleError('PLUGIN_INVALID', `${module}: the default export is an empty list, expected plugins`);
  return values.map((value) => checkPlugin(value, module));
}

async function importModule(
  load: () => Promise<{ readonly default?: unknown }>,
  origin: string,
): Promise<{ readonly default?: unknown }> {
  try {
    return await load();
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new PintleError('PLUGIN_LOAD_FAILED', `${origin} could not be imported: ${reason}`, {
      details: { origin },
      cause,
    });
  }
}

function resolveModule(module: string, directory: string): string {
  if (module.startsWith('file:')) return module;
  if (module.startsWith('.') || isAbsolute(module)) return pathToFileURL(resolve(directory, module)).href;
  const require = createRequire(join(directory, 'pintle.yaml'));
  try {
    return pathToFileURL(require.resolve(module)).href;
  } catch (error) {
    // createRequire looks with the condition `require`; packages for `import` alone refuse it
    if ((error as NodeJS.ErrnoException).code !== 'ERR_PACKAGE_PATH_NOT_EXPORTED') throw error;
    return importTarget(module, require) ?? fail(error);
  }
}

function fail(error: unknown): never {
  throw error;
}

/** The file that a package's `exports` gives to `import` for its main entry. */
function importTarget(name: string, require: NodeJS.Require): string | undefined {
  for (const folder of require.resolve.paths(name) ?? []) {
    let manifest: { readonly exports?: unknown };
    try {
      manifest = JSON.parse(readFileSync(join(folder, name, 'package.json'), 'utf8')) as typeof manifest;
    } catch {
      continue;
    }
    const entries = manifest.exports as Record<string, unknown>;
    const target = condition(Object.hasOwn(entries, '.') ? entries['.'] : entries);
    return target === undefined ? undefined : pathToFileURL(join(folder, name, target)).href;
  }
  return undefined;
}

function condition(target: unknown): string | undefined {
  if (typeof target === 'string') return target;
  if (typeof target !== 'object' || target === null) return undefined;
  for (const [name, value] of Object.entries(target))
    if (name === 'import' || name === 'node' || name === 'default') {
      const found = condition(value);
      if (found !== undefined) return found;
    }
  return undefined;
}
