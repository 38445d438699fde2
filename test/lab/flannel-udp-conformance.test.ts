import test from 'ava';
import { overlayConformance } from '../../kernel/conformance/overlay.ts';
import { openFlannelUdp } from './support/cluster.ts';
import { overlayBed } from './support/overlay-bed.ts';

for (const path of ['dgram', 'offload'] as const)
  overlayConformance(test, {
    name: `flannel-udp, path ${path}`,
    capabilities: ['ipv4', 'ipv6', 'encapsulates'],
    open: (t) =>
      overlayBed(t, {
        shape: { overlay: 'flannel-udp' },
        open: (node, folder) => openFlannelUdp(node, folder, { path }),
        damages: () => [
          ['device deleted', 'ip', 'link', 'del', 'flannel0'],
          ['device down', 'ip', 'link', 'set', 'flannel0', 'down'],
          ['MTU changed', 'ip', 'link', 'set', 'flannel0', 'mtu', '1300'],
          ['addresses removed', 'ip', 'address', 'flush', 'dev', 'flannel0'],
          ['route deleted', 'ip', 'route', 'del', '10.244.0.0/16'],
          ['route turned elsewhere', 'ip', 'route', 'replace', '10.244.0.0/16', 'via', '192.168.99.254'],
        ],
      }),
  });
