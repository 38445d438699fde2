#!/bin/sh
# Downloads Debian's kernels for tests of what this machine's kernel lacks, and unpacks them under .state: nothing is
# installed. Does nothing when they are there. Needs a Debian system with its package lists, and kmod.
set -eu
cd "$(dirname "$0")/.."
folder=.state/kernels
if [ -f "$folder/complete" ]; then exit 0; fi
rm -rf "$folder"
mkdir -p "$folder/packages" "$folder/vm"

image=$(apt-cache depends linux-image-amd64 | sed -n 's/^ *Depends: \(linux-image-[0-9][^ ]*\)$/\1/p' | head -n 1)
(cd "$folder/packages" && apt-get download -q "$image" busybox-static user-mode-linux)

# Of the machine's kernel what the network and the file systems need: a quarter of the whole
dpkg-deb --fsys-tarfile "$folder/packages/$image"_*.deb | tar --extract --directory "$folder/vm" --wildcards \
  './boot/vmlinuz*' './lib/modules/*/modules.*' './lib/modules/*/kernel/arch' './lib/modules/*/kernel/crypto' \
  './lib/modules/*/kernel/drivers/char' './lib/modules/*/kernel/drivers/net/*.ko' './lib/modules/*/kernel/drivers/net/vxlan' \
  './lib/modules/*/kernel/drivers/net/wireguard' './lib/modules/*/kernel/drivers/virtio' './lib/modules/*/kernel/fs' \
  './lib/modules/*/kernel/lib' './lib/modules/*/kernel/net'
depmod --basedir "$folder/vm" "$(ls "$folder/vm/lib/modules")"

dpkg-deb --extract "$folder/packages"/busybox-static_*.deb "$folder/busybox"
dpkg-deb --extract "$folder/packages"/user-mode-linux_*.deb "$folder/uml"
rm -rf "$folder/packages"
touch "$folder/complete"
