/**
 * A thread that carries packets, one direction or both. It sits in system calls and never comes back to an event loop; it
 * ends with the process, or when the device or the socket does.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { batchIo, POLLIN } from '../../../linux/batch-io.ts';
import { TunReader } from './tun-reader.ts';
import { UdpReader } from './udp-reader.ts';
import { counterNames, FollowedPeers, type WorkerMessage, type WorkerSettings } from './worker-messages.ts';

/** Turns of one direction before the other gets one. */
const turns = 4;

const settings = workerData as WorkerSettings;
const io = batchIo();
const peers = new FollowedPeers(settings);
const counters = new Float64Array(settings.counters);
const failedAt = counterNames.indexOf('failed');
const fromTun = new TunReader(io, settings, peers, counters);
const tell = (message: WorkerMessage): void => parentPort?.postMessage(message);
const fromPeers = new UdpReader(io, settings, peers, counters, () => tell({ kind: 'sign' }));

function carryBoth(): never {
  const polled = io.allocate(16);
  polled.words.set([settings.tun, POLLIN, settings.socket, POLLIN]);
  for (;;) {
    io.poll(polled.address, 2, -1);
    // First what woke the thread; then either, until neither has anything.
    let tunTurns = polled.words[1]! >> 16 === 0 ? 0 : turns;
    let peerTurns = polled.words[3]! >> 16 === 0 ? 0 : turns;
    while (tunTurns > 0 || peerTurns > 0) {
      let sent = 0;
      while (sent < tunTurns && fromTun.step()) sent += 1;
      let received = 0;
      while (received < peerTurns && fromPeers.step(false)) received += 1;
      // A direction that had all its turns used has more; the other may have got something meanwhile.
      const isBusy = (tunTurns > 0 && sent === tunTurns) || (peerTurns > 0 && received === peerTurns);
      tunTurns = isBusy ? turns : 0;
      peerTurns = isBusy ? turns : 0;
    }
    counters[failedAt] = fromTun.failed + fromPeers.failed;
  }
}

function carryOne(): never {
  const polled = io.allocate(8);
  polled.words.set([settings.tun, POLLIN]);
  for (;;) {
    if (settings.role === 'receive') fromPeers.step(true);
    else if (!fromTun.step()) io.poll(polled.address, 1, -1);
    counters[failedAt] = fromTun.failed + fromPeers.failed;
  }
}

try {
  if (settings.role === 'both') carryBoth();
  else carryOne();
} catch (error) {
  tell({ kind: 'ended', reason: error instanceof Error ? error.message : String(error) });
}
