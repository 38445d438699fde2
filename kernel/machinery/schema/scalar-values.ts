/** One JSON value against one scalar type: the value in canonical form, or what was expected instead. */
import { copyJson } from '../copy-json.ts';
import { canonicalQuantity, isQuantity } from '../quantity.ts';
import { formatDuration, parseDuration } from './duration.ts';
import type { ScalarType } from './schema.ts';

export class Mismatch extends Error {
  readonly expected: string;
  constructor(expected: string) {
    super(`expected ${expected}`);
    this.expected = expected;
  }
}

const timePattern = /^(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:[.,](\d{1,9}))?(Z|[+-]\d\d:\d\d)$/;
const base64Pattern = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;

function integer(value: unknown, minimum: number, maximum: number, name: string): number {
  if (typeof value !== 'number' || !Number.isInteger(value)) throw new Mismatch(`an integer (${name})`);
  if (value < minimum || value > maximum) throw new Mismatch(`an integer between ${minimum} and ${maximum}`);
  return value === 0 ? 0 : value;
}

function text(value: unknown, what: string): string {
  if (typeof value !== 'string') throw new Mismatch(what);
  return value;
}

/** Most times of an object are in all that are written of it, and already as they are printed. */
const knownTimes = new Set<string>();
const maxKnownTimes = 1_000;

function time(value: unknown, digits: 0 | 6): string {
  if (digits === 6) return checkTime(value, digits);
  if (typeof value === 'string' && knownTimes.has(value)) return value;
  const checked = checkTime(value, digits);
  if (knownTimes.size >= maxKnownTimes) knownTimes.clear();
  knownTimes.add(checked);
  return checked;
}

function checkTime(value: unknown, digits: 0 | 6): string {
  const expected = 'a time in RFC 3339 form such as "2026-01-31T12:00:00Z"';
  const match = timePattern.exec(text(value, expected));
  if (!match) throw new Mismatch(expected);
  const [, year, month, day, hour, minute, second, fraction = '', zone] = match;
  const local = Date.UTC(Number(year), Number(month) - 1, Number(day), Number(hour), Number(minute), Number(second));
  const date = new Date(local);
  if (Number(year) < 100) date.setUTCFullYear(Number(year));
  const isReal =
    date.getUTCMonth() === Number(month) - 1 &&
    date.getUTCDate() === Number(day) &&
    Number(hour) < 24 &&
    Number(minute) < 60 &&
    Number(second) < 60;
  if (!isReal) throw new Mismatch(expected);
  const offset =
    zone === 'Z' ? 0 : Number(`${zone![0]}1`) * (Number(zone!.slice(1, 3)) * 60 + Number(zone!.slice(4, 6)));
  const utc = new Date(date.getTime() - offset * 60_000);
  if (utc.getUTCFullYear() < 0 || utc.getUTCFullYear() > 9999) throw new Mismatch(expected);
  const seconds = utc.toISOString().slice(0, 19);
  return digits === 0 ? `${seconds}Z` : `${seconds}.${fraction.slice(0, 6).padEnd(6, '0')}Z`;
}

type PlainScalar = Exclude<ScalarType, 'schemaOrArray' | 'schemaOrBool' | 'schemaOrStrings'>;

/** `null` stands for the zero value, as in a list of strings. Throws Mismatch. */
export function checkScalar(value: unknown, type: PlainScalar): unknown {
  switch (type) {
    case 'string':
      return text(value ?? '', 'a string');
    case 'bool':
      if (typeof (value ?? false) !== 'boolean') throw new Mismatch('true or false');
      return value ?? false;
    case 'int32':
      return integer(value ?? 0, -(2 ** 31), 2 ** 31 - 1, type);
    case 'int64':
      return integer(value ?? 0, Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER, type);
    case 'uint8':
      return integer(value ?? 0, 0, 255, type);
    case 'float64':
      if (typeof (value ?? 0) !== 'number' || !Number.isFinite(value ?? 0)) throw new Mismatch('a number');
      return value ?? 0;
    case 'bytes': {
      const encoded = text(value ?? '', 'a string of base64').replaceAll(/[\r\n]/g, '');
      if (!base64Pattern.test(encoded)) throw new Mismatch('a string of base64');
      return encoded;
    }
    case 'time':
      return value === null ? null : time(value, 0);
    case 'microTime':
      return value === null ? null : time(value, 6);
    case 'duration': {
      const parsed = parseDuration(text(value ?? '0s', 'a duration such as "1h30m"'));
      if (parsed === undefined) throw new Mismatch('a duration such as "1h30m"');
      return formatDuration(parsed);
    }
    case 'quantity': {
      const trimmed =
        typeof value === 'number' ? String(value) : text(value ?? '0', 'a quantity such as "500m" or "2Gi"').trim();
      if (!isQuantity(trimmed)) throw new Mismatch('a quantity such as "500m" or "2Gi"');
      return canonicalQuantity(trimmed);
    }
    case 'intOrString':
      if (typeof value === 'string') return value;
      return integer(value ?? 0, -(2 ** 31), 2 ** 31 - 1, 'int32, or a string');
    case 'raw':
    case 'json':
      return copyJson(value);
  }
}
