/**
 * A pair of virtual links through which the shortcut sends packets for something that only a link can do to them. The far end
 * is in a network namespace of this process's own, so that the pair is gone with the process.
 *
 * Owns the namespace, the pair, and the program that leads from the near end to the TUN device.
 */
import { closeSync, openSync } from 'node:fs';
import { loadPacketProgram } from '../../../linux/bpf.ts';
import { setOffload } from '../../../linux/ethtool.ts';
import { runInNetns, withScratchNetns } from '../../../linux/namespaces.ts';
import { openRtnetlink, type Rtnetlink } from '../../../linux/rtnetlink.ts';
import { writeSysctl } from '../../../linux/sysctl.ts';
import { backProgram, deliveryProgram } from './pair-programs.ts';
import { farMac } from './receiver-program.ts';

/** Of both ends, the same whenever it is made: the pair is seen by nobody else. Whatever the underlay passes has room. */
const near = { mac: '02:70:69:6e:00:01', mtu: 65_535 };
const far = { mac: farMac, mtu: 65_535 };

export interface OwnPair {
  /** Of the near end. */
  readonly name: string;
  /** Of the far end. */
  readonly farName: string;
  readonly queues?: number;
  /** Else they are cut on their way in. */
  readonly passesLarge: boolean;
  /** Index of the TUN device, as which the near end delivers what comes back. */
  readonly device: number;
  /** Called in the namespace of the far end, which it makes ready. Returns the link from which packets come back. */
  prepare(links: Rtnetlink, far: number): number;
}

/** Returns the index of the near end. Throws KERNEL_REFUSED. */
export function openOwnPair(pair: OwnPair): number {
  const links = openRtnetlink();
  try {
    // A predecessor's namespace is gone a moment after it.
    links.deleteLink(pair.name);
    return withScratchNetns((netns) => join(links, netns, pair));
  } catch (error) {
    links.deleteLink(pair.name);
    throw error;
  } finally {
    links.close();
  }
}

function join(
  links: Rtnetlink,
  netns: string,
  { name, farName, queues, passesLarge, device, prepare }: OwnPair,
): number {
  const several = queues === undefined ? {} : { queues };
  links.createVeth({ name, ...several, ...near, peer: { name: farName, ...far, netns } });
  writeSysctl(`net.ipv6.conf.${name}.disable_ipv6`, 1);
  setOffload(name, 'tso', passesLarge);
  runInNetns(netns, () => {
    const inside = openRtnetlink();
    try {
      const { index } = inside.getLink(farName)!;
      inside.setLink(index, { up: true });
      attach(inside, prepare(inside, index), 'back', backProgram(index));
    } finally {
      inside.close();
    }
  });
  const { index } = links.getLink(name)!;
  attach(links, index, 'delivery', deliveryProgram(index, device));
  links.setLink(index, { up: true });
  // The namespace lives as long as this process, which never closes this.
  openSync(netns, 'r');
  return index;
}

function attach(links: Rtnetlink, link: number, name: string, bytes: Buffer): void {
  const program = loadPacketProgram(name, bytes);
  try {
    links.attachProgram({ link, side: 'ingress', program, name });
  } finally {
    closeSync(program);
  }
}
