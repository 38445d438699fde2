import test from 'ava';
import { overlayConformance } from '../../kernel/conformance/overlay.ts';
import { DataPathProcess } from '../../netplugins/overlays/flannel-udp/data-path-process.ts';
import { flannelUdpOptions, openFlannelUdp } from './support/cluster.ts';
import { overlayBed } from './support/overlay-bed.ts';
import type { Place } from './support/topology.ts';

async function killDataPath(node: Place, folder: string): Promise<void> {
  const found = await DataPathProcess.find(flannelUdpOptions(node, folder).stateDir);
  if (found === undefined) throw new Error('no data path runs');
  process.kill(found.hello.pid, 'SIGKILL');
  await found.ended;
}

for (const path of ['dgram', 'offload'] as const)
  overlayConformance(test, {
    name: `flannel-udp, path ${path}`,
    capabilities: ['ipv4', 'ipv6', 'encapsulates'],
    open: (t) =>
      overlayBed(t, {
        shape: { overlay: 'flannel-udp' },
        open: (node, folder) => openFlannelUdp(node, folder, { path }),
        owns: ['device', 'mtu', 'address', 'route', 'process'],
        damages: () => [
          ['device', 'deleted', 'device deleted', 'ip', 'link', 'del', 'flannel0'],
          ['device', 'changed', 'device down', 'ip', 'link', 'set', 'flannel0', 'down'],
          ['device', 'changed', 'forwarding off', 'sh', '-c', 'echo 0 >/proc/sys/net/ipv4/conf/flannel0/forwarding'],
          ['mtu', 'changed', 'MTU changed', 'ip', 'link', 'set', 'flannel0', 'mtu', '1300'],
          ['device', 'changed', 'device renamed', 'ip', 'link', 'set', 'flannel0', 'name', 'other0'],
          ['address', 'deleted', 'addresses removed', 'ip', 'address', 'flush', 'dev', 'flannel0'],
          ['address', 'changed', 'another address added', 'ip', 'address', 'add', '10.244.77.0/32', 'dev', 'flannel0'],
          ['route', 'deleted', 'local routes flushed', 'ip', 'route', 'flush', 'table', 'local', 'dev', 'flannel0'],
          ['route', 'deleted', 'route deleted', 'ip', 'route', 'del', '10.244.0.0/16'],
          ['route', 'changed', 'route turned', 'ip', 'route', 'replace', '10.244.0.0/16', 'via', '192.168.99.254'],
        ],
        further: (node, folder) => [
          { object: 'process', how: 'deleted', what: 'process killed', inflict: () => killDataPath(node, folder) },
        ],
      }),
  });
