/** Kubernetes' cron dialect (that of the Go library robfig/cron), told to croner; and `@every`, which croner lacks. */
import type { Cron } from 'croner';

/** Times in ms since 1970. */
export interface Schedule {
  /** The first time after `ms`; undefined when there is none (February 30th). */
  next(ms: number): number | undefined;
  /** The last time until `ms`, of those after `after`. */
  last(after: number, ms: number): number | undefined;
}

const macros: Readonly<Record<string, string>> = {
  '@yearly': '0 0 1 1 *',
  '@annually': '0 0 1 1 *',
  '@monthly': '0 0 1 * *',
  '@weekly': '0 0 * * 0',
  '@daily': '0 0 * * *',
  '@midnight': '0 0 * * *',
  '@hourly': '0 * * * *',
};

/** The last value of each field, where "5/10" ends. */
const lastValues = [59, 23, 31, 12, 6] as const;

/** Rejects for a text that is no schedule, and for an unknown time zone. */
export async function parseSchedule(text: string, timeZone: string | undefined): Promise<Schedule> {
  const schedule = text.trim();
  if (schedule.startsWith('@every ')) return everySchedule(durationMs(schedule.slice('@every '.length)));
  // Loaded when the first CronJob needs it.
  const { Cron: Pattern } = await import('croner');
  const cron: Cron = new Pattern(cronerPattern(macros[schedule] ?? schedule), {
    paused: true,
    mode: '5-part',
    ...(timeZone === undefined ? {} : { timezone: timeZone }),
  });
  return {
    next: (ms) => cron.nextRun(new Date(ms))?.getTime(),
    last: (after, ms) =>
      cron
        .previousRuns(2, new Date(ms + 1000))
        .map((date) => date.getTime())
        .find((at) => at > after && at <= ms),
  };
}

/** "?" means "*" here, and the current time to croner; "5/10" is "5-59/10". */
export function cronerPattern(pattern: string): string {
  return pattern
    .split(/\s+/)
    .map((field, index) =>
      field
        .split(',')
        .map((part) =>
          part
            .replace(/^\?/, '*')
            .replace(
              /^([0-9A-Za-z]+)\/(\d+)$/,
              (_all, first: string, step: string) => `${first}-${lastValues[index]}/${step}`,
            ),
        )
        .join(','),
    )
    .join(' ');
}

function everySchedule(periodMs: number): Schedule {
  const whole = (ms: number) => Math.floor(ms / 1000) * 1000;
  return {
    next: (ms) => whole(ms) + periodMs,
    last: (after, ms) => {
      const periods = Math.floor((ms - whole(after)) / periodMs);
      return periods < 1 ? undefined : whole(after) + periods * periodMs;
    },
  };
}

const units: Readonly<Record<string, number>> = {
  ns: 1e-6,
  us: 1e-3,
  µs: 1e-3,
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
};

/** "1h30m"; whole seconds, at least one. */
function durationMs(text: string): number {
  let ms = 0;
  for (const [, number, unit] of text.matchAll(/(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)/g))
    ms += Number(number) * (units[unit ?? ''] ?? 0);
  return Math.max(1000, Math.floor(ms / 1000) * 1000);
}

export interface DueTime {
  /** The latest time that has come; undefined when none has since `after`. */
  readonly at: number | undefined;
  /** So many times have come since `after` that something is wrong: a clock, or a long outage. */
  readonly isTooMany: boolean;
}

const manyMissed = 100;

export function dueTime(schedule: Schedule, after: number, now: number): DueTime {
  let count = 0;
  for (let next = schedule.next(after); next !== undefined && next <= now; next = schedule.next(next))
    if (++count > manyMissed) break;
  return { at: count === 0 ? undefined : schedule.last(after, now), isTooMany: count > manyMissed };
}
