/**
 * Many adds and deletes, the process that makes them killed at random moments, a reboot in the middle: nothing is left. A few
 * by default; `PINTLE_TEST_LEAKS=1000` asks for a thousand of each, `PINTLE_TEST_SEED` for the same moments again.
 */
import { fork } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import test, { type ExecutionContext } from 'ava';
import type { Attachment } from '../../kernel/contract/index.ts';
import { runInNetns } from '../../netplugins/linux/namespaces.ts';
import { leanStart } from '../lean-start.ts';
import { attachmentNames, attachments, type AttachmentName } from './support/cluster.ts';
import { createTopology, quiet, settled, snapshot, type Place } from './support/topology.ts';
import { churnNetwork, churnRequest, randomFrom } from './support/churn.ts';
import type { Order } from './support/victim.ts';

const wanted = Number(process.env['PINTLE_TEST_LEAKS'] ?? 12);
const seed = Number(process.env['PINTLE_TEST_SEED'] ?? Math.floor(Math.random() * 1_000_000));
const podCount = 9;
/** The longest life of a process that adds and removes, by how long one of either takes; longer when many are asked for. */
const longestMs = ((times: number): Readonly<Record<AttachmentName, number>> => ({
  ...{ bridge: 400 * times, ptp: 400 * times },
  cni: 2_000 * times,
}))(wanted > 100 ? 5 : 1);

interface Counts {
  added: number;
  removed: number;
  kills: number;
}

type Running = Attachment & AsyncDisposable;

class Machine {
  readonly #attachment: AttachmentName;
  readonly #node: Place;
  readonly #pods: readonly Place[];
  readonly #stateDir: string;
  readonly bootId: string;

  constructor(t: ExecutionContext, attachment: AttachmentName, stateDir: string, bootId: string) {
    const { nodes, pod } = createTopology(t, 1);
    this.#attachment = attachment;
    this.#node = nodes[0]!;
    this.#pods = Array.from({ length: podCount }, (_, index) => pod(`pod${index}`));
    this.#stateDir = stateDir;
    this.bootId = bootId;
  }

  open(): Running {
    const { netns } = this.#node;
    return attachments[this.#attachment]({ stateDir: this.#stateDir, log: quiet, netns, bootId: this.bootId });
  }

  /**
   * Adds and removes in a process of its own, which is killed `lifeMs` after it has done as many as it is to do at
   * least: on a busy machine no life would be long enough for one.
   */
  async churn(
    t: ExecutionContext,
    counts: Counts,
    {
      lifeMs,
      atLeast,
      processSeed,
    }: { readonly lifeMs: number; readonly atLeast: number; readonly processSeed: number },
  ): Promise<void> {
    const program = fileURLToPath(new URL('./support/victim.js', import.meta.url));
    const child = runInNetns(this.#node.netns, () =>
      fork(program, { execArgv: [...leanStart], stdio: ['ignore', 'inherit', 'inherit', 'ipc'] }),
    );
    t.teardown(() => child.kill('SIGKILL'));
    const exited = new Promise((resolve) => child.once('exit', resolve));
    let done = 0;
    const begun = new Promise<void>((resolve) => {
      child.on('message', (message) => {
        if (message === 'added' || message === 'removed') {
          counts[message] += 1;
          done += 1;
        }
        if (done >= atLeast) resolve();
      });
    });
    const order: Order = {
      ...{ work: 'churn', attachment: this.#attachment, stateDir: this.#stateDir, bootId: this.bootId },
      ...{ netns: this.#pods.map(({ netns }) => netns), seed: processSeed },
    };
    child.send(order);
    await Promise.race([begun, exited]);
    await new Promise((resolve) => setTimeout(resolve, lifeMs));
    t.true(child.exitCode === null && child.signalCode === null, `it was working (seed ${seed})`);
    child.kill('SIGKILL');
    await exited;
    counts.kills += 1;
  }

  /** Each pod once, with everything a pod can have. */
  async attachAll(attachment: Running): Promise<void> {
    for (const [index, { netns }] of this.#pods.entries())
      await attachment.add(churnRequest(index, netns, () => index / podCount));
  }

  /** All that could be left: on the node, and the names of files. */
  traces(): string {
    const localnet = this.#node.run('sh', '-c', 'cd /proc/sys/net/ipv4/conf && grep . */route_localnet');
    return (snapshot(this.#node) + localnet)
      .replaceAll(/^\d+: /gm, '')
      .replaceAll(/mtu \d+|@if\d+|link\/ether \S+/g, '')
      .replaceAll(/counter packets \d+ bytes \d+/g, 'counter');
  }

  files(): readonly string[] {
    return readdirSync(this.#stateDir, { recursive: true, encoding: 'utf8' }).sort();
  }
}

for (const name of attachmentNames)
  test(`adds and deletes with kills and a reboot in between leave nothing: ${name}`, async (t) => {
    t.timeout(wanted > 100 ? 3_600_000 : 180_000);
    t.log(`seed ${seed}`);
    const random = randomFrom(seed);
    const { folder } = createTopology(t, 0);
    const stateDir = `${folder}/state`;
    const counts: Counts = { added: 0, removed: 0, kills: 0 };
    const ids = Array.from({ length: podCount }, (_, index) => `pod-${index}`);

    const machine = (boot: string) => {
      const made = new Machine(t, name, stateDir, boot);
      return { made, pristine: made.traces() };
    };
    const { made: first, pristine } = machine('boot-1');
    const start = first.open();
    await start.configure(churnNetwork);
    // Once with everything, so that what is made only once is there.
    await first.attachAll(start);
    t.not(first.traces(), pristine);
    t.is((await start.list()).length, podCount);
    await start.gc(new Set());
    const idle = first.traces();
    const files = first.files();
    await start[Symbol.asyncDispose]();

    /** A successor finds each address once, completes or undoes what was begun, and then nothing is left. */
    const settle = async (at: Machine, pods: ReadonlySet<string>, expected: string): Promise<void> => {
      const next = at.open();
      // What fails below must not keep this process, and with it the lane, from its end.
      t.teardown(() => next[Symbol.asyncDispose]());
      await next.configure(churnNetwork);
      const known = await next.list();
      t.is(new Set(known.map(({ ips }) => ips[0])).size, known.length, 'each address once');
      await next.gc(pods);
      t.deepEqual(await next.list(), []);
      t.is(await settled(() => at.traces(), expected), expected, `seed ${seed}, after ${JSON.stringify(counts)}`);
      t.deepEqual(at.files(), files);
      await next[Symbol.asyncDispose]();
    };
    const until = async (at: Machine, count: number): Promise<void> => {
      while (counts.added < count || counts.removed < count) {
        await at.churn(t, counts, {
          lifeMs: random() * longestMs[name],
          atLeast: Math.floor(random() * 4),
          processSeed: Math.floor(random() * 2 ** 31),
        });
        if (random() < 0.2) await settle(at, new Set(), idle);
      }
    };

    await until(first, Math.floor(wanted / 2));
    // The machine stops while pods are there: its network is gone, the folder stays.
    await first.churn(t, counts, { lifeMs: longestMs[name], atLeast: 0, processSeed: 1 });
    const { made: second, pristine: afterBoot } = machine('boot-2');
    t.is(afterBoot, pristine);
    await settle(second, new Set(ids), idle);
    await until(second, wanted);
    await settle(second, new Set(), idle);
    const last = second.open();
    await last.purge();
    t.is(second.traces(), pristine);
    t.deepEqual(
      second.files().filter((file) => !['leases', 'results'].includes(file)),
      [],
      'purged',
    );
    await last[Symbol.asyncDispose]();
    t.true(counts.added >= wanted && counts.removed >= wanted && counts.kills > 1);
    t.log(`${counts.added} adds, ${counts.removed} deletes, ${counts.kills} kills; load ${loadAverage()}`);
  });

function loadAverage(): string {
  return readFileSync('/proc/loadavg', 'utf8').split(' ')[0] ?? '';
}
