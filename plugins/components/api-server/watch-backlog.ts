/**
 * What waits for all clients of watches together. One that reads slowly is given time, but two thousand that never read
 * would each hold its share: when the sum is above the limit, those that are behind for the longest are cut. Kubernetes does
 * so too; a client resumes from the last change it has read, or lists again. The more are behind, the less each may have
 * waiting: a thousand that connect at once and are sent their lists are all served, each as fast as it reads.
 */
export interface SlowClient {
  /** Closes its connection; nothing waits for it any more. */
  cut(): void;
}

/** What may wait for a client before its watch goes on, which until then is a place in a bounded log and costs nothing. */
export const mostAClient = 256 * 1024;
/** Below it Node.js does not say that a client reads too slowly. */
const leastAClient = 16 * 1024;

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

  /** What may wait for one client now: an eighth of the limit is shared by those that are behind, the rest is for lines. */
  get share(): number {
    const even = Math.floor(this.#limitBytes / 8 / (this.#behind.size + 1));
    return Math.min(mostAClient, Math.max(leastAClient, even));
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
