import test from 'ava';
import { overlayConformance } from '../../kernel/conformance/overlay.ts';
import { openHostGw } from './support/cluster.ts';
import { overlayBed } from './support/overlay-bed.ts';
import { nodeAddress, podCidr } from './support/topology.ts';

overlayConformance(test, {
  name: 'host-gw',
  capabilities: ['ipv4', 'ipv6'],
  open: (t) =>
    overlayBed(t, {
      shape: { overlay: 'host-gw' },
      open: openHostGw,
      damages: (other) => [
        ['route deleted', 'ip', 'route', 'del', podCidr(other)],
        ['route turned elsewhere', 'ip', 'route', 'replace', podCidr(other), 'via', '192.168.99.254'],
        ['route made a dead end', 'ip', 'route', 'replace', 'blackhole', podCidr(other)],
        [
          'route of another maker',
          'ip',
          'route',
          'replace',
          podCidr(other),
          'via',
          nodeAddress(other),
          'proto',
          'boot',
        ],
        ['link down for a moment', 'sh', '-c', 'ip link set eth0 down; ip link set eth0 up'],
      ],
    }),
});
