/** Frames as they pass a link, headers and all: a packet socket in a node's namespace. */
import { closeSync } from 'node:fs';
import { libc } from '../../../netplugins/linux/libc.ts';
import { runInNetns } from '../../../netplugins/linux/namespaces.ts';
import { openRtnetlink } from '../../../netplugins/linux/rtnetlink.ts';
import { until, type Place } from './topology.ts';

const AF_PACKET = 17;
const SOCK_RAW = 3;
const MSG_DONTWAIT = 0x40;
const everyProtocol = 0x0003;

export class Wire {
  readonly #fd: number;

  constructor(t: { teardown(undo: () => unknown): void }, node: Place, link: string) {
    const links = openRtnetlink({ netns: node.netns });
    const index = links.getLink(link)?.index ?? 0;
    links.close();
    // struct sockaddr_ll: family, protocol in network order, index of the link; 20 bytes.
    const address = Buffer.alloc(20);
    address.writeUInt16LE(AF_PACKET, 0);
    address.writeUInt16BE(everyProtocol, 2);
    address.writeInt32LE(index, 4);
    this.#fd = runInNetns(node.netns, () => {
      const fd = libc().socket(AF_PACKET, SOCK_RAW, everyProtocol << 8);
      if (fd < 0 || libc().bind(fd, address, address.length) !== 0) throw new Error(`no packet socket on ${link}`);
      return fd;
    });
    t.teardown(() => closeSync(this.#fd));
  }

  /** The first frame from now on that `matches`. */
  async frame(what: string, matches: (frame: Buffer) => boolean): Promise<Buffer> {
    const buffer = Buffer.alloc(2_048);
    let found: Buffer | undefined;
    await until(what, () => {
      for (;;) {
        const length = libc().recv(this.#fd, buffer, buffer.length, MSG_DONTWAIT);
        if (length <= 0) return false;
        const frame = Buffer.from(buffer.subarray(0, length));
        if (!matches(frame)) continue;
        found = frame;
        return true;
      }
    });
    return found!;
  }
}
