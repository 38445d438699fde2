/** /etc/hosts and /etc/resolv.conf of a pod. */
import { readFileSync } from 'node:fs';
import type { Pod } from '../../../kernel/contract/kubernetes.ts';

export interface DnsSettings {
  readonly clusterDomain: string;
  /** Address of the cluster's DNS Service. */
  readonly servers: readonly string[];
}

export function etcHosts(pod: Pod, podIps: readonly string[], clusterDomain: string): string {
  const host = pod.spec.hostname ?? pod.metadata.name;
  const lines = [
    '# Kubernetes-managed hosts file.',
    '127.0.0.1\tlocalhost',
    '::1\tlocalhost ip6-localhost ip6-loopback',
    'fe00::0\tip6-localnet',
    'fe00::0\tip6-mcastprefix',
    'fe00::1\tip6-allnodes',
    'fe00::2\tip6-allrouters',
  ];
  for (const ip of podIps) {
    const name = pod.spec.subdomain
      ? `${host}.${pod.spec.subdomain}.${pod.metadata.namespace}.svc.${clusterDomain}\t${host}`
      : host;
    lines.push(`${ip}\t${name}`);
  }
  if (pod.spec.hostAliases?.length) {
    lines.push('', '# Entries added by HostAliases.');
    for (const alias of pod.spec.hostAliases) lines.push(`${alias.ip}\t${(alias.hostnames ?? []).join('\t')}`);
  }
  return `${lines.join('\n')}\n`;
}

function render(servers: readonly string[], searches: readonly string[], options: readonly string[]): string {
  const lines: string[] = [];
  if (searches.length > 0) lines.push(`search ${searches.join(' ')}`);
  for (const server of servers) lines.push(`nameserver ${server}`);
  if (options.length > 0) lines.push(`options ${options.join(' ')}`);
  return `${lines.join('\n')}\n`;
}

function parse(text: string) {
  const servers: string[] = [];
  let searches: string[] = [];
  let options: string[] = [];
  for (const line of text.split('\n')) {
    const [word, ...rest] = line.trim().split(/\s+/);
    if (word === 'nameserver' && rest[0]) servers.push(rest[0]);
    else if (word === 'search') searches = rest;
    else if (word === 'options') options = rest;
  }
  return { servers, searches, options };
}

/** By spec.dnsPolicy (ClusterFirst, ClusterFirstWithHostNet, Default, None) and spec.dnsConfig. */
export function dnsConfig(pod: Pod, dns: DnsSettings, hostFile = '/etc/resolv.conf'): string {
  let text = '';
  try {
    text = readFileSync(hostFile, 'utf8');
  } catch {
    // A host without the file has no resolver to pass on.
  }
  const host = parse(text);
  const policy = pod.spec.dnsPolicy ?? 'ClusterFirst';
  const isCluster = policy === 'ClusterFirstWithHostNet' || (policy === 'ClusterFirst' && !pod.spec.hostNetwork);
  const domain = dns.clusterDomain;
  const base =
    policy === 'None'
      ? { servers: [], searches: [], options: [] }
      : isCluster
        ? {
            servers: dns.servers,
            searches: [`${pod.metadata.namespace}.svc.${domain}`, `svc.${domain}`, domain, ...host.searches],
            options: ['ndots:5'],
          }
        : host;
  const more = pod.spec.dnsConfig;
  const options = new Map<string, string>();
  for (const option of base.options) options.set(option.split(':')[0]!, option);
  for (const option of more?.options ?? []) {
    options.set(option.name ?? '', option.value === undefined ? (option.name ?? '') : `${option.name}:${option.value}`);
  }
  return render(
    [...new Set([...base.servers, ...(more?.nameservers ?? [])])].slice(0, 3),
    [...new Set([...base.searches, ...(more?.searches ?? [])])].slice(0, 32),
    [...options.values()],
  );
}
