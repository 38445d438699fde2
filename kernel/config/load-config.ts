import { dirname, resolve } from 'node:path';
import { checkConfiguration } from './check-configuration.ts';
import type { ClusterConfiguration, ConfigDefaults } from './cluster-configuration.ts';
import { configError, type Locate } from './config-issue.ts';
import { parseYaml, readConfigText } from './yaml-source.ts';

/** Reads, checks and completes a config file. Rejects with CONFIG_INVALID that names every fault with its position. */
export async function loadConfig(file: string, defaults: ConfigDefaults): Promise<ClusterConfiguration> {
  return parseConfig(readConfigText(file), file, defaults);
}

/** `file` names the text in messages; modules are looked up beside it. */
export async function parseConfig(text: string, file: string, defaults: ConfigDefaults): Promise<ClusterConfiguration> {
  const { value, locate } = await parseYaml(text, file);
  return complete(value, file, dirname(resolve(file)), locate, defaults);
}

/** The config of a program that was given no file. */
export function defaultConfiguration(defaults: ConfigDefaults): ClusterConfiguration {
  const value = { apiVersion: 'pintle.dev/v1', kind: 'ClusterConfiguration' };
  return complete(value, 'the default config', process.cwd(), () => undefined, defaults);
}

function complete(
  value: unknown,
  origin: string,
  directory: string,
  locate: Locate,
  defaults: ConfigDefaults,
): ClusterConfiguration {
  const { checked, issues } = checkConfiguration(value, defaults);
  if (issues.length > 0) throw configError(issues, origin, locate);
  return { ...checked, origin, directory, locate };
}
