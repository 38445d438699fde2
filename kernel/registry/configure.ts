import type { PluginChoice } from '../config/cluster-configuration.ts';
import type { ConfigIssue, ConfigPath } from '../config/config-issue.ts';
import { type Plugin, PintleError, type StandardIssue } from '../contract/index.ts';
import { describe, pluginId } from './plugin-shape.ts';
import { nearest, suggestion } from './nearest.ts';

/** Values that a program sets over the config file (command line flags), by "kind/name". */
export type Settings = Readonly<Record<string, Readonly<Record<string, unknown>>>>;

export type Configured =
  { readonly ok: true; readonly config: unknown } | { readonly ok: false; readonly issues: readonly ConfigIssue[] };

/** Validates one choice against the plugin's own schema. The issues' paths are those of the config file. */
export async function configure(plugin: Plugin, choice: PluginChoice, settings: Settings): Promise<Configured> {
  const set = settings[pluginId(plugin)] ?? {};
  const given = { ...choice.config, ...set };
  let result;
  try {
    result = await plugin.config['~standard'].validate(given);
  } catch (cause) {
    throw new PintleError('PLUGIN_INVALID', `${pluginId(plugin)}: its config schema threw; ask its author`, { cause });
  }
  if (typeof result !== 'object' || result === null)
    throw new PintleError('PLUGIN_INVALID', `${pluginId(plugin)}: its config schema returned ${describe(result)}`);
  if (result.issues === undefined) return { ok: true, config: result.value };
  const base: ConfigPath = [...(choice.path ?? ['plugins', 'use', plugin.kind]), 'config'];
  const place = (path: ConfigPath, message: string, part: 'key' | 'value'): ConfigIssue => {
    const issue = { path: [...base, ...path], message, part };
    if (Object.hasOwn(set, String(path[0]))) return { ...issue, source: 'command line' };
    return choice.path === undefined ? { ...issue, source: 'the default config' } : issue;
  };
  return { ok: false, issues: result.issues.flatMap((issue) => explain(plugin, given, issue, place)) };
}

type Place = (path: ConfigPath, message: string, part: 'key' | 'value') => ConfigIssue;

function explain(plugin: Plugin, config: unknown, issue: StandardIssue, place: Place): readonly ConfigIssue[] {
  const path = (issue.path ?? []).map((step) => {
    const key = typeof step === 'object' ? step.key : step;
    return typeof key === 'number' ? key : String(key);
  });
  // zod lists unknown keys, and the values that a choice has, beside the message
  const { keys, values } = issue as { readonly keys?: unknown; readonly values?: unknown };
  if (isStrings(keys) && keys.length > 0) {
    const known = knownKeys(plugin, path);
    return keys.map((key) => place([...path, key], `unknown key; ${suggestion(key, known)}`, 'key'));
  }
  const written = isStrings(values) ? valueAt(config, path) : undefined;
  const close = typeof written === 'string' ? nearest(written, values as readonly string[]) : undefined;
  return [place(path, `${issue.message}${close === undefined ? '' : `; did you mean \`${close}\`?`}`, 'value')];
}

const valueAt = (value: unknown, path: ConfigPath): unknown =>
  path.reduce<unknown>((at, step) => (at as Record<string | number, unknown> | undefined)?.[step], value);

const isStrings = (value: unknown): value is readonly string[] =>
  Array.isArray(value) && value.every((item) => typeof item === 'string');

/** The schema of a plugin's config as JSON Schema, when its library can say it. */
export function configJsonSchema(plugin: Plugin): Record<string, unknown> | undefined {
  try {
    return plugin.config['~standard'].jsonSchema?.input({ target: 'draft-2020-12' });
  } catch {
    return undefined;
  }
}

/** Property names at a path of the plugin's config; empty when its schema cannot say. */
function knownKeys(plugin: Plugin, path: ConfigPath): readonly string[] {
  let schema: unknown = configJsonSchema(plugin);
  for (const step of path) {
    if (typeof schema !== 'object' || schema === null) return [];
    const { properties, items, additionalProperties } = schema as Record<string, unknown>;
    if (typeof step === 'number') schema = items;
    else schema = (properties as Record<string, unknown> | undefined)?.[step] ?? additionalProperties;
  }
  return Object.keys((schema as { readonly properties?: object } | undefined)?.properties ?? {});
}
