/** What clients of a store did and saw, as plain data: what the history checker judges. */
/** Values as text, so that histories are plain data. */
export interface SeenEntry {
  readonly key: string;
  readonly value: string;
  readonly created: number;
  readonly modified: number;
}
export interface SeenEvent {
  readonly key: string;
  readonly revision: number;
  readonly entry: SeenEntry | undefined;
  readonly previous: SeenEntry | undefined;
}
export interface SeenBatch {
  readonly events: readonly SeenEvent[];
  readonly progress: number;
}

interface Timed {
  /** Any clock that all clients share. */
  readonly call: number;
  readonly return: number;
}
export interface SeenCommit extends Timed {
  readonly kind: 'commit';
  readonly changes: readonly { readonly key: string; readonly value: string | undefined; readonly expected?: number }[];
  /**
   * `unknown`: no answer came, it may or may not have happened. `done`: it was acknowledged without its revision.
   * `refused`: it surely has not happened.
   */
  readonly outcome:
    | { readonly revision: number }
    | { readonly conflict: string; readonly current: SeenEntry | undefined }
    | 'unknown'
    | 'done'
    | 'refused';
}
export interface SeenGet extends Timed {
  readonly kind: 'get';
  readonly key: string;
  readonly entry: SeenEntry | undefined;
}
export interface SeenList extends Timed {
  readonly kind: 'list';
  readonly prefix: string;
  /** The revision that was asked for. */
  readonly asked: number | undefined;
  readonly revision: number;
  readonly entries: readonly SeenEntry[];
}
export interface SeenWatch {
  readonly kind: 'watch';
  readonly prefix: string;
  readonly after: number;
  readonly batches: readonly SeenBatch[];
}
export type Seen = SeenCommit | SeenGet | SeenList | SeenWatch;

export interface History {
  /** The state from which the log goes on. */
  readonly base: { readonly revision: number; readonly entries: readonly SeenEntry[] };
  /** Every change after `base`, in order. */
  readonly log: readonly SeenEvent[];
  readonly seen: readonly Seen[];
  /** What the system does not show, and so cannot be judged. */
  readonly unseen?: {
    /** Entries have no `created`, events no `previous`. */
    readonly versions?: boolean;
    /** Others write too: revisions may be missing from the log. */
    readonly revisions?: boolean;
  };
  /** Revisions up to here may stem from transactions that are not in `seen`. Default: `base.revision`. */
  readonly ownAfter?: number;
}

export function showEvent({ key, entry }: SeenEvent): string {
  return `${key}=${entry === undefined ? '(deleted)' : JSON.stringify(entry.value)}`;
}

export function isSame(a: SeenEntry | undefined, b: SeenEntry | undefined): boolean {
  if (a === undefined || b === undefined) return a === b;
  return a.key === b.key && a.value === b.value && a.created === b.created && a.modified === b.modified;
}

export function show(entry: SeenEntry | undefined): string {
  return entry === undefined
    ? 'nothing'
    : `${JSON.stringify(entry.value)} (created ${entry.created}, modified ${entry.modified})`;
}

/** By bisection: `holds` is false up to there and true from there on. */
export function firstIndex<T>(list: readonly T[], holds: (one: T) => boolean): number {
  let low = 0;
  let high = list.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (holds(list[middle]!)) high = middle;
    else low = middle + 1;
  }
  return low;
}
