/**
 * A large packet that passes the underlay whole, from one virtual link to the next, still bears the mark of a tunnel that its
 * sender's kernel gave it. No BPF program can take it off, and a bridge cuts whatever bears it, in software. Where pods are
 * on a bridge, such packets go through a tunnel of the kernel's own, which does: as VXLAN, to a device in a namespace where
 * nothing else is.
 *
 *     underlay -> receiver: as VXLAN -> flannel0-whole ~~~ far end -> vxlan -> (redirect_peer) flannel0-whole -> flannel0
 */
import { tunnelName } from '../own-links.ts';
import { openOwnPair } from './own-pair.ts';
import { wrapping } from './receiver-program.ts';

const farName = 'whole';
const device = 'tunnel';

/** Delivers to the link `to`. Returns the index of the end in the node's namespace. Throws KERNEL_REFUSED. */
export function openTunnelLink(to: number): number {
  return openOwnPair({
    ...{ name: tunnelName, farName, device: to, passesLarge: true },
    prepare(links, far) {
      links.addAddress(far, `${wrapping.to}/30`);
      links.createVxlan({ name: device, vni: wrapping.vni, port: wrapping.port, mac: wrapping.mac });
      const { index } = links.getLink(device)!;
      links.setLink(index, { up: true });
      return index;
    },
  });
}
