/** Round robin over the endpoints of a pool, with session affinity by client address. Pure but for the clock. */
import { targetKey, type Pool, type Target } from './plan.ts';

interface Held {
  readonly target: Target;
  readonly untilMs: number;
}

/** Clients remembered for one port; beyond, the longest unseen goes. */
const mostClients = 65_536;

/** Who is held where, for all pools of one port. */
export type Clients = Map<string, Held>;

export class Balancer {
  readonly #clients: Clients;
  readonly #now: () => number;
  #pool: Pool;
  #next = 0;

  constructor(pool: Pool, clients: Clients, now: () => number) {
    this.#pool = pool;
    this.#clients = clients;
    this.#now = now;
  }

  get pool(): Pool {
    return this.#pool;
  }

  /** Returns whether anything differs. */
  update(pool: Pool): boolean {
    const shape = ({ targets, living, affinity }: Pool): string =>
      JSON.stringify([targets, [...living].sort(), affinity]);
    const isChanged = shape(pool) !== shape(this.#pool);
    this.#pool = pool;
    return isChanged;
  }

  /** The endpoint for a new connection of `client`, none of those in `failed`. */
  pick(client: string, failed: ReadonlySet<string> = new Set()): Target | undefined {
    const { targets, affinity } = this.#pool;
    const now = this.#now();
    const held = affinity === undefined ? undefined : this.#clients.get(client);
    const isUsable = (target: Target): boolean =>
      !failed.has(targetKey(target)) && targets.some((each) => targetKey(each) === targetKey(target));
    let target = held !== undefined && held.untilMs > now && isUsable(held.target) ? held.target : undefined;
    for (let tried = 0; target === undefined && tried < targets.length; tried += 1) {
      const candidate = targets[this.#next % targets.length];
      this.#next = (this.#next + 1) % targets.length;
      if (candidate !== undefined && isUsable(candidate)) target = candidate;
    }
    if (target !== undefined && affinity !== undefined) this.#hold(client, target, now + affinity.seconds * 1_000);
    return target;
  }

  #hold(client: string, target: Target, untilMs: number): void {
    // Last in the map is last seen.
    this.#clients.delete(client);
    this.#clients.set(client, { target, untilMs });
    for (const oldest of this.#clients.keys()) {
      if (this.#clients.size <= mostClients) break;
      this.#clients.delete(oldest);
    }
  }
}
