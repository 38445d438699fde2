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
      owns: ['device', 'mac', 'mtu', 'address', 'route', 'neighbour', 'fdb'],
      damages: (other) => {
        const gateway = podCidr(other).replace('/24', '');
        const mac = vtepMacOf(`node-${other}`, 2);
        const neighbour = ['ip', 'neighbour'];
        const fdb = ['bridge', 'fdb'];
        const onDevice = ['dev', 'flannel.1'];
        const wrongMac = '02:00:00:00:00:98';
        return [
          ['device', 'deleted', 'device deleted', 'ip', 'link', 'del', 'flannel.1'],
          ['device', 'changed', 'device down', 'ip', 'link', 'set', 'flannel.1', 'down'],
          [
            'device',
            'changed',
            'device of another VNI in its place',
            'sh',
            '-c',
            // By one process: another would start after the repair on a busy machine.
            'printf "link del flannel.1\\nlink add flannel.1 type vxlan id 7 dstport 8472 dev eth0\\n" | ip -batch -',
          ],
          ['device', 'changed', 'ARP off', 'ip', 'link', 'set', 'flannel.1', 'arp', 'off'],
          ['device', 'changed', 'forwarding off', 'sh', '-c', 'echo 0 >/proc/sys/net/ipv4/conf/flannel.1/forwarding'],
          ['mac', 'changed', 'MAC changed', 'ip', 'link', 'set', 'flannel.1', 'address', '02:00:00:00:00:99'],
          ['mtu', 'changed', 'MTU changed', 'ip', 'link', 'set', 'flannel.1', 'mtu', '1200'],
          ['address', 'deleted', 'addresses removed', 'ip', 'address', 'flush', ...onDevice],
          ['address', 'changed', 'another address added', 'ip', 'address', 'add', '10.244.77.0/32', ...onDevice],
          ['route', 'deleted', 'local routes flushed', 'ip', 'route', 'flush', 'table', 'local', ...onDevice],
          ['route', 'deleted', 'route deleted', 'ip', 'route', 'del', podCidr(other)],
          ['route', 'changed', 'route turned', 'ip', 'route', 'replace', podCidr(other), 'via', '192.168.99.254'],
          ['route', 'changed', 'route made a dead end', 'ip', 'route', 'replace', 'blackhole', podCidr(other)],
          [
            'route',
            'changed',
            'a further route',
            'ip',
            'route',
            'add',
            '10.244.77.0/24',
            'via',
            gateway,
            ...onDevice,
            'onlink',
          ],
          ['neighbour', 'deleted', 'ARP entry deleted', ...neighbour, 'del', gateway, ...onDevice],
          [
            'neighbour',
            'changed',
            'ARP entry turned',
            ...neighbour,
            'replace',
            gateway,
            'lladdr',
            wrongMac,
            ...onDevice,
            'nud',
            'permanent',
          ],
          [
            'neighbour',
            'changed',
            'ARP entry made to age',
            ...neighbour,
            'replace',
            gateway,
            'lladdr',
            mac,
            ...onDevice,
            'nud',
            'stale',
          ],
          ['fdb', 'deleted', 'FDB entry deleted', ...fdb, 'del', mac, ...onDevice, 'self'],
          [
            'fdb',
            'changed',
            'FDB entry turned',
            ...fdb,
            'replace',
            mac,
            ...onDevice,
            'dst',
            '192.168.99.77',
            'self',
            'permanent',
          ],
          [
            'fdb',
            'changed',
            'a default destination',
            ...fdb,
            'append',
            '00:00:00:00:00:00',
            ...onDevice,
            'dst',
            '192.168.99.77',
            'self',
            'permanent',
          ],
        ];
      },
    }),
});
