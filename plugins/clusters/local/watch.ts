/**
 * Watches. A watcher holds no queue: it is a place in the collection's log and wakes when a change there concerns it. So
 * a thousand idle watchers cost a thousand small objects, and a slow one costs nothing but, in the end, its place (EXPIRED).
 * All watchers of a change get the same frozen event.
 */
import type { KubernetesObject, WatchEvent, WatchOptions } from '../../../kernel/contract/index.ts';
import { PintleError } from '../../../kernel/contract/index.ts';
import type { Resource, Storage } from './catalog.ts';
import { parseRevision } from './list.ts';
import { scanSelected, select } from './selection.ts';
import type { Selection } from './selection.ts';
import { atRevision } from './state/collection.ts';
import type { Change, Follower, ObjectTree } from './state/collection.ts';
import type { State } from './state/state.ts';

type ObjectEvent = WatchEvent<KubernetesObject>;

/** Initial states are handed out in parts, so that a large one never stands in memory twice. */
const initialBatch = 500;
const maximumBatch = 1_000;
const futureMs = 3_000;

/** Whoever follows parts of objects among so many others is told at intervals: each wake-up of each costs something. */
const crowd = 50;
const gatherMsPerFollower = 2;
const maximumGatherMs = 5_000;

type ObjectEventType = 'ADDED' | 'MODIFIED' | 'DELETED';

function projectedEvent(resource: Resource, selection: Selection, change: Change): ObjectEvent | undefined {
  const { projection } = selection;
  if (!projection) return undefined;
  const before = change.previous !== undefined && selection.matches(change.previous);
  const after = change.type !== 'DELETED' && selection.matches(change.object);
  if (!before && !after) return undefined;
  const type: ObjectEventType = after ? (before ? 'MODIFIED' : 'ADDED') : 'DELETED';
  return projection.event(change, `${type} ${resource.apiVersion}`, () => {
    if (type === 'MODIFIED' && projection.isSame(change.previous!, change.object)) return undefined;
    const whole = sharedEvent(resource, change, type).object;
    return Object.freeze({ type, object: projection.shown(whole) });
  });
}

function sharedEvent(resource: Resource, change: Change, type: ObjectEventType): ObjectEvent {
  if (!resource.view && type === change.type) return (change.event ??= Object.freeze({ type, object: change.object }));
  const name = resource.view ? `${type} ${resource.view.name}` : type;
  change.events ??= new Map();
  let event = change.events.get(name);
  if (!event) {
    // An object that only stopped matching is shown as it was when it matched, at the revision of the change.
    const stored =
      type === 'DELETED' && change.type !== 'DELETED' ? atRevision(change.previous!, change.revision) : change.object;
    event = Object.freeze({ type, object: resource.view ? resource.view.shown(stored) : stored });
    change.events.set(name, event);
  }
  return event;
}

/** What this change is to somebody who sees only the selection; undefined: nothing. */
function eventFor(resource: Resource, selection: Selection, change: Change): ObjectEvent | undefined {
  if (selection.prefix && !change.key.startsWith(selection.prefix)) return undefined;
  if (selection.onlyKey !== undefined && change.key !== selection.onlyKey) return undefined;
  if (selection.projection) return projectedEvent(resource, selection, change);
  if (selection.isEverything) return sharedEvent(resource, change, change.type);
  const before = change.previous !== undefined && selection.matches(change.previous);
  const after = change.type !== 'DELETED' && selection.matches(change.object);
  if (!before && !after) return undefined;
  return sharedEvent(resource, change, after ? (before ? 'MODIFIED' : 'ADDED') : 'DELETED');
}

/** A place in the log, and a way to sleep until something there concerns the selection. */
class LogReader implements Follower {
  readonly #resource: Resource;
  readonly #storage: Storage;
  readonly #selection: Selection;
  #next: number;
  #wake: (() => void) | undefined;
  #endRest: (() => void) | undefined;

  constructor(resource: Resource, storage: Storage, selection: Selection, next: number) {
    this.#resource = resource;
    this.#storage = storage;
    this.#selection = selection;
    this.#next = next;
  }

  /** Asleep it stands at the end: what does not concern it (or what it never hears of) it has passed. */
  changed(change: Change, sequence: number): void {
    if (!this.#wake || !eventFor(this.#resource, this.#selection, change)) return;
    this.#next = sequence;
    this.#wake();
  }

  reset(): void {
    this.#endRest?.();
    this.#wake?.();
  }

  /** Wakes up at the end, because nothing that came in the meantime was of concern. */
  wakeUp(): void {
    this.#endRest?.();
    if (!this.#wake) return;
    this.#next = this.#storage.collection.end;
    this.#wake();
  }

  /** Events from the place on, at most one batch; moves the place. */
  read(): ObjectEvent[] {
    const events: ObjectEvent[] = [];
    const { collection } = this.#storage;
    while (events.length < maximumBatch) {
      const change = collection.at(this.#next);
      if (!change) break;
      if (change === 'forgotten') {
        if (events.length > 0) break;
        throw new PintleError('EXPIRED', 'too old resource version: the watch fell behind the kept history');
      }
      this.#next++;
      const event = eventFor(this.#resource, this.#selection, change);
      if (event) events.push(event);
    }
    return events;
  }

  /** Resolves after `ms`, whatever changes meanwhile, or when `wakeUp` is called; the place stays. */
  rest(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(() => this.#endRest?.(), ms);
      this.#endRest = () => {
        clearTimeout(timer);
        this.#endRest = undefined;
        resolve();
      };
    });
  }

  /** Resolves when there may be something to read, or after `ms`, or when `wakeUp` is called. */
  sleep(ms: number): Promise<void> {
    if (this.#next !== this.#storage.collection.end) return Promise.resolve();
    return new Promise((resolve) => {
      const timer = setTimeout(() => this.wakeUp(), ms);
      this.#wake = () => {
        clearTimeout(timer);
        this.#wake = undefined;
        resolve();
      };
    });
  }
}

function gatherMs(followers: number): number {
  return followers < crowd ? 0 : Math.min(maximumGatherMs, followers * gatherMsPerFollower);
}

function bookmark(resource: Resource, revision: number, endsInitial: boolean): ObjectEvent {
  const metadata = {
    resourceVersion: String(revision),
    ...(endsInitial && { annotations: Object.freeze({ 'k8s.io/initial-events-end': 'true' }) }),
  };
  return Object.freeze({
    type: 'BOOKMARK',
    object: Object.freeze({
      apiVersion: resource.apiVersion,
      kind: resource.served.kind,
      metadata: Object.freeze(metadata) as KubernetesObject['metadata'],
    }),
  });
}

function* initialEvents(storage: Storage, selection: Selection, tree: ObjectTree): Generator<ObjectEvent[]> {
  let start = selection.prefix;
  for (;;) {
    const events: ObjectEvent[] = [];
    let isCut = false;
    scanSelected(storage.collection, tree, selection, start, (key, object) => {
      if (events.length >= initialBatch) {
        start = key;
        isCut = true;
        return false;
      }
      if (selection.isEverything || selection.matches(object)) {
        events.push({ type: 'ADDED', object: selection.shown(object) });
      }
      return true;
    });
    if (events.length > 0) yield events;
    if (!isCut) return;
  }
}

function expired(asked: number, kept: number): PintleError {
  return new PintleError('EXPIRED', `too old resource version: ${asked} (${kept})`);
}

export async function* watch(
  state: State,
  resource: Resource,
  storage: Storage,
  options: WatchOptions,
  bookmarkMs: number,
  signal: AbortSignal,
): AsyncGenerator<readonly ObjectEvent[], void, void> {
  const selection = select(resource, options);
  const asked = parseRevision(options.resourceVersion) ?? 0;
  const endMs = options.timeoutSeconds && options.timeoutSeconds > 0 ? options.timeoutSeconds * 1000 : undefined;
  const started = performance.now();
  if (asked > state.revision) await state.reach(asked, futureMs);
  else if (asked === 0) await state.fresh();

  const { collection } = storage;
  const showsInitial = options.sendInitialEvents ?? asked === 0;
  const tree = collection.tree;
  let revision = state.revision;
  const fromNow = showsInitial || asked === 0;
  const next = fromNow ? collection.end : collection.sequenceAfter(asked);
  if (next === undefined) throw expired(asked, collection.forgotten);

  const reader = new LogReader(resource, storage, selection, next);
  const unfollow = collection.follow(reader, selection.trigger);
  const stop = () => reader.wakeUp();
  signal.addEventListener('abort', stop);
  const unheed = state.onStop(stop);
  const isOver = () => signal.aborted || state.isStopped;
  try {
    if (showsInitial) {
      for (const events of initialEvents(storage, selection, tree)) {
        if (isOver()) return;
        yield events;
      }
      if (options.sendInitialEvents && !isOver()) yield [bookmark(resource, revision, true)];
    }
    let lastBookmark = performance.now();
    while (!isOver()) {
      const events = reader.read();
      if (events.length > 0) {
        yield events;
        const restMs = selection.projection ? gatherMs(collection.followerCount) : 0;
        const leftMs = endMs === undefined ? restMs : started + endMs - performance.now();
        if (restMs > 0 && leftMs > 0 && !isOver()) await reader.rest(Math.min(restMs, leftMs));
        continue;
      }
      // Everything up to here has been handed out.
      revision = state.revision;
      const now = performance.now();
      const isEnd = endMs !== undefined && now - started >= endMs;
      if (options.allowWatchBookmarks && (isEnd || now - lastBookmark >= bookmarkMs)) {
        lastBookmark = now;
        yield [bookmark(resource, revision, false)];
        if (!isEnd) continue;
      }
      if (isEnd) return;
      const untilEnd = endMs === undefined ? Number.POSITIVE_INFINITY : started + endMs - now;
      const untilBookmark = options.allowWatchBookmarks ? lastBookmark + bookmarkMs - now : Number.POSITIVE_INFINITY;
      await reader.sleep(Math.max(1, Math.min(untilEnd, untilBookmark, 2 ** 31 - 1)));
    }
  } finally {
    unfollow();
    signal.removeEventListener('abort', stop);
    unheed();
  }
}
