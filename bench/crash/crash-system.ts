/** What the crash run needs of a system: start it, use it as clients do, kill it. */
import type { History, SeenBatch, SeenCommit, SeenEntry, SeenEvent } from '../../kernel/conformance/store/history.ts';

export interface CrashConnection {
  /** `unknown` when the system died before it answered. */
  commit(changes: SeenCommit['changes']): Promise<SeenCommit['outcome']>;
  /** Rejects with Died when the system died before it answered. */
  get(key: string): Promise<SeenEntry | undefined>;
  list(): Promise<{ readonly entries: readonly SeenEntry[]; readonly revision: number }>;
  /** Ends when the system dies or the signal aborts. */
  watch(after: number, signal: AbortSignal): AsyncIterable<SeenBatch>;
  /** Every change above `after` up to `until`, a revision that `list` has answered with. */
  log(after: number, until: number): Promise<readonly SeenEvent[]>;
  /** Lets history below `revision` go. A system that compacts by itself does nothing here. */
  compact(revision: number): Promise<void>;
}

export interface CrashSystem {
  readonly name: string;
  /** A transaction may have several changes. */
  readonly hasTransactions: boolean;
  readonly unseen?: History['unseen'];
  /** Starts it over the state that the last run left behind; resolves when it serves. */
  start(): Promise<CrashConnection>;
  /** SIGKILL, at once. Resolves when the process has ended and all that it sent has been read. */
  kill(): Promise<void>;
  dispose(): Promise<void>;
}

/** Reads a watch until it has told everything up to a revision. */
export async function readWatch(
  connection: Pick<CrashConnection, 'watch'>,
  after: number,
  until: number,
): Promise<SeenEvent[]> {
  const log: SeenEvent[] = [];
  if (until <= after) return log;
  const stop = new AbortController();
  let isComplete = false;
  for await (const batch of connection.watch(after, stop.signal)) {
    if (!isComplete) log.push(...batch.events);
    if (batch.progress < until || isComplete) continue;
    isComplete = true;
    stop.abort();
  }
  if (!isComplete) throw new Died();
  return log;
}

/** The system died before it answered. */
export class Died extends Error {
  constructor() {
    super('the system died before it answered');
    this.name = 'Died';
  }
}
