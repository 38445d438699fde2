import type { Plugin } from '../kernel/contract/index.ts';
import { Catalogue } from '../kernel/registry/catalogue.ts';
import { builtIns } from './built-ins.ts';

/** Loads every built-in. */
export async function builtInPlugins(): Promise<readonly Plugin[]> {
  return Promise.all(new Catalogue(builtIns).items().map((item) => item.plugin()));
}
