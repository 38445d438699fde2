/**
 * The runtimes of a cluster's nodes, for what is done to them from beside their agents: images, and the removal of what
 * outlives the lab. Which they are and how they are configured is told by what the agents put on record: the config of the
 * cluster may name others by now.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { lastingPlugins } from '../../kernel/composition/former-plugins.ts';
import type { Plugin, RuntimeOffline } from '../../kernel/contract/index.ts';
import { Catalogue } from '../../kernel/registry/catalogue.ts';
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
    const agent = join(nodes, node, 'agent');
    for (const { kind, name, config: options } of lastingPlugins(agent)) {
      if (kind !== 'runtime') continue;
      const plugin = (await catalogue.get(kind, name)?.plugin()) as Plugin<'runtime'> | undefined;
      if (plugin?.offline === undefined) continue;
      const offline = await plugin.offline({
        config: options as never,
        stateDir: join(agent, kind, name),
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
