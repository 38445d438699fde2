/** iptables on a test's node: the proxy under test and what it leaves. Owns a lock file of this process. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { IptablesBackend } from '../../../netplugins/linux/iptables.ts';
import type { IpFamily } from '../../../netplugins/linux/service-addresses.ts';
import { IptablesProxy } from '../../../netplugins/proxies/iptables/iptables-proxy.ts';
import { quiet, snapshot, type Place } from './topology.ts';

const folder = mkdtempSync(join(tmpdir(), 'pintle-xtables-'));
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));

/** The host's own is not touched. */
export const lockFile = join(folder, 'lock');
process.env['XTABLES_LOCKFILE'] = lockFile;

export function openIptablesProxy(
  node: Place,
  backend: IptablesBackend | 'auto' = 'nft',
  families: readonly IpFamily[] = ['ip', 'ip6'],
): IptablesProxy {
  return new IptablesProxy({
    families,
    backend,
    markBit: 12,
    log: quiet,
    clock: { now: () => Date.now() },
    netns: node.netns,
  });
}

export function runIptables(node: Place, ...argv: readonly string[]): string {
  return node.run('env', `XTABLES_LOCKFILE=${lockFile}`, ...argv);
}

/** Without counters, which are the kernel's. Legacy tables, once looked at, stay for the life of the namespace. */
export function iptablesTraces(node: Place): string {
  const legacy = ['iptables-legacy', 'ip6tables-legacy'].flatMap((command) =>
    ['filter', 'nat'].map((table) => `${command} -t ${table} -S`),
  );
  return `${snapshot(node)}\n${runIptables(node, 'sh', '-c', legacy.join(' && '))}`
    .replaceAll(/counter packets \d+ bytes \d+/g, 'counter')
    .replaceAll(/^# Warning.*\n/gm, '');
}
