/** Ends the engine's containers: told first, then killed; and removes them. */
import type { ContainerInspectInfo } from 'dockerode';
import type { Clock } from '../../../kernel/contract/index.ts';
import { statusOf, textOf, type Engine } from './engine.ts';

export class Endings {
  readonly #engine: Engine;
  readonly #clock: Clock;
  /** By the engine's id: those that have had their signal, which a second stop does not repeat. */
  readonly #told = new Set<string>();

  constructor(engine: Engine, clock: Clock) {
    this.#engine = engine;
    this.#clock = clock;
  }

  /** Resolves when it has ended. */
  async stop(info: ContainerInspectInfo, graceMs: number): Promise<void> {
    const { Id } = info;
    if (graceMs <= 0) return this.kill(Id);
    const ended = this.#end(Id);
    if (!this.#told.has(Id)) {
      this.#told.add(Id);
      await this.#signal(Id, (info.Config as { readonly StopSignal?: string }).StopSignal || 'SIGTERM');
    }
    const over = new AbortController();
    const late = this.#clock.sleep(graceMs, over.signal).then(
      () => true,
      () => false,
    );
    try {
      if (await Promise.race([ended.then(() => false), late])) await this.#signal(Id, 'SIGKILL');
    } finally {
      over.abort();
    }
    await ended;
    this.#told.delete(Id);
  }

  async kill(dockerId: string): Promise<void> {
    const ended = this.#end(dockerId);
    await this.#signal(dockerId, 'SIGKILL');
    await ended;
  }

  async remove(dockerId: string): Promise<void> {
    for (;;)
      try {
        await this.#engine.find((docker) => docker.getContainer(dockerId).remove({ force: true, v: true }));
        return;
      } catch (error) {
        // Another call removes it at this moment.
        if (statusOf(error) !== 409) throw error;
        await this.#clock.sleep(20);
      }
  }

  #end(dockerId: string): Promise<unknown> {
    const ended = this.#engine.find((docker) => docker.getContainer(dockerId).wait());
    // Awaited later, or not at all when something before fails.
    ended.catch(() => undefined);
    return ended;
  }

  async #signal(dockerId: string, signal: string): Promise<void> {
    try {
      await this.#engine.find((docker) => docker.getContainer(dockerId).kill({ signal }));
    } catch (error) {
      // It has ended already.
      if (statusOf(error) !== 409 && !/is not running/.test(textOf(error))) throw error;
    }
  }
}
