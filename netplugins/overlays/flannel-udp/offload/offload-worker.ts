/**
 * A thread that carries packets, both directions of its flows: it has a queue of the device and a socket of its own. It sits in
 * system calls and never comes back to an event loop; it ends with the process, or when the device or the socket does.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { batchIo } from '../../../linux/batch-io.ts';
import { ReadWatch } from '../../../linux/read-watch.ts';
import { TunReader } from './tun-reader.ts';
import { UdpReader } from './udp-reader.ts';
import { counterNames, FollowedPeers, type WorkerMessage, type WorkerSettings } from './worker-messages.ts';

/** Turns of one direction before the other gets one. */
const turns = 4;
/** More than a few packets of their own. */
const large = 8_192;

/** Looks in vain for a packet after a small one, until that is left. */
const mostVain = 4;

const settings = workerData as WorkerSettings;
const io = batchIo();
const peers = new FollowedPeers(settings);
const counters = new Float64Array(settings.counters);
const failedAt = counterNames.indexOf('failed');
const fromTun = new TunReader(io, settings, peers, counters);
const watch = new ReadWatch(io, [settings.tun, settings.socket]);
const tell = (message: WorkerMessage): void => parentPort?.postMessage(message);
const fromPeers = new UdpReader(io, settings, peers, counters, () => tell({ kind: 'sign' }));

/** So many in a row. */
let vain = 0;

/** Takes what the device has, at most `turns` packets. True: there may be more. */
function takeFromTun(): boolean {
  for (let turn = 0; turn < turns; turn += 1) {
    const got = fromTun.step();
    if (got === 0) {
      if (turn === 1) vain += 1;
      return false;
    }
    if (turn > 0) vain = 0;
    // A small packet mostly comes alone: to look for another would cost a call each time.
    if (got <= large && vain >= mostVain && !fromTun.isWaiting) {
      // But now and then.
      vain = vain < mostVain * 4 ? vain + 1 : mostVain - 1;
      return false;
    }
  }
  return true;
}

function takeFromPeers(): boolean {
  for (let turn = 0; turn < turns; turn += 1) {
    const got = fromPeers.step();
    if (got === 0 || fromPeers.isDrained) return false;
  }
  return true;
}

function carry(): never {
  for (;;) {
    let ready = watch.wait(-1);
    // First what woke the thread; then either, until neither has anything.
    while (ready !== 0) {
      const isTunBusy = (ready & 1) !== 0 && takeFromTun();
      const isPeerBusy = (ready & 2) !== 0 && takeFromPeers();
      ready = isTunBusy || isPeerBusy ? 3 : 0;
    }
    counters[failedAt] = fromTun.failed + fromPeers.failed;
  }
}

try {
  carry();
} catch (error) {
  tell({ kind: 'ended', reason: error instanceof Error ? error.message : String(error) });
}
