/** One line a step, with its time. */
import type { Style, Terminal } from '../terminal.ts';

export class Progress {
  readonly #terminal: Terminal;
  readonly #signal: AbortSignal;
  readonly #began = performance.now();

  /** After `signal` a step has not failed: it was stopped. */
  constructor(terminal: Terminal, signal: AbortSignal) {
    this.#terminal = terminal;
    this.#signal = signal;
  }

  async step<T>(name: string, work: () => Promise<T>, detail?: (result: T) => string): Promise<T> {
    const began = performance.now();
    this.#terminal.passing(`        ${name} ...`);
    try {
      const result = await work();
      const more = detail ? detail(result) : '';
      this.#line('green', 'ok', name, began, more);
      return result;
    } catch (error) {
      if (this.#signal.aborted) this.#line('yellow', 'stopped', name, began, '');
      else this.#line('red', 'failed', name, began, '');
      throw error;
    }
  }

  #line(color: Style, word: string, name: string, began: number, more: string): void {
    const ms = `${Math.round(performance.now() - began)} ms`.padStart(8);
    this.#terminal.line(
      `${this.#terminal.style(color, word.padEnd(7))} ${name.padEnd(34)} ${ms}${more === '' ? '' : `  ${more}`}`,
    );
  }

  get elapsedMs(): number {
    return Math.round(performance.now() - this.#began);
  }
}
