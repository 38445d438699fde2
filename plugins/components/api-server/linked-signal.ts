/**
 * A signal that follows several others until it is unlinked. AbortSignal.any keeps what it made reachable from a
 * long-lived source on Node 20; a server's stop signal would gather one entry a request.
 */
export interface LinkedSignal {
  readonly signal: AbortSignal;
  /** Lets go of the sources and aborts. */
  unlink(): void;
}

/** One for all: see http-exchange.ts. */
const unlinked = new DOMException('nothing is waited for any more', 'AbortError');

/** One listener on each source for all that follow it: a signal searches its listeners for each new one. */
const followersOf = new WeakMap<AbortSignal, Set<() => void>>();

function followers(source: AbortSignal): Set<() => void> {
  let all = followersOf.get(source);
  if (all === undefined) {
    const made = new Set<() => void>();
    source.addEventListener('abort', () => made.forEach((follow) => follow()), { once: true });
    followersOf.set(source, (all = made));
  }
  return all;
}

export function linkSignals(...sources: readonly AbortSignal[]): LinkedSignal {
  const controller = new AbortController();
  const follow = (): void => controller.abort(sources.find((source) => source.aborted)?.reason);
  for (const source of sources) {
    if (source.aborted) follow();
    else followers(source).add(follow);
  }
  return {
    signal: controller.signal,
    unlink() {
      for (const source of sources) followersOf.get(source)?.delete(follow);
      controller.abort(unlinked);
    },
  };
}
