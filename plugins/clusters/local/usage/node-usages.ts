/** What nodes say of their usage. Asked at the moment, together, and not again for a second: many may ask at once. */
import type { Clock, Logger, NodeUsage } from '../../../../kernel/contract/index.ts';
import type { NodeConnections } from '../node-connections.ts';

const freshMs = 1_000;
/** A node that hangs must not make everybody's answer wait for long. */
const patienceMs = 5_000;

export class NodeUsages {
  readonly #nodes: NodeConnections;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #asked = new Map<string, { readonly atMs: number; readonly answer: Promise<NodeUsage | undefined> }>();

  constructor(nodes: NodeConnections, clock: Clock, log: Logger) {
    this.#nodes = nodes;
    this.#clock = clock;
    this.#log = log;
  }

  /** By node name; nodes that are not connected, do not answer, or know nothing yet are left out. */
  async of(names: readonly string[]): Promise<ReadonlyMap<string, NodeUsage>> {
    const answers = await Promise.all(names.map(async (name) => [name, await this.#one(name)] as const));
    return new Map(answers.flatMap(([name, usage]) => (usage === undefined ? [] : [[name, usage] as const])));
  }

  #one(name: string): Promise<NodeUsage | undefined> {
    if (!this.#nodes.has(name)) {
      this.#asked.delete(name);
      return Promise.resolve(undefined);
    }
    const now = this.#clock.now();
    const known = this.#asked.get(name);
    if (known !== undefined && now - known.atMs < freshMs) return known.answer;
    const answer = this.#ask(name);
    this.#asked.set(name, { atMs: now, answer });
    return answer;
  }

  async #ask(name: string): Promise<NodeUsage | undefined> {
    try {
      return await this.#nodes.get(name).stats(AbortSignal.timeout(patienceMs));
    } catch (error) {
      this.#log.debug(`node ${name} did not tell its usage`, { error: String(error) });
      return undefined;
    }
  }
}
