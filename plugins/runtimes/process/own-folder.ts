/** Which folder of the node is Pintle's own: containers of image `host` must not see its keys and records. */
import { basename, dirname } from 'node:path';

/**
 * From this plugin's folder AGENT/runtime/process (else only that folder): the folder of the cluster where AGENT is CLUSTER/nodes/NODE/agent, all
 * of /var/lib/pintle or STATE/pintle where it is below, else AGENT.
 */
export function ownFolder(stateDir: string): string {
  if (!stateDir.endsWith('/runtime/process')) return stateDir;
  const agent = dirname(dirname(stateDir));
  const nodes = dirname(dirname(agent));
  const cluster = basename(nodes) === 'nodes' ? dirname(nodes) : agent;
  const parts = cluster.split('/');
  const at = parts.findIndex((part, index) => part === 'pintle' && /^(lib|state)$/.test(parts[index - 1] ?? ''));
  return at < 0 ? cluster : parts.slice(0, at + 1).join('/');
}
