import type { ClusterConfiguration } from '../kernel/config/cluster-configuration.ts';
import { defaultConfiguration, loadConfig } from '../kernel/config/load-config.ts';
import { defaults } from './default-config.ts';

/** The config file of `--config`, or the default config. */
export async function readConfig(file: string | undefined): Promise<ClusterConfiguration> {
  return file === undefined ? defaultConfiguration(defaults) : loadConfig(file, defaults);
}
