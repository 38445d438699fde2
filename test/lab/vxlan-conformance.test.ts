import test from 'ava';
import { overlayConformance } from '../../kernel/conformance/overlay.ts';
import { vtepMacOf } from '../../netplugins/overlays/vxlan/vxlan-overlay.ts';
import { openOverlay } from './support/cluster.ts';
import { overlayBed } from './support/overlay-bed.ts';
import { podCidr } from './support/topology.ts';

overlayConformance(test, {
  name: 'vxlan',
  capabilities: ['ipv4', 'ipv6', 'encapsulates'],
  open: (t) =>
    overlayBed(t, {
      shape: { overlay: 'vxlan' },
      open: openOverlay,
      damages: (other) => [
        ['device deleted', 'ip', 'link', 'del', 'flannel.1'],
        ['device down', 'ip', 'link', 'set', 'flannel.1', 'down'],
        ['MAC changed', 'ip', 'link', 'set', 'flannel.1', 'address', '02:00:00:00:00:99'],
        ['route deleted', 'ip', 'route', 'del', podCidr(other)],
        ['ARP entry deleted', 'ip', 'neighbour', 'del', podCidr(other).replace('/24', ''), 'dev', 'flannel.1'],
        ['FDB entry deleted', 'bridge', 'fdb', 'del', vtepMacOf(`node-${other}`, 2), 'dev', 'flannel.1', 'self'],
      ],
    }),
});
