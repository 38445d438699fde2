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
      owns: ['route'],
      damages: (other) => [
        ['route', 'deleted', 'route deleted', 'ip', 'route', 'del', podCidr(other)],
        ['route', 'changed', 'route turned', 'ip', 'route', 'replace', podCidr(other), 'via', '192.168.99.254'],
        ['route', 'changed', 'route made a dead end', 'ip', 'route', 'replace', 'blackhole', podCidr(other)],
        [
          'route',
          'changed',
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
        [
          'route',
          'deleted',
          'link down for a moment',
          'sh',
          '-c',
          // What goes with it and is not the overlay's, of node 0.
          'ip link set eth0 down; ip link set eth0 up; ip route add default via 192.168.99.254 proto static; ' +
            'ip address add fd99::1/64 dev eth0 nodad; ip address add fe80::1/64 dev eth0 nodad',
        ],
      ],
    }),
});
