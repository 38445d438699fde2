/** Hands each event to every subscriber; who reads slowly loses the oldest, for events are hints only. */
const maxQueued = 1_000;

export class EventStream<T> {
  readonly #subscribers = new Set<{ readonly queue: T[]; wake: () => void }>();
  #isClosed = false;

  push(event: T): void {
    for (const subscriber of this.#subscribers) {
      subscriber.queue.push(event);
      if (subscriber.queue.length > maxQueued) subscriber.queue.shift();
      subscriber.wake();
    }
  }

  close(): void {
    this.#isClosed = true;
    for (const subscriber of this.#subscribers) subscriber.wake();
  }

  /** Subscribed from the call on, not from the first `next`. Ends when aborted or closed. */
  subscribe(signal: AbortSignal): AsyncIterable<T> {
    const subscriber = { queue: [] as T[], wake: (): void => undefined };
    this.#subscribers.add(subscriber);
    const isOver = (): boolean => signal.aborted || this.#isClosed;
    const onAbort = (): void => subscriber.wake();
    signal.addEventListener('abort', onAbort, { once: true });
    const end = (): void => {
      this.#subscribers.delete(subscriber);
      signal.removeEventListener('abort', onAbort);
    };
    async function* run(): AsyncGenerator<T> {
      try {
        while (true) {
          const next = subscriber.queue.shift();
          if (next !== undefined) yield next;
          else if (isOver()) return;
          else
            await new Promise<void>((resolve) => {
              subscriber.wake = resolve;
            });
        }
      } finally {
        end();
      }
    }
    return run();
  }
}
