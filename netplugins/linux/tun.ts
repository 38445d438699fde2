/**
 * TUN devices: IP packets that the kernel routes to the device are read from its descriptor, and what is written to the
 * descriptor arrives from the device. Owns nothing: the device lives as long as a process holds a descriptor of it.
 */
import { closeSync, constants, openSync } from 'node:fs';
import { kernelRefused, libc } from './libc.ts';
import { runInNetns } from './namespaces.ts';

const device = '/dev/net/tun';
const TUNSETIFF = 0x400454ca;
const TUNSETOFFLOAD = 0x400454d0;
const IFF_TUN = 0x0001;
const IFF_MULTI_QUEUE = 0x0100;
const IFF_NO_PI = 0x1000;
const IFF_VNET_HDR = 0x4000;
const IFF_TUN_EXCL = 0x8000;

/** What the kernel may hand over undone: checksums and segmentation (TUN_F_*). */
export const tunOffloads = { checksum: 1, tso4: 2, tso6: 4, tsoEcn: 8, uso4: 0x20, uso6: 0x40 } as const;

export interface NewTun {
  readonly name: string;
  readonly netns?: string | undefined;
  /** Each packet carries a struct virtio_net_hdr (10 bytes) in front. */
  readonly vnetHeader?: boolean;
  /** Further queues may be opened, with `openTunQueue`. */
  readonly multiQueue?: boolean;
}

/** Makes the device and returns its descriptor, which does not block. One of that name must not exist. Throws KERNEL_REFUSED. */
export function createTun({ netns, ...tun }: NewTun): number {
  const make = (): number => open(tun, IFF_TUN_EXCL);
  return netns === undefined ? make() : runInNetns(netns, make);
}

/**
 * One more queue of a device that was made with `multiQueue`, in this process's network namespace. The kernel puts each flow
 * into one queue: that into which the flow's other direction is written.
 */
export function openTunQueue(name: string, vnetHeader: boolean): number {
  return open({ name, vnetHeader, multiQueue: true }, 0);
}

function open({ name, vnetHeader = false, multiQueue = false }: Omit<NewTun, 'netns'>, flags: number): number {
  let fd: number;
  try {
    fd = openSync(device, constants.O_RDWR | constants.O_NONBLOCK);
  } catch (error) {
    throw kernelRefused(`Opening ${device}`, -((error as NodeJS.ErrnoException).errno ?? 0), {
      advice: 'load the module (modprobe tun); in a container, hand the device in',
    });
  }
  // struct ifreq: 16 bytes of name, then the flags.
  const request = Buffer.alloc(40);
  request.write(name, 0, 15, 'latin1');
  const kind = IFF_TUN | IFF_NO_PI | (vnetHeader ? IFF_VNET_HDR : 0) | (multiQueue ? IFF_MULTI_QUEUE : 0);
  request.writeUInt16LE(kind | flags, 16);
  if (libc().ioctl(fd, TUNSETIFF, request) === 0) return fd;
  const errno = libc().errno();
  closeSync(fd);
  throw kernelRefused(`${flags === 0 ? 'Opening a queue of' : 'Creating'} TUN device ${name}`, errno);
}

/** Whether the kernel can leave all of `offloads` (bits of `tunOffloads`) to the reader. */
export function setTunOffloads(fd: number, offloads: number): boolean {
  return libc().ioctlNumber(fd, TUNSETOFFLOAD, offloads) === 0;
}
