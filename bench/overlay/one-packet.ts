/**
 * The design of flannel's own proxy, to compare with: one thread, one packet a system call, both descriptors read in turn
 * until neither has anything, then poll. `one-packet.js LOCAL PEER PORT`, the TUN device as descriptor 3.
 */
import { batchIo } from '../../netplugins/linux/batch-io.ts';
import { libc } from '../../netplugins/linux/libc.ts';
import { parseIp } from '../../netplugins/linux/ip-address.ts';
import { openUdpSocket } from '../../netplugins/linux/udp-socket.ts';

const tun = 3;
const MSG_DONTWAIT = 0x40;
const POLLIN = 1;
const [local = '', peer = '', port = ''] = process.argv.slice(2);
const io = batchIo();
const memory = io.allocate(65_536);
const { fd } = openUdpSocket(local, Number(port), { segment: false, gather: false, bufferBytes: 16 << 20 });
const address = Buffer.alloc(16);
address.writeUInt16LE(2, 0);
address.writeUInt16BE(Number(port), 2);
parseIp(peer).copy(address, 4);
const polled = Buffer.alloc(16);
polled.writeInt32LE(tun, 0);
polled.writeInt16LE(POLLIN, 4);
polled.writeInt32LE(fd, 8);
polled.writeInt16LE(POLLIN, 12);
process.stdout.write('ready\n');
for (;;) {
  libc().poll(polled, 2, -1);
  for (let isBusy = true; isBusy;) {
    isBusy = false;
    const sent = io.read(tun, memory.address, 65_536);
    if (sent > 0) {
      libc().sendto(fd, memory.bytes, sent, 0, address, 16);
      isBusy = true;
    }
    const received = libc().recv(fd, memory.bytes, 65_536, MSG_DONTWAIT);
    if (received > 0) {
      io.write(tun, memory.address, received);
      isBusy = true;
    }
  }
}
