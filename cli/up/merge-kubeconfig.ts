/** Adds the cluster to the user's own kubeconfig under the name "pintle", leaving everything else as it is. */
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { isMap, parse, parseDocument, YAMLSeq } from 'yaml';
import { PintleError } from '../../kernel/contract/errors.ts';

interface Kubeconfig {
  readonly clusters: readonly { readonly name: string; readonly cluster: unknown }[];
  readonly users: readonly { readonly name: string; readonly user: unknown }[];
}

const name = 'pintle';

export function userKubeconfig(env: NodeJS.ProcessEnv): string {
  const [first] = (env['KUBECONFIG'] ?? '').split(delimiter).filter(Boolean);
  return first ?? join(homedir(), '.kube', 'config');
}

/** Comments and order of the user's file are kept. Its current-context changes only when it has none. */
export function mergeKubeconfig(from: string, env: NodeJS.ProcessEnv): string {
  const own = parse(readFileSync(from, 'utf8')) as Kubeconfig;
  const target = userKubeconfig(env);
  const document = parseDocument(existsSync(target) ? readFileSync(target, 'utf8') : 'apiVersion: v1\nkind: Config\n');
  if (document.errors.length > 0) {
    throw new PintleError(
      'CONFIG_INVALID',
      `${target} is no valid YAML (${document.errors[0]!.message}); nothing was merged`,
    );
  }
  const entries = {
    clusters: { name, cluster: own.clusters[0]!.cluster },
    users: { name, user: own.users[0]!.user },
    contexts: { name, context: { cluster: name, user: name } },
  };
  for (const [key, entry] of Object.entries(entries)) {
    const existing = document.get(key);
    const list = existing instanceof YAMLSeq ? existing : new YAMLSeq();
    const at = list.items.findIndex((item) => isMap(item) && item.get('name') === name);
    const node = document.createNode(entry);
    if (at >= 0) list.items[at] = node;
    else list.items.push(node);
    document.set(key, list);
  }
  if (!document.get('current-context')) document.set('current-context', name);
  mkdirSync(dirname(target), { recursive: true, mode: 0o700 });
  writeFileSync(`${target}.pintle`, document.toString(), { mode: 0o600 });
  renameSync(`${target}.pintle`, target);
  return target;
}
