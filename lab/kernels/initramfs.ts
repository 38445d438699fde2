/**
 * The first root of the virtual machine, in memory: busybox, the modules that reach the host's files, and a script that
 * makes the machine's root of them. That root is the host's, read-only over 9p, under a layer in memory that takes all
 * writes; so every program of the host is there and no file of the host changes.
 */
import { readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { cpioArchive } from './cpio.ts';
import type { VmFiles } from './kernel-files.ts';
import { shellWords } from './shell-words.ts';
import type { GuestCommand } from './target.ts';

/** In the order in which they can be loaded. */
const moduleFiles = [
  'drivers/virtio/virtio_ring.ko',
  'drivers/virtio/virtio.ko',
  'drivers/virtio/virtio_pci_legacy_dev.ko',
  'drivers/virtio/virtio_pci_modern_dev.ko',
  'drivers/virtio/virtio_pci.ko',
  'drivers/char/virtio_console.ko',
  'fs/netfs/netfs.ko',
  'fs/fscache/fscache.ko',
  'net/9p/9pnet.ko',
  'net/9p/9pnet_virtio.ko',
  'fs/9p/9p.ko',
  'fs/overlayfs/overlay.ko',
] as const;

/** What the guest writes to its port for news when its root stands, before the command begins. */
export const aliveText = 'alive';

/** Ports of the virtual machine: 1 and 2 are the command's output, 3 is news (alive, then the exit code). */
const firstRoot = `#!/bin/busybox sh
b=/bin/busybox
for module in $($b cat /modules/order); do $b insmod /modules/$module || echo "pintle: cannot load $module"; done
$b mount -t proc proc /proc
$b mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000,cache=loose,ro host /host || exit 1
$b mount -t tmpfs -o mode=755 layer /layer
$b mkdir /layer/upper /layer/work
$b mount -t overlay -o lowerdir=/host,upperdir=/layer/upper,workdir=/layer/work overlay /root || exit 1
release=$($b uname -r)
for folder in proc sys dev tmp run "lib/modules/$release"; do $b mkdir -p "/root/$folder"; done
$b mount --bind "/host/$($b cat /modules/root)/lib/modules/$release" "/root/lib/modules/$release"
$b mount -t proc proc /root/proc
$b mount -t sysfs sys /root/sys
$b mount -t devtmpfs dev /root/dev
$b mkdir -p /root/dev/pts /root/dev/shm
$b mount -t devpts devpts /root/dev/pts
$b mount -t tmpfs shm /root/dev/shm
$b mkdir -p /root/run/pintle-guest
$b cp /bin/busybox /second-root /command /root/run/pintle-guest/
exec $b switch_root /root /run/pintle-guest/busybox sh /run/pintle-guest/second-root
`;

/** Runs as process 1 in the new root. The command gets a shell of its own, so that whatever it does process 1 lives on. */
const secondRoot = `b=/run/pintle-guest/busybox
$b ip link set lo up
echo ${aliveText} > /dev/vport0p3
$b sh /run/pintle-guest/command < /dev/null > /dev/vport0p1 2> /dev/vport0p2
echo "$?" > /dev/vport0p3
$b poweroff -f
`;

const commandScript = ({ argv, cwd, env }: GuestCommand): string =>
  `cd ${shellWords([cwd])} || exit 127
exec /usr/bin/env -i ${shellWords(Object.entries(env).map(([name, value]) => `${name}=${value}`))} ${shellWords(argv)}
`;

export function initramfs(files: VmFiles, command: GuestCommand): Buffer {
  const text = (path: string, content: string, isExecutable = false) => ({
    path,
    data: Buffer.from(content),
    isExecutable,
  });
  const kernel = join(files.root, 'lib/modules', files.release, 'kernel');
  return cpioArchive([
    ...['bin', 'modules', 'proc', 'host', 'layer', 'root'].map((path) => ({ path })),
    { path: 'bin/busybox', data: readFileSync(files.busybox), isExecutable: true },
    ...moduleFiles.map((file) => ({ path: `modules/${basename(file)}`, data: readFileSync(join(kernel, file)) })),
    text('modules/order', `${moduleFiles.map((file) => basename(file)).join('\n')}\n`),
    text('modules/root', `${files.root}\n`),
    text('init', firstRoot, true),
    text('second-root', secondRoot),
    text('command', commandScript(command)),
  ]);
}
