import { type Kind, type Plugin, PintleError, type Role } from '../contract/index.ts';
import { isKind, kindFacts, kinds } from './kind-facts.ts';

const roles: readonly Role[] = ['server', 'node', 'any'];
const namePattern = /^[a-z0-9]+(-[a-z0-9]+)*$/;

export const pluginId = (plugin: { readonly kind: Kind; readonly name: string }): string =>
  `${plugin.kind}/${plugin.name}`;

export const roleOf = (plugin: { readonly kind: Kind; readonly role?: Role | undefined }): Role =>
  plugin.role ?? kindFacts[plugin.kind].role;

/** Checks that a foreign value is a plugin; `origin` says where it came from. Rejects with PLUGIN_INVALID. */
export function checkPlugin(value: unknown, origin: string): Plugin {
  const refuse = (what: string): never => {
    throw new PintleError('PLUGIN_INVALID', `${origin}: ${what}. Ask its author, or take it out of plugins.load`, {
      details: { origin },
    });
  };
  if (typeof value !== 'object' || value === null)
    return refuse(`the default export is ${describe(value)}, expected what definePlugin returns, or an array of it`);
  const plugin = value as Record<string, unknown>;
  if (!isKind(plugin['kind']))
    return refuse(`kind is ${describe(plugin['kind'])}, expected one of ${kinds.join(', ')}`);
  if (typeof plugin['name'] !== 'string' || !namePattern.test(plugin['name']) || plugin['name'] === 'defaults')
    return refuse(`name is ${describe(plugin['name'])}, expected kebab-case letters and digits`);
  const id = `${plugin['kind']}/${plugin['name']}`;
  if (plugin['api'] !== 1) return refuse(`${id} has api ${describe(plugin['api'])}, this Pintle speaks api 1`);
  if (typeof plugin['summary'] !== 'string') return refuse(`${id} has no summary`);
  if (typeof plugin['start'] !== 'function') return refuse(`${id} has no function start`);
  if (plugin['preflight'] !== undefined && typeof plugin['preflight'] !== 'function')
    return refuse(`${id}: preflight is ${describe(plugin['preflight'])}, expected a function`);
  if (plugin['role'] !== undefined && !roles.includes(plugin['role'] as Role))
    return refuse(`${id}: role is ${describe(plugin['role'])}, expected one of ${roles.join(', ')}`);
  for (const list of ['needs', 'capabilities'] as const) {
    const entries = plugin[list];
    if (entries !== undefined && !(Array.isArray(entries) && entries.every((entry) => typeof entry === 'string')))
      return refuse(`${id}: ${list} is ${describe(entries)}, expected an array of strings`);
  }
  for (const need of (plugin['needs'] ?? []) as readonly string[])
    if (!isKind(need)) return refuse(`${id} needs ${describe(need)}, expected kinds: ${kinds.join(', ')}`);
  const deadline = plugin['startDeadlineMs'];
  if (deadline !== undefined && !(typeof deadline === 'number' && deadline > 0 && deadline <= 2 ** 31 - 1))
    return refuse(`${id}: startDeadlineMs is ${describe(deadline)}, expected milliseconds above 0`);
  if (!isStandardSchema(plugin['config']))
    return refuse(`${id}: config is ${describe(plugin['config'])}, expected a Standard Schema (zod, valibot, arktype)`);
  return value as Plugin;
}

/** What is wrong with the value that `start` resolved to, or undefined when it has the verbs of its kind. */
export function instanceFault(kind: Kind, value: unknown): string | undefined {
  if (typeof value !== 'object' || value === null) return `start resolved to ${describe(value)}, expected an object`;
  const instance = value as Record<PropertyKey, unknown>;
  const missing = kindFacts[kind].verbs.filter((verb) => typeof instance[verb] !== 'function');
  if (typeof instance[Symbol.asyncDispose] !== 'function') missing.push('[Symbol.asyncDispose]');
  return missing.length === 0
    ? undefined
    : `start resolved to an object without ${missing.map((v) => `${v}()`).join(', ')}`;
}

/** A foreign value in a few words, never its whole content. */
export function describe(value: unknown): string {
  if (value === undefined) return 'missing';
  if (value === null) return 'null';
  if (typeof value === 'string') return JSON.stringify(value.length > 80 ? `${value.slice(0, 80)}...` : value);
  if (Array.isArray(value)) return 'a list';
  if (typeof value === 'object') return 'an object';
  if (typeof value === 'function') return 'a function';
  return String(value);
}

function isStandardSchema(value: unknown): boolean {
  // arktype's schemas are functions
  if ((typeof value !== 'object' && typeof value !== 'function') || value === null) return false;
  const standard = (value as Record<string, unknown>)['~standard'];
  return (
    typeof standard === 'object' &&
    standard !== null &&
    (standard as Record<string, unknown>)['version'] === 1 &&
    typeof (standard as Record<string, unknown>)['validate'] === 'function'
  );
}
