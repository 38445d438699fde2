import test from 'ava';
import type { ProxySpec } from './support/proxy-process.ts';
import { openHostedProxy } from './support/hosted-proxy.ts';
import { lockFile } from './support/iptables-place.ts';
import { killUnderLoad } from './support/kill-under-load.ts';
import { createProxyBedNetwork } from './support/proxy-bed.ts';

const specs: readonly (readonly [string, ProxySpec])[] = [
  ['nftables', { mode: 'nftables' }],
  ['iptables (nft)', { mode: 'iptables', backend: 'nft', lockFile }],
  ['iptables (legacy)', { mode: 'iptables', backend: 'legacy', lockFile }],
];

for (const [name, spec] of specs)
  test(`${name}: kill -9 at 1,000 connections a second fails none, and UDP flows keep their endpoints`, async (t) => {
    const network = await createProxyBedNetwork(t);
    await killUnderLoad(t, network, {
      open: () => openHostedProxy(network.one.node, spec),
      perSecond: 1_000,
      between: 100,
      rounds: [false, true, true],
      purge: async () => {
        const last = openHostedProxy(network.one.node, spec);
        await last.purge();
        await last[Symbol.asyncDispose]();
      },
    });
  });
