import { isPintleError } from '../kernel/contract/errors.ts';
import { type ExitCode, exitCodes } from './exit-codes.ts';

export type OutputFormat = 'text' | 'json';

export type Style = 'bold' | 'dim' | 'red' | 'green' | 'yellow';
const styles: Readonly<Record<Style, readonly [number, number]>> = {
  bold: [1, 22],
  dim: [2, 22],
  red: [31, 39],
  green: [32, 39],
  yellow: [33, 39],
};

/** Where a command writes, and how. Colours only on a terminal, and never with NO_COLOR (no-color.org). */
export class Terminal {
  readonly #out: NodeJS.WritableStream;
  readonly #err: NodeJS.WritableStream;
  readonly hasColor: boolean;

  constructor(out: NodeJS.WriteStream | NodeJS.WritableStream, err: NodeJS.WritableStream, env: NodeJS.ProcessEnv) {
    this.#out = out;
    this.#err = err;
    this.hasColor = 'isTTY' in out && out.isTTY && (env['NO_COLOR'] ?? '') === '' && env['TERM'] !== 'dumb';
  }

  line(text = ''): void {
    this.#out.write(`${text}\n`);
  }

  /** Text as it is, its line ends included. */
  write(text: string): void {
    if (text !== '') this.#out.write(text);
  }

  json(value: unknown): void {
    this.#out.write(`${JSON.stringify(value, undefined, 2)}\n`);
  }

  errorLine(text: string): void {
    this.#err.write(`${text}\n`);
  }

  style(style: Style, text: string): string {
    if (!this.hasColor) return text;
    const [on, off] = styles[style];
    return `\x1b[${on}m${text}\x1b[${off}m`;
  }

  /** Columns as wide as their widest cell, the last one free. */
  table(header: readonly string[], rows: readonly (readonly string[])[]): void {
    const widths = header.map((title, column) =>
      Math.max(title.length, ...rows.map((row) => row[column]?.length ?? 0)),
    );
    const format = (cells: readonly string[]): string =>
      cells
        .map((cell, column) => (column === cells.length - 1 ? cell : cell.padEnd(widths[column]!)))
        .join('  ')
        .trimEnd();
    this.line(this.style('bold', format(header)));
    for (const row of rows) this.line(format(row));
  }

  refused(code: string, message: string): void {
    this.errorLine(`${this.style('red', 'error')} [${code}] ${message}`);
  }

  /** Prints an error for a person: its message, and for an unexpected one where it came from. */
  failure(error: unknown): void {
    if (isPintleError(error)) this.refused(error.code, error.message);
    else
      this.errorLine(
        `${this.style('red', 'error')} ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`,
      );
  }
}

type Action<Arguments extends unknown[]> = (...given: Arguments) => Promise<ExitCode | void>;

/** What every command gets: the terminal, and a frame around its action that turns the outcome into the exit code. */
export class Cli {
  readonly terminal: Terminal;
  readonly env: NodeJS.ProcessEnv;
  exitCode: ExitCode = exitCodes.done;

  constructor(terminal: Terminal, env: NodeJS.ProcessEnv) {
    this.terminal = terminal;
    this.env = env;
  }

  /** For commander's `.action(...)`. */
  action<Arguments extends unknown[]>(run: Action<Arguments>): (...given: Arguments) => Promise<void> {
    return async (...given) => {
      try {
        this.exitCode = (await run(...given)) ?? exitCodes.done;
      } catch (error) {
        this.terminal.failure(error);
        this.exitCode = exitCodes.failed;
      }
    };
  }
}
