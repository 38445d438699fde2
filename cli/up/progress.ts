/** One line a step, with its time. */
import type { Terminal } from '../terminal.ts';

export class Progress {
  readonly #terminal: Terminal;
  readonly #began = performance.now();

  constructor(terminal: Terminal) {
    this.#terminal = terminal;
  }

  async step<T>(name: string, work: () => Promise<T>, detail?: (result: T) => string): Promise<T> {
    const began = performance.now();
    try {
      const result = await work();
      const more = detail ? detail(result) : '';
      this.#line('green', 'ok', name, began, more);
      return result;
    } catch (error) {
      this.#line('red', 'failed', name, began, '');
      throw error;
    }
  }

  #line(color: 'green' | 'red', word: string, name: string, began: number, more: string): void {
    const ms = `${Math.round(performance.now() - began)} ms`.padStart(8);
    this.#terminal.line(
      `${this.#terminal.style(color, word.padEnd(6))} ${name.padEnd(34)} ${ms}${more === '' ? '' : `  ${more}`}`,
    );
  }

  get elapsedMs(): number {
    return Math.round(performance.now() - this.#began);
  }
}
