/** Device features, through the ioctl of ethtool(8), which every kernel has. */
import { closeSync } from 'node:fs';
import { kernelRefused, libc } from './libc.ts';
import { runInNetns } from './namespaces.ts';

const AF_INET = 2;
const SOCK_DGRAM = 2;
const SOCK_CLOEXEC = 0o2000000;
const ETHTOOL_GTXCSUM = 0x16;
const ETHTOOL_STXCSUM = 0x17;
const ETHTOOL_STSO = 0x1f;
const ETHTOOL_SGSO = 0x24;
const ETHTOOL_SGRO = 0x2c;

function ethtool(device: string, command: number, value: number, netns: string | undefined): number {
  const call = (): number => {
    const fd = libc().socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) throw kernelRefused('Opening a socket for ethtool', libc().errno());
    try {
      const answer = libc().ethtool(fd, device, command, value);
      if (answer === undefined) throw kernelRefused(`Offloads of ${device}`, libc().errno());
      return answer;
    } finally {
      closeSync(fd);
    }
  };
  return netns === undefined ? call() : runInNetns(netns, call);
}

/** Whether the device leaves transmit checksums to hardware (for a vxlan: `tx-checksum-ip-generic`). */
export function hasTxChecksumOffload(device: string, options: { readonly netns?: string | undefined } = {}): boolean {
  return ethtool(device, ETHTOOL_GTXCSUM, 0, options.netns) !== 0;
}

/** Returns whether it had to be changed. */
export function setTxChecksumOffload(
  device: string,
  on: boolean,
  options: { readonly netns?: string | undefined } = {},
): boolean {
  if (hasTxChecksumOffload(device, options) === on) return false;
  ethtool(device, ETHTOOL_STXCSUM, on ? 1 : 0, options.netns);
  return true;
}

/** A large packet is cut by the device (tso), or before it (gso); what is received is put together (gro). */
const setters = { tso: ETHTOOL_STSO, gso: ETHTOOL_SGSO, gro: ETHTOOL_SGRO } as const;

export function setOffload(
  device: string,
  what: keyof typeof setters,
  on: boolean,
  options: { readonly netns?: string | undefined } = {},
): void {
  ethtool(device, setters[what], on ? 1 : 0, options.netns);
}

/** All of them: off, a device carries packets of its MTU. */
export function setSegmentationOffload(
  device: string,
  on: boolean,
  options: { readonly netns?: string | undefined } = {},
): void {
  for (const what of ['tso', 'gso', 'gro'] as const) setOffload(device, what, on, options);
}
