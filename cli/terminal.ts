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
  /** Of the terminal; undefined when there is none. */
  readonly #columns: number | undefined;

  constructor(out: NodeJS.WriteStream | NodeJS.WritableStream, err: NodeJS.WritableStream, env: NodeJS.ProcessEnv) {
    this.#out = out;
    this.#err = err;
    this.#columns = 'isTTY' in out && out.isTTY ? out.columns : undefined;
    this.hasColor = 'isTTY' in out && out.isTTY && (env['NO_COLOR'] ?? '') === '' && env['TERM'] !== 'dumb';
  }

  line(text = ''): void {
    this.#out.write(`${text}\n`);
  }

  /** Text as it is, its line ends included. */
  write(text: string): void {
    if (text !== '') this.#out.write(text);
  }

  /** On a terminal: a line that the next one is written over. */
  passing(text: string): void {
    if (this.#columns !== undefined) this.#out.write(`${text}\r`);
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

  /** Columns as wide as their widest cell; the last one takes what the terminal has left, in several lines if it must. */
  table(header: readonly string[], rows: readonly (readonly string[])[]): void {
    const widths = header.map((title, column) =>
      Math.max(title.length, ...rows.map((row) => row[column]?.length ?? 0)),
    );
    const indent = widths.slice(0, -1).reduce((sum, width) => sum + width + 2, 0);
    const format = (cells: readonly string[]): string => {
      const [first = '', ...more] = wrap(cells.at(-1) ?? '', (this.#columns ?? Infinity) - indent);
      const fixed = cells.slice(0, -1).map((cell, column) => cell.padEnd(widths[column]!));
      return [[...fixed, first].join('  ').trimEnd(), ...more.map((text) => ' '.repeat(indent) + text)].join('\n');
    };
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

const leastWidth = 16;

/** Lines of at most `width`, broken between words. A column that is too narrow for prose is left to the terminal. */
function wrap(text: string, width: number): readonly string[] {
  if (text.length <= width || width < leastWidth) return [text];
  const lines: string[] = [];
  for (const word of text.split(' ')) {
    const last = lines.at(-1);
    if (last !== undefined && last.length + 1 + word.length <= width) lines[lines.length - 1] = `${last} ${word}`;
    else lines.push(word);
  }
  return lines;
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
