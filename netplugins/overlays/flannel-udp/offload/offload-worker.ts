/**
 * A thread that carries packets, one direction or both (lead.ts). It sits in system calls and never comes back to an event loop; it
 * ends with the process, or when the device or the socket does.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { batchIo, POLLIN } from '../../../linux/batch-io.ts';
import { ReadWatch } from '../../../linux/read-watch.ts';
import { Lead } from './lead.ts';
import { TunReader } from './tun-reader.ts';
import { UdpReader } from './udp-reader.ts';
import { counterNames, FollowedPeers, type WorkerMessage, type WorkerSettings } from './worker-messages.ts';

/** Turns of one direction before the other gets one. */
const turns = 4;
/** More than a few packets of their own. */
const large = 8_192;
/** Without a packet for so long there is no bulk any more. */
const quietMs = 5;

/** Looks in vain for a packet after a small one, until that is left. */
const mostVain = 4;

const settings = workerData as WorkerSettings;
const io = batchIo();
const peers = new FollowedPeers(settings);
const counters = new Float64Array(settings.counters);
const failedAt = counterNames.indexOf('failed');
const polled = io.allocate(16);
polled.words.set([settings.tun, POLLIN]);
const fromTun = new TunReader(io, settings, peers, counters);
const watch = new ReadWatch(io, [settings.tun, settings.socket]);
const tell = (message: WorkerMessage): void => parentPort?.postMessage(message);
const fromPeers = new UdpReader(io, settings, peers, counters, () => tell({ kind: 'sign' }));

/** So many in a row. */
let vain = 0;
/** Something large was in the last turn. */
let isLarge = false;

/** Takes what the device has, at most `turns` packets. True: there may be more. */
function takeFromTun(): boolean {
  for (let turn = 0; turn < turns; turn += 1) {
    const got = fromTun.step();
    if (got === 0) {
      if (turn === 1) vain += 1;
      return false;
    }
    if (turn > 0) vain = 0;
    if (got > large) isLarge = true;
    // A small packet mostly comes alone: to look for another would cost a call each time.
    else if (vain >= mostVain && !fromTun.isWaiting) {
      // But now and then.
      vain = vain < mostVain * 4 ? vain + 1 : mostVain - 1;
      return false;
    }
  }
  return true;
}

function takeFromPeers(): boolean {
  for (let turn = 0; turn < turns; turn += 1) {
    const got = fromPeers.step(false);
    if (got > large) isLarge = true;
    if (got === 0 || fromPeers.isDrained) return false;
  }
  return true;
}

/** Until nothing came for so long, or `goesOn` says no after a turn. */
function carryBoth(timeoutMs: number, goesOn: () => boolean): void {
  for (;;) {
    let ready = watch.wait(timeoutMs);
    if (ready === 0 && timeoutMs >= 0) return;
    isLarge = false;
    // First what woke the thread; then either, until neither has anything.
    while (ready !== 0) {
      const isTunBusy = (ready & 1) !== 0 && takeFromTun();
      const isPeerBusy = (ready & 2) !== 0 && takeFromPeers();
      ready = isTunBusy || isPeerBusy ? 3 : 0;
    }
    counters[failedAt] = fromTun.failed + fromPeers.failed;
    if (!goesOn()) return;
  }
}

/** The other thread sleeps. */
function carryForBoth(lead: Lead): void {
  io.setBlocking(settings.tun, false);
  carryBoth(quietMs, () => lead.keeps(isLarge));
  fromTun.flush();
  fromPeers.flush();
  io.setBlocking(settings.tun, true);
  lead.release();
}

function carryFromTun(lead: Lead): never {
  io.setBlocking(settings.tun, true);
  for (;;) {
    const got = fromTun.step();
    if (fromTun.isWaiting && (lead.isAskedFor || io.poll(polled.address, 1, 0) === 0)) fromTun.flush();
    counters[failedAt] = fromTun.failed + fromPeers.failed;
    if (lead.isAskedFor) lead.leave();
    else if (lead.takes(got > large)) carryForBoth(lead);
  }
}

function carryFromPeers(lead: Lead): never {
  for (;;) {
    const got = fromPeers.step(true);
    counters[failedAt] = fromTun.failed + fromPeers.failed;
    if (lead.isAskedFor) {
      fromPeers.flush();
      lead.leave();
    } else if (lead.takes(got > large)) carryForBoth(lead);
  }
}

try {
  if (settings.role === 'both') carryBoth(-1, () => true);
  else if (settings.role === 'send') carryFromTun(new Lead(settings.lead, 0));
  else carryFromPeers(new Lead(settings.lead, 1));
} catch (error) {
  tell({ kind: 'ended', reason: error instanceof Error ? error.message : String(error) });
}
