/**
 * The runtimes of a cluster's nodes, for what is done to them from beside their agents: images, and the removal of what
 * outlives the lab. Which they are is told by the folders that the agents made; how they are configured, by the config of
 * the cluster.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { PintleError } from '../../kernel/contract/errors.ts';
import type { Plugin, RuntimeOffline } from '../../kernel/contract/index.ts';
import { Catalogue } from '../../kernel/registry/catalogue.ts';
import { configure } from '../../kernel/registry/configure.ts';
import { builtIns } from '../built-ins.ts';
import { readConfig } from '../read-config.ts';
import { clusterFiles } from './cluster-files.ts';

export interface NodeRuntime {
  readonly node: string;
  /** Name of the plugin. */
  readonly name: string;
  readonly offline: RuntimeOffline & AsyncDisposable;
}

/** Opened one after the other, and closed when the next one is asked for. Runtimes that leave nothing are passed over. */
export async function* nodeRuntimes(folder: string): AsyncGenerator<NodeRuntime> {
  const nodes = join(folder, 'nodes');
  const config = await clusterConfig(folder);
  const catalogue = await Catalogue.open(builtIns, config.plugins.load, config.directory);
  for (const node of existsSync(nodes) ? readdirSync(nodes).sort() : []) {
    const runtimes = join(nodes, node, 'agent', 'runtime');
    for (const name of existsSync(runtimes) ? readdirSync(runtimes) : []) {
      const plugin = (await catalogue.get('runtime', name)?.plugin()) as Plugin<'runtime'> | undefined;
      if (plugin?.offline === undefined) continue;
      const choice = config.plugins.use.runtime.find((one) => one.name === name) ?? { name, config: {} };
      const configured = await configure(plugin as Plugin, choice, {});
      if (!configured.ok)
        throw new PintleError(
          'CONFIG_INVALID',
          `runtime/${name}: its config has changed since the cluster was started`,
        );
      const offline = await plugin.offline({
        config: configured.config as never,
        stateDir: join(runtimes, name),
        nodeName: node,
      });
      try {
        yield { node, name, offline };
      } finally {
        await offline[Symbol.asyncDispose]();
      }
    }
  }
}

/** Removes what the runtimes of a cluster leave outside of its lab and its folder. */
export async function purgeRuntimes(folder: string): Promise<void> {
  for await (const { offline } of nodeRuntimes(folder)) await offline.purge();
}

/** The config file that the cluster was started with, as it is now. */
async function clusterConfig(folder: string): ReturnType<typeof readConfig> {
  const { plan } = clusterFiles(folder);
  if (!existsSync(plan)) return readConfig(undefined);
  const { flags } = JSON.parse(readFileSync(plan, 'utf8')) as { readonly flags: readonly string[] };
  const at = flags.indexOf('--config');
  const file = at < 0 ? undefined : flags[at + 1];
  return readConfig(file !== undefined && existsSync(file) ? file : undefined);
}
