import test from 'ava';
import { proxyConformance } from '../../kernel/conformance/proxy.ts';
import type { ProxyCapability } from '../../kernel/contract/index.ts';
import plugin from '../../netplugins/proxies/userspace/index.ts';
import { iptablesTraces, lockFile } from './support/iptables-place.ts';
import { openProxyBed } from './support/proxy-bed.ts';
import { openUserspaceProxy } from './support/hosted-proxy.ts';

const damages = {
  nft: [
    'nft flush ruleset',
    'nft delete table ip pintle-userspace',
    'nft flush map ip pintle-userspace inside',
    'nft flush chain ip pintle-userspace nat-output',
  ],
  iptables: [
    `env XTABLES_LOCKFILE=${lockFile} iptables-nft -t nat -F`,
    `env XTABLES_LOCKFILE=${lockFile} iptables-nft -t nat -D OUTPUT 1`,
    'nft flush ruleset',
  ],
};

for (const redirect of ['nft', 'iptables'] as const)
  proxyConformance(test, {
    name: `userspace (${redirect})`,
    capabilities: plugin.capabilities as readonly ProxyCapability[],
    open: (t) =>
      openProxyBed(t, {
        open: async (node) => openUserspaceProxy(node, redirect),
        damages: damages[redirect],
        traces: iptablesTraces,
      }),
  });
