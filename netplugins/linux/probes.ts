/**
 * What this kernel and host can do, found by trying it in a scratch network namespace that vanishes with the probe: no
 * effect on the host.
 */
import { closeSync, openSync } from 'node:fs';
import { isPintleError } from '../../kernel/contract/index.ts';
import { runInNetns, withScratchNetns } from './namespaces.ts';
import { nftTransaction } from './nft.ts';
import { openRtnetlink, type Rtnetlink } from './rtnetlink.ts';
import { createTun, setTunOffloads, tunOffloads } from './tun.ts';

/** Undefined: works. Otherwise the reason why not. */
export type Probe = string | undefined;

function tryLinks(attempt: (links: Rtnetlink) => void): Probe {
  try {
    withScratchNetns((path) => {
      const links = openRtnetlink({ netns: path });
      try {
        attempt(links);
      } finally {
        links.close();
      }
    });
    return undefined;
  } catch (error) {
    return reasonOf(error);
  }
}

export function probeVxlan(): Probe {
  return tryLinks((links) => links.createVxlan({ name: 'probe', vni: 1, port: 8472 }));
}

export function probeRoutes(): Probe {
  return tryLinks((links) => {
    const lo = links.getLink('lo')?.index ?? 0;
    links.setLink(lo, { up: true });
    links.replaceRoute({ destination: '10.244.1.0/24', link: lo });
  });
}

export function probeVeth(): Probe {
  return tryLinks((links) => links.createVeth({ name: 'probe-a', peer: { name: 'probe-b' } }));
}

export function probeBridge(): Probe {
  return tryLinks((links) => {
    links.createBridge({ name: 'probe' });
    links.createVeth({ name: 'probe-a', peer: { name: 'probe-b' } });
  });
}

/** What CNI's plugin `bandwidth` holds a pod's packets back with. */
export function probeIfb(): Probe {
  return tryLinks((links) => links.createIfb({ name: 'probe' }));
}

export function probeTun(): Probe {
  try {
    withScratchNetns((netns) => closeSync(createTun({ name: 'probe', netns })));
    return undefined;
  } catch (error) {
    return reasonOf(error);
  }
}

/** Whether a TUN device can hand over packets with their segmentation and checksums undone. */
export function probeTunOffload(): Probe {
  try {
    return withScratchNetns((netns) => {
      const tun = createTun({ name: 'probe', netns, vnetHeader: true });
      try {
        const { checksum, tso4, tso6 } = tunOffloads;
        return setTunOffloads(tun, checksum | tso4 | tso6)
          ? undefined
          : 'TUN devices do not segment here (TUNSETOFFLOAD)';
      } finally {
        closeSync(tun);
      }
    });
  } catch (error) {
    return reasonOf(error);
  }
}

/** Loads `rules` with nft in a scratch namespace. */
export async function probeNft(rules: string): Promise<Probe> {
  let fd: number;
  try {
    fd = withScratchNetns((path) => openSync(path, 'r'));
  } catch (error) {
    return reasonOf(error);
  }
  try {
    const netns = `/proc/self/fd/${fd}`;
    runInNetns(netns, () => undefined);
    await nftTransaction(rules, { netns });
    return undefined;
  } catch (error) {
    return reasonOf(error);
  } finally {
    closeSync(fd);
  }
}

function reasonOf(error: unknown): string {
  return isPintleError(error) || error instanceof Error ? error.message : String(error);
}
