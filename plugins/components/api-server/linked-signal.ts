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

export function linkSignals(...sources: readonly AbortSignal[]): LinkedSignal {
  const controller = new AbortController();
  const follow = (): void => controller.abort(sources.find((source) => source.aborted)?.reason);
  for (const source of sources) {
    if (source.aborted) follow();
    else source.addEventListener('abort', follow, { once: true });
  }
  return {
    signal: controller.signal,
    unlink() {
      for (const source of sources) source.removeEventListener('abort', follow);
      controller.abort(unlinked);
    },
  };
}
