import type { Logger, Measured } from '../contract/index.ts';
import { mergeMetrics } from '../machinery/metrics/merge-metrics.ts';

/** The running plugins of one process that say how they fare, and what they say. */
export class ProcessMetrics {
  readonly #measured = new Map<string, Measured>();

  add(id: string, instance: object): void {
    if (typeof (instance as Measured).metrics === 'function') this.#measured.set(id, instance as Measured);
  }

  remove(id: string): void {
    this.#measured.delete(id);
  }

  /** One that cannot tell does not take the others' figures away. */
  async text(log: Logger): Promise<string> {
    const texts = await Promise.all(
      [...this.#measured].map(async ([id, measured]) => {
        try {
          return (await measured.metrics?.()) ?? '';
        } catch (error) {
          log.warn(`${id}: its metrics could not be read`, { error: String(error) });
          return '';
        }
      }),
    );
    return mergeMetrics(texts);
  }
}
