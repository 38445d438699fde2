/** What the kernel of this network namespace has of Services, read past the proxy that put it there. */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { openIpvs } from '../../netplugins/linux/ipvs.ts';
import { isRefused } from '../../netplugins/linux/libc.ts';
import { attribute, nested, NETLINK_NETFILTER, NetlinkSocket } from '../../netplugins/linux/netlink-socket.ts';
import { NftElementWriter } from '../../netplugins/linux/nft-element-writer.ts';
import { tableName } from '../../netplugins/proxies/nftables/render-table.ts';

export interface KernelView {
  /** How many of the Services are there; expensive. */
  services(): number;
  /** How many endpoints a Service address has, port 80 of TCP. */
  endpoints(address: string): number;
}

const NFT_MSG_GETSETELEM = (10 << 8) | 13;
const AF_INET = 2;

/** The command would read the whole table first. */
function isInNftMap(socket: NetlinkSocket, map: string, key: string): boolean {
  const writer = new NftElementWriter();
  writer.add({ key, data: '' }, false);
  const where = [Buffer.from([AF_INET, 0, 0, 0]), attribute(1, tableName), attribute(2, map)];
  const body = Buffer.concat([...where, nested(3, writer.take())]);
  try {
    socket.request({ type: NFT_MSG_GETSETELEM, flags: 0, body, what: `Looking for ${key} in ${map}` });
    return true;
  } catch (error) {
    if (isRefused(error, 'ENOENT')) return false;
    throw error;
  }
}

function nftList(what: readonly string[]): string {
  return execFileSync('/usr/sbin/nft', ['list', ...what], { encoding: 'utf8', maxBuffer: 2 ** 28 });
}

export const kernelViews: Readonly<Record<string, KernelView>> = {
  ipvs: {
    services: () => (readFileSync('/proc/net/ip_vs', 'latin1').match(/^TCP /gm) ?? []).length,
    endpoints(address) {
      const ipvs = openIpvs();
      try {
        return ipvs.listDestinations({ protocol: 'tcp', address, port: 80 }).length;
      } finally {
        ipvs.close();
      }
    },
  },
  nftables: {
    services() {
      const rules = nftList(['chain', 'ip', tableName, 'nat-prerouting']);
      const [, generation] = /goto draw-([ab])/.exec(rules) ?? [];
      const elements = nftList(['map', 'ip', tableName, `slots-1-${generation}`]);
      return (elements.match(/ \. tcp \. 80 :/g) ?? []).length;
    },
    endpoints(address) {
      const socket = new NetlinkSocket(NETLINK_NETFILTER);
      try {
        const isThere = (slot: number): boolean =>
          ['a', 'b'].some((generation) => isInNftMap(socket, `slots-${slot}-${generation}`, `${address} . tcp . 80`));
        return [0, 1].filter(isThere).length;
      } finally {
        socket.close();
      }
    },
  },
};
