/**
 * What waits for all clients of watches together. One that reads slowly is given time, but two thousand that never read
 * would each hold its share: when the sum is above the limit, those that are behind for the longest are cut. Kubernetes does
 * so too; a client resumes from the last change it has read, or lists again.
 */
export interface SlowClient {
  /** Closes its connection; nothing waits for it any more. */
  cut(): void;
}

export class WatchBacklog {
  readonly #limitBytes: number;
  readonly #onCut: () => void;
  /** What waits for each, the one that is behind for the longest first. */
  readonly #behind = new Map<SlowClient, number>();
  #bytes = 0;

  constructor(limitBytes: number, onCut: () => void = () => undefined) {
    this.#limitBytes = limitBytes;
    this.#onCut = onCut;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** So much waits for the client now; 0: it has taken everything. */
  note(client: SlowClient, bytes: number): void {
    this.#bytes += bytes - (this.#behind.get(client) ?? 0);
    if (bytes === 0) this.#behind.delete(client);
    // One that is known keeps its place.
    else this.#behind.set(client, bytes);
    for (const [oldest, held] of this.#behind) {
      if (this.#bytes <= this.#limitBytes) return;
      this.#behind.delete(oldest);
      this.#bytes -= held;
      this.#onCut();
      oldest.cut();
    }
  }
}
