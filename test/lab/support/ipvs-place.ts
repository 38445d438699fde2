/** IPVS on a test's node: the proxy under test and what it leaves. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { IptablesBackend } from '../../../netplugins/linux/iptables.ts';
import { IpvsProxy, type IpvsProxyOptions } from '../../../netplugins/proxies/ipvs/ipvs-proxy.ts';
import { iptablesTraces } from './iptables-place.ts';
import { quiet, type Place } from './topology.ts';

const folder = mkdtempSync(join(tmpdir(), 'pintle-ipvs-'));
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));

export function openIpvsProxy(
  node: Place,
  backend: IptablesBackend | 'auto' = 'nft',
  change: Partial<IpvsProxyOptions> = {},
): IpvsProxy {
  return new IpvsProxy({
    families: ['ip', 'ip6'],
    backend,
    device: 'kube-ipvs0',
    scheduler: 'rr',
    affinityScheduler: 'mh',
    markBit: 12,
    stateDir: join(folder, node.netns.replaceAll('/', '-')),
    log: quiet,
    clock: { now: () => Date.now() },
    netns: node.netns,
    ...change,
  });
}

/** Without the numbers of connections, and of the rule counters, which are the kernel's. */
export function ipvsTraces(node: Place, look: (node: Place) => string = iptablesTraces): string {
  const services = node.run('cat', '/proc/net/ip_vs').replaceAll(/ +\d+ +\d+ *$/gm, '');
  const sets = node
    .run('ipset', 'save')
    .split('\n')
    .sort()
    .join('\n')
    .replaceAll(/ initval \S+/g, '');
  const settings = node.run('grep', '-r', '.', '/proc/sys/net/ipv4/vs');
  return `${look(node)}\n${services}\n${sets}\n${settings}`;
}
