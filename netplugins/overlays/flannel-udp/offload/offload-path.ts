/**
 * The fast data path: the kernel hands over and takes TCP super-packets of up to 64 KB (virtio-net headers on the TUN
 * device), and cuts and gathers datagrams (UDP_SEGMENT, UDP_GRO). Owns the UDP sockets, the device's further queues and the
 * threads that sit in system calls; what they need from this thread they find in shared memory.
 *
 * With several threads a flow stays with one: the kernel puts its packets into one queue of the device, that queue's datagrams
 * have a source port of their own, and the peer chooses its thread by that port. So nothing overtakes within a flow.
 */
import { MessageChannel, Worker, type MessagePort } from 'node:worker_threads';
import { batchIoProblem } from '../../../linux/batch-io.ts';
import { isPintleError } from '../../../../kernel/contract/index.ts';
import { openTunQueue } from '../../../linux/tun.ts';
import { openSendingSocket, openUdpSocket, shareUdpPort } from '../../../linux/udp-socket.ts';
import type { DataPath } from '../data-path.ts';
import { mostThreads, type DataPathSettings } from '../data-path-protocol.ts';
import type { PeerRoute } from '../peer-table.ts';
import { Shortcut } from './shortcut.ts';
import { counterNames, type WorkerMessage, type WorkerSettings } from './worker-messages.ts';

const bufferBytes = 16 << 20;

/**
 * `links`: indices of the TUN device and of the link that has the underlay address. `onEnd`: called when a thread ends, which
 * it does only with its device or by a fault. `onLink`: called with the index of a link that was made meanwhile.
 */
export function openOffloadPath(
  settings: DataPathSettings,
  tun: number,
  links: { readonly device: number; readonly underlay: number | undefined },
  { onEnd, onLink }: { readonly onEnd: (reason: string) => void; readonly onLink: (index: number) => void },
): DataPath {
  const problem = batchIoProblem();
  if (problem !== undefined) throw new Error(`path offload cannot be used here: ${problem}`);
  const { local, port, udpSegment, udpGro } = settings;
  const options = { segment: udpSegment, gather: udpGro, bufferBytes };
  const first = openUdpSocket(local, port, options);
  const { segments, gathers } = first;
  const shortcut = settings.shortcut ? openShortcut(settings, links) : 'config says off';
  // With the kernel's help little is left for threads.
  const isHelped = typeof shortcut === 'object' && settings.threads === 'auto';
  const count = isHelped ? 1 : mostThreads(settings.threads);
  const sockets = shareUdpPort(first, count, local, port, options);
  const peersVersion = new SharedArrayBuffer(4);
  const ports: MessagePort[] = [];
  const counters: Float64Array[] = [];
  const gather = (): void => {
    if (typeof shortcut === 'string') return;
    try {
      const link = shortcut.gatherIfNeeded();
      if (link !== undefined) onLink(link);
    } catch (error) {
      process.stderr.write(`Packets that arrive one by one are not gathered: ${String(error)}\n`);
    }
  };
  for (const [index, socket] of sockets.entries()) {
    const { port1, port2 } = new MessageChannel();
    const shared = new SharedArrayBuffer(8 * counterNames.length);
    const workerData: WorkerSettings = {
      tun: index === 0 ? tun : openTunQueue(settings.device, true),
      socket: socket.fd,
      sender: index === 0 ? socket.fd : openSendingSocket(local, port + index, options).fd,
      port,
      sources: settings.sources,
      checkSource: settings.checkSource,
      segments,
      gathers,
      peersVersion,
      peers: port2,
      counters: shared,
    };
    const worker = new Worker(new URL('./offload-worker.js', import.meta.url), { workerData, transferList: [port2] });
    worker.on('message', (message: WorkerMessage) => {
      if (message.kind === 'ended') onEnd(message.reason);
      else gather();
    });
    worker.on('error', (error) => onEnd(`a thread failed: ${error.stack ?? error.message}`));
    ports.push(port1);
    counters.push(new Float64Array(shared));
  }
  const choice = (isWanted: boolean, isThere: boolean): string =>
    isThere ? 'yes' : isWanted ? 'no (this kernel lacks it)' : 'no (config says off)';
  return {
    features: {
      path: 'offload',
      threads: String(count),
      udpSegment: choice(udpSegment, segments),
      udpGro: choice(udpGro, gathers),
      kernel: typeof shortcut === 'string' ? `no (${shortcut})` : 'yes',
    },
    setPeers(peers: readonly PeerRoute[]) {
      if (typeof shortcut === 'object') shortcut.setPeers(peers);
      for (const one of ports) one.postMessage(peers);
      Atomics.add(new Int32Array(peersVersion), 0, 1);
    },
    setUnderlay(link) {
      if (typeof shortcut !== 'object') return;
      if (link === undefined) shortcut.detach();
      else shortcut.attach(link);
    },
    close() {
      if (typeof shortcut === 'object') shortcut.close();
    },
    setBridged(isBridged) {
      if (typeof shortcut !== 'object') return;
      try {
        const link = shortcut.setBridged(isBridged);
        if (link !== undefined) onLink(link);
      } catch (error) {
        process.stderr.write(`Large packets are cut where they leave for the pods: ${String(error)}\n`);
      }
    },
    counters() {
      const sums = Object.fromEntries(
        counterNames.map((name, index) => [name, counters.reduce((sum, one) => sum + one[index]!, 0)]),
      ) as Record<(typeof counterNames)[number], number>;
      const none = { sent: 0, received: 0, gathered: 0, unmarked: 0, steered: 0 };
      const { sent, received, gathered, unmarked, steered } = typeof shortcut === 'object' ? shortcut.counters() : none;
      return {
        ...sums,
        sentPackets: sums.sentPackets + sent,
        receivedPackets: sums.receivedPackets + received,
        sentByKernel: sent,
        receivedByKernel: received,
        gatheredByKernel: gathered,
        unmarkedByKernel: unmarked,
        steeredByKernel: steered,
      };
    },
  };
}

/** A text says why this kernel has none. */
function openShortcut(
  { local, port, checkSource }: DataPathSettings,
  { device, underlay }: { readonly device: number; readonly underlay: number | undefined },
): Shortcut | string {
  if (local === '0.0.0.0') return 'the node has several underlay addresses';
  if (underlay === undefined) return `${local} is on none of the interfaces`;
  try {
    const shortcut = new Shortcut({ device, local, port, checkSource });
    shortcut.attach(underlay);
    return shortcut;
  } catch (error) {
    if (isPintleError(error)) return error.message;
    throw error;
  }
}
