/**
 * The promises of a watch, those of etcd: filter, ordered, unique, atomic, reliable, resumable, bookmarkable, isCreate and
 * prevKV. A watch that was resumed is one more watch, after what the first one last said.
 */
import { firstIndex, isSame, show, showEvent, type History, type SeenEvent, type SeenWatch } from './history.ts';

/** Holds one watch against the log. */
export function checkWatch(watch: SeenWatch, { base, log }: History, violations: string[]): void {
  const what = `watch of "${watch.prefix}" after ${watch.after}`;
  let progress = watch.after;
  const seen: SeenEvent[] = [];
  for (const batch of watch.batches) {
    for (const event of batch.events) {
      const last = seen.at(-1)?.revision ?? watch.after;
      if (!event.key.startsWith(watch.prefix)) violations.push(`${what}: filter: delivered "${event.key}"`);
      if (event.revision < last) violations.push(`${what}: ordered: revision ${event.revision} after ${last}`);
      if (event.revision <= progress)
        violations.push(`${what}: bookmarkable: revision ${event.revision} came after progress ${progress}`);
      if (event.revision > batch.progress)
        violations.push(
          `${what}: bookmarkable: revision ${event.revision} is above its batch's progress ${batch.progress}`,
        );
      seen.push(event);
    }
    if (batch.progress < progress)
      violations.push(`${what}: bookmarkable: progress went from ${progress} to ${batch.progress}`);
    progress = Math.max(progress, batch.progress);
  }
  if (watch.after < base.revision)
    violations.push(`${what}: begins before the base ${base.revision}, which cannot be judged`);
  const from = firstIndex(log, (event) => event.revision > watch.after);
  const to = firstIndex(log, (event) => event.revision > progress);
  const due = log.slice(from, to).filter((event) => event.key.startsWith(watch.prefix));
  compareEvents(what, due, seen, violations);
}

function compareEvents(
  what: string,
  due: readonly SeenEvent[],
  seen: readonly SeenEvent[],
  violations: string[],
): void {
  const wanted = new Map(due.map((event) => [identity(event), event]));
  const found = new Set<string>();
  for (const event of seen) {
    const id = identity(event);
    const right = wanted.get(id);
    if (found.has(id)) violations.push(`${what}: unique: revision ${event.revision} of "${event.key}" came twice`);
    else if (right === undefined)
      violations.push(`${what}: delivered ${showEvent(event)} at ${event.revision}, which never happened`);
    else if (!isSame(right.entry, event.entry))
      violations.push(
        `${what}: revision ${event.revision} of "${event.key}" is ${show(event.entry)}, not ${show(right.entry)}`,
      );
    else if (!isSame(right.previous, event.previous))
      violations.push(
        `${what}: prevKV: previous of revision ${event.revision} of "${event.key}" is ${show(event.previous)}, not ${show(right.previous)}`,
      );
    found.add(id);
  }
  for (const event of due)
    if (!found.has(identity(event)))
      violations.push(`${what}: reliable: revision ${event.revision} of "${event.key}" is missing`);
}

function identity(event: SeenEvent): string {
  return `${event.revision} ${event.key}`;
}
