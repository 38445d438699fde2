/**
 * The fast data path: the kernel hands over and takes TCP super-packets of up to 64 KB (virtio-net headers on the TUN
 * device), and cuts and gathers datagrams (UDP_SEGMENT, UDP_GRO). Owns the UDP socket and the threads that sit in
 * system calls; what they need from this thread they find in shared memory.
 */
import { MessageChannel, Worker, type MessagePort } from 'node:worker_threads';
import { batchIoProblem } from '../../../linux/batch-io.ts';
import { openUdpSocket } from '../../../linux/udp-socket.ts';
import type { DataPath } from '../data-path.ts';
import type { Counters, DataPathSettings } from '../data-path-protocol.ts';
import type { PeerRoute } from '../peer-table.ts';
import { counterNames, type WorkerSettings } from './worker-messages.ts';

const bufferBytes = 16 << 20;

/** `onEnd`: called when a thread ends, which it does only with its device or by a fault. */
export function openOffloadPath(settings: DataPathSettings, tun: number, onEnd: (reason: string) => void): DataPath {
  const problem = batchIoProblem();
  if (problem !== undefined) throw new Error(`path offload cannot be used here: ${problem}`);
  const { local, port, udpSegment, udpGro } = settings;
  const socket = openUdpSocket(local, port, { segment: udpSegment, gather: udpGro, bufferBytes });
  const peersVersion = new SharedArrayBuffer(4);
  const ports: MessagePort[] = [];
  const counters: Float64Array[] = [];
  const roles = settings.threads === 1 ? (['both'] as const) : (['send', 'receive'] as const);
  for (const role of roles) {
    const { port1, port2 } = new MessageChannel();
    const shared = new SharedArrayBuffer(8 * counterNames.length);
    const workerData: WorkerSettings = {
      role,
      tun,
      socket: socket.fd,
      port,
      sources: settings.sources,
      checkSource: settings.checkSource,
      segments: socket.segments,
      gathers: socket.gathers,
      peersVersion,
      peers: port2,
      counters: shared,
    };
    const worker = new Worker(new URL('./offload-worker.js', import.meta.url), { workerData, transferList: [port2] });
    worker.on('message', (reason: string) => onEnd(reason));
    worker.on('error', (error) => onEnd(`a thread failed: ${error.stack ?? error.message}`));
    ports.push(port1);
    counters.push(new Float64Array(shared));
  }
  const choice = (isWanted: boolean, isThere: boolean): string =>
    isThere ? 'yes' : isWanted ? 'no (this kernel lacks it)' : 'no (config says off)';
  return {
    features: {
      path: 'offload',
      threads: String(roles.length),
      udpSegment: choice(udpSegment, socket.segments),
      udpGro: choice(udpGro, socket.gathers),
    },
    setPeers(peers: readonly PeerRoute[]) {
      for (const one of ports) one.postMessage(peers);
      Atomics.add(new Int32Array(peersVersion), 0, 1);
    },
    counters: () =>
      Object.fromEntries(
        counterNames.map((name, index) => [name, counters.reduce((sum, one) => sum + one[index]!, 0)]),
      ) as unknown as Counters,
  };
}
