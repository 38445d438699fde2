/** Who carries which direction of a data path of two threads. */
import { Worker } from 'node:worker_threads';
import test from 'ava';
import { Lead } from '../../../netplugins/overlays/flannel-udp/offload/lead.ts';

const shared = (): SharedArrayBuffer => new SharedArrayBuffer(4);

function wantIt(lead: Lead): void {
  for (let packet = 0; packet < 100; packet += 1) if (lead.takes(true)) throw new Error('the other has not left it');
}

test('small packets ask for nothing, bulk asks the other side, once', (t) => {
  const word = shared();
  const [one, two] = [new Lead(word, 0), new Lead(word, 1)];
  for (let packet = 0; packet < 100; packet += 1) t.false(one.takes(false));
  t.false(two.isAskedFor);
  wantIt(one);
  t.true(two.isAskedFor);
  t.false(one.isAskedFor);
  wantIt(two);
  t.false(one.isAskedFor);
});

test('who wanted it and has small packets again wants it no more', (t) => {
  const word = shared();
  const [one, two] = [new Lead(word, 0), new Lead(word, 1)];
  wantIt(one);
  for (let packet = 0; packet < 100; packet += 1) t.false(one.takes(false));
  t.false(two.isAskedFor);
});

test('a side that leaves goes on when the other does not notice', (t) => {
  const word = shared();
  const [one, two] = [new Lead(word, 0), new Lead(word, 1)];
  wantIt(one);
  // Comes back although nobody releases it.
  two.leave();
  t.false(two.isAskedFor);
  t.false(one.takes(false));
});

const sleeper = `
import { workerData } from 'node:worker_threads';
import { Lead } from ${JSON.stringify(new URL('../../../netplugins/overlays/flannel-udp/offload/lead.js', import.meta.url).href)};
const lead = new Lead(workerData.word, 1);
const said = new Int32Array(workerData.said);
for (;;) {
  if (Atomics.load(said, 1) === 1) break;
  if (!lead.isAskedFor) {
    Atomics.wait(said, 1, 0, 0.2);
    continue;
  }
  Atomics.store(said, 0, 1);
  lead.leave();
  Atomics.store(said, 0, 0);
}
`;

test('the leader has both directions until it releases them', async (t) => {
  const word = shared();
  // The other is asleep; it is to end.
  const said = new Int32Array(new SharedArrayBuffer(8));
  const worker = new Worker(new URL(`data:text/javascript,${encodeURIComponent(sleeper)}`), {
    workerData: { word, said: said.buffer },
  });
  const ended = new Promise((resolve, reject) => {
    worker.once('exit', resolve);
    worker.once('error', reject);
  });
  const lead = new Lead(word, 0);
  while (!lead.takes(true)) await new Promise((resolve) => setImmediate(resolve));
  t.is(Atomics.load(said, 0), 1);
  t.true(lead.keeps(true));
  let turns = 0;
  while (lead.keeps(false)) turns += 1;
  t.true(turns > 10, 'a few small packets are no end');
  // Longer than it waits for to be noticed.
  await new Promise((resolve) => setTimeout(resolve, 20));
  t.is(Atomics.load(said, 0), 1, 'still asleep');
  Atomics.store(said, 1, 1);
  lead.release();
  t.is(await ended, 0);
  t.is(Atomics.load(said, 0), 0);
});
