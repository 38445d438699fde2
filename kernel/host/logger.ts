import pino from 'pino';
import type { Logger } from '../contract/index.ts';
import type { LogLevel } from './log-levels.ts';

/** Makes the log of each part: "kernel", "store/lmdb" ... */
export interface LogSource {
  of(part: string): Logger;
}

export interface LogOptions {
  readonly level: LogLevel;
  /** One JSON object a line, or plain lines for people. */
  readonly format: 'json' | 'text';
  /** A file that is appended to. Default: stderr. */
  readonly file?: string | undefined;
}

/** Lines are written before the call returns: a log that ends before the crash is of no use. */
export function openLog({ level, format, file }: LogOptions): LogSource {
  const sink = pino.destination({ dest: file ?? 2, sync: true, mkdir: true });
  const options: pino.LoggerOptions = {
    level,
    base: null,
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: (label) => ({ level: label }) },
    messageKey: 'message',
  };
  return logTo(pino(options, format === 'json' ? sink : { write: (line: string) => sink.write(plainLine(line)) }));
}

export const quietLog: LogSource = {
  of: () => ({ debug: nothing, info: nothing, warn: nothing, error: nothing }),
};
function nothing(): void {}

function logTo(root: pino.Logger): LogSource {
  const write =
    (logger: pino.Logger, level: LogLevel) =>
    (message: string, fields?: Readonly<Record<string, unknown>>): void =>
      logger[level](fields ?? {}, message);
  return {
    of(part) {
      const logger = root.child({ part });
      return {
        debug: write(logger, 'debug'),
        info: write(logger, 'info'),
        warn: write(logger, 'warn'),
        error: write(logger, 'error'),
      };
    },
  };
}

/** 2026-01-31T10:00:00.000Z warn  overlay/vxlan: message key=value */
function plainLine(json: string): string {
  const { time, level, part, message, ...fields } = JSON.parse(json) as Record<string, unknown>;
  const rest = Object.entries(fields).map(([key, value]) => ` ${key}=${JSON.stringify(value)}`);
  // a message of several lines is indented, so that each line that starts with a time is one entry
  const text = String(message).replaceAll('\n', '\n    ');
  return `${String(time)} ${String(level).padEnd(5)} ${String(part)}: ${text}${rest.join('')}\n`;
}
