/** Who listens in a network namespace: /proc/net/tcp and its kin (Documentation/networking/proc_net_tcp.rst). */
import { readFileSync } from 'node:fs';
import { canonicalIp, formatIp } from '../ip-address.ts';
import { runInNetns } from '../namespaces.ts';

export interface ListeningSocket {
  readonly address: string;
  readonly port: number;
}

const tcpListen = '0A';
/** An unconnected UDP socket. */
const udpBound = '07';

export function listeningSockets(protocol: 'TCP' | 'UDP', netns?: string): readonly ListeningSocket[] {
  const name = protocol.toLowerCase();
  const read = () =>
    [name, `${name}6`].map((file) => {
      try {
        return readFileSync(`/proc/thread-self/net/${file}`, 'latin1');
      } catch {
        // No IPv6 in this kernel.
        return '';
      }
    });
  return (netns === undefined ? read() : runInNetns(netns, read)).flatMap((text) => parse(text, protocol));
}

export function parse(text: string, protocol: 'TCP' | 'UDP'): readonly ListeningSocket[] {
  const wanted = protocol === 'TCP' ? tcpListen : udpBound;
  return text
    .split('\n')
    .slice(1)
    .flatMap((line) => {
      const [, local = '', , state] = line.trim().split(/\s+/);
      const [address = '', port = ''] = local.split(':');
      return state === wanted ? [{ address: addressOf(address), port: Number.parseInt(port, 16) }] : [];
    });
}

/** 32-bit words in the machine's byte order (little-endian on all that Node runs on here). */
function addressOf(hex: string): string {
  const bytes = Buffer.from(hex, 'hex');
  bytes.swap32();
  const isMapped = bytes.length === 16 && bytes.readBigUInt64BE(0) === 0n && bytes.readUInt32BE(8) === 0xffff;
  return canonicalIp(formatIp(isMapped ? bytes.subarray(12) : bytes));
}

/** Whether a packet to `address` meets such a socket. */
export function accepts(socket: ListeningSocket, address: string, port: number): boolean {
  return socket.port === port && ['0.0.0.0', '::', canonicalIp(address)].includes(socket.address);
}
