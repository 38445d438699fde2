/**
 * Kills a system under write load again and again, and holds what its clients saw against its history: no acknowledged
 * write is lost, nothing appears that nobody wrote, reads and conflicts fit, and watches that resume where they were cut
 * off have no gap and no duplicate.
 */
import { checkHistory } from '../../kernel/conformance/store/history-checker.ts';
import type { Seen, SeenBatch, SeenCommit, SeenEntry, SeenEvent } from '../../kernel/conformance/store/history.ts';
import { Died, type CrashConnection, type CrashSystem } from './crash-system.ts';

export interface CrashOptions {
  readonly kills: number;
  readonly writers?: number;
  readonly watchers?: number;
  readonly keys?: number;
  /** The kill comes this long after the first acknowledged write, at random from 0. */
  readonly longestLoadMs?: number;
  readonly seed?: number;
  readonly onRound?: (round: number, soFar: CrashReport) => void;
}

export interface CrashReport {
  readonly kills: number;
  readonly acknowledged: number;
  /** Writes that were cut off, and how many of them turned out to have happened. */
  readonly unanswered: number;
  readonly unansweredDone: number;
  readonly watchEvents: number;
  readonly violations: readonly string[];
}

interface Tally {
  kills: number;
  acknowledged: number;
  unanswered: number;
  unansweredDone: number;
  watchEvents: number;
  violations: string[];
}

export async function runCrashes(system: CrashSystem, options: CrashOptions): Promise<CrashReport> {
  const run = new CrashRun(system, options);
  for (let round = 1; round <= options.kills && run.tally.violations.length === 0; round++) {
    await run.round(round);
    options.onRound?.(round, run.tally);
  }
  await run.finish();
  return run.tally;
}

class CrashRun {
  readonly tally: Tally = {
    kills: 0,
    acknowledged: 0,
    unanswered: 0,
    unansweredDone: 0,
    watchEvents: 0,
    violations: [],
  };
  readonly #system: CrashSystem;
  readonly #options: CrashOptions;
  readonly #random: () => number;
  readonly #keys: readonly string[];
  /** Up to where each watcher has been told; it resumes there. */
  #positions: number[] = [];
  #base: { revision: number; entries: readonly SeenEntry[] } | undefined;
  /** All transactions up to here have been judged. */
  #judged = 0;
  #seen: Seen[] = [];

  constructor(system: CrashSystem, options: CrashOptions) {
    this.#system = system;
    this.#options = options;
    this.#random = randomNumbers(options.seed ?? 1);
    this.#keys = Array.from({ length: options.keys ?? 40 }, (_, index) => `key-${index}`);
  }

  async round(round: number): Promise<void> {
    const connection = await this.#system.start();
    await this.#judge(connection);
    if (this.tally.violations.length > 0) return;
    const stop = new AbortController();
    const watching = this.#positions.map((after, watcher) => this.#watch(connection, watcher, after, stop.signal));
    let acknowledge: () => void = () => undefined;
    const first = new Promise<void>((resolve) => (acknowledge = resolve));
    const writing = Array.from({ length: this.#options.writers ?? 16 }, (_, writer) =>
      this.#write(connection, `${round}.${writer}`, acknowledge),
    );
    const compacting = this.#compact(connection);
    await Promise.race([first, ...writing]);
    await new Promise((resolve) => setTimeout(resolve, this.#random() * (this.#options.longestLoadMs ?? 120)));
    await this.#system.kill();
    this.tally.kills++;
    await Promise.all([...writing, ...watching, compacting]);
    stop.abort();
  }

  /** Judges the last round, on the system as it came up again. */
  async finish(): Promise<void> {
    if (this.tally.violations.length > 0) return;
    const connection = await this.#system.start();
    await this.#judge(connection);
  }

  async #judge(connection: CrashConnection): Promise<void> {
    const call = performance.now();
    const { entries, revision } = await connection.list();
    const list: Seen = {
      kind: 'list',
      call,
      return: performance.now(),
      prefix: '',
      asked: undefined,
      revision,
      entries,
    };
    if (this.#base === undefined) {
      this.#base = { revision, entries };
      this.#positions = Array.from({ length: this.#options.watchers ?? 4 }, () => revision);
      this.#judged = revision;
      return;
    }
    if (revision < this.#judged)
      this.tally.violations.push(`durable: the revision went back from ${this.#judged} to ${revision}`);
    let log: readonly SeenEvent[];
    try {
      log = await connection.log(this.#base.revision, revision);
    } catch (error) {
      this.tally.violations.push(`resumable: the log after ${this.#base.revision} cannot be read: ${String(error)}`);
      return;
    }
    this.tally.violations.push(
      ...checkHistory({
        base: this.#base,
        log,
        seen: [...this.#seen, list],
        ownAfter: this.#judged,
        ...(this.#system.unseen === undefined ? {} : { unseen: this.#system.unseen }),
      }),
    );
    this.#count(log);
    this.#seen = [];
    this.#judged = revision;
    // The next log begins where the slowest watcher goes on.
    const next = Math.min(...this.#positions);
    this.#base = { revision: next, entries: stateAt(this.#base.entries, log, next) };
  }

  #count(log: readonly SeenEvent[]): void {
    const written = new Set(log.map(({ key, entry }) => `${key} ${entry?.value}`));
    for (const one of this.#seen) {
      if (one.kind === 'watch') for (const { events } of one.batches) this.tally.watchEvents += events.length;
      if (one.kind !== 'commit') continue;
      if (one.outcome === 'unknown') {
        this.tally.unanswered++;
        if (one.changes.some(({ key, value }) => value !== undefined && written.has(`${key} ${value}`)))
          this.tally.unansweredDone++;
      } else if (typeof one.outcome === 'object' && 'revision' in one.outcome) this.tally.acknowledged++;
    }
  }

  async #write(connection: CrashConnection, name: string, acknowledged: () => void): Promise<void> {
    for (let count = 0; ; count++) {
      const key = this.#key();
      const value = `${name}.${count} ${'x'.repeat(this.#random() < 0.1 ? 5_000 : 200)}`;
      try {
        const choice = this.#random();
        let changes: SeenCommit['changes'] = [{ key, value }];
        if (choice < 0.5) changes = [{ key, value, expected: (await this.#get(connection, key))?.modified ?? 0 }];
        else if (choice < 0.6) changes = [{ key, value: undefined }];
        else if (choice < 0.75 && this.#system.hasTransactions) {
          const other = this.#key();
          if (other !== key)
            changes = [
              { key, value },
              { key: other, value },
            ];
        }
        const call = performance.now();
        const outcome = await connection.commit(changes);
        this.#seen.push({ kind: 'commit', call, return: performance.now(), changes, outcome });
        if (outcome === 'unknown') return;
        acknowledged();
      } catch (error) {
        if (error instanceof Died) return;
        throw error;
      }
    }
  }

  async #get(connection: CrashConnection, key: string): Promise<SeenEntry | undefined> {
    const call = performance.now();
    const entry = await connection.get(key);
    this.#seen.push({ kind: 'get', call, return: performance.now(), key, entry });
    return entry;
  }

  async #watch(connection: CrashConnection, watcher: number, after: number, signal: AbortSignal): Promise<void> {
    const batches: SeenBatch[] = [];
    this.#seen.push({ kind: 'watch', prefix: '', after, batches });
    try {
      for await (const batch of connection.watch(after, signal)) {
        batches.push(batch);
        this.#positions[watcher] = batch.progress;
      }
    } catch (error) {
      this.tally.violations.push(`resumable: a watch after ${after} was refused: ${String(error)}`);
    }
  }

  /** The border stays at or below what is still to be judged. */
  async #compact(connection: CrashConnection): Promise<void> {
    try {
      await connection.compact(this.#base?.revision ?? 0);
    } catch (error) {
      if (!(error instanceof Died)) throw error;
    }
  }

  #key(): string {
    return this.#keys[Math.floor(this.#random() * this.#keys.length)]!;
  }
}

function stateAt(entries: readonly SeenEntry[], log: readonly SeenEvent[], revision: number): SeenEntry[] {
  const state = new Map(entries.map((entry) => [entry.key, entry]));
  for (const event of log) {
    if (event.revision > revision) break;
    if (event.entry === undefined) state.delete(event.key);
    else state.set(event.key, event.entry);
  }
  return [...state.values()];
}

/** Mulberry32: the same numbers for the same seed. */
function randomNumbers(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
