/**
 * One pass over JSON text for what JSON.parse does not tell: nesting depth (JSON.stringify of a document of a few thousand
 * levels overflows the stack, so depth is refused before anything is stored) and keys that occur twice.
 */
import { badRequest } from './status.ts';

export const maxDepth = 512;
/** More than these are not told: the answer is the same. */
const maxDuplicates = 20;

interface Level {
  /** Undefined: an array. */
  readonly keys: Set<string> | undefined;
  /** The path of this value. */
  readonly path: string;
  key: string;
  index: number;
  expectsKey: boolean;
}

/** Returns paths of duplicate keys ("spec.replicas"), each once. Malformed text is JSON.parse's to refuse: the scan only ends early. */
export function scanJson(text: string): readonly string[] {
  const stack: Level[] = [];
  const duplicates = new Set<string>();
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    const level = stack[stack.length - 1];
    if (code === 0x22) {
      const end = endOfString(text, at);
      if (end < 0) break;
      if (level?.expectsKey === true && level.keys !== undefined) {
        const raw = text.slice(at + 1, end);
        const key = raw.includes('\\') ? parsedKey(text.slice(at, end + 1)) : raw;
        if (level.keys.has(key) && duplicates.size < maxDuplicates) duplicates.add(joined(level.path, key));
        level.keys.add(key);
        level.key = key;
        level.expectsKey = false;
      }
      at = end;
    } else if (code === 0x7b || code === 0x5b) {
      if (stack.length >= maxDepth) throw badRequest(`the document is nested deeper than ${maxDepth} levels`);
      const path =
        level === undefined
          ? ''
          : level.keys === undefined
            ? `${level.path}[${level.index}]`
            : joined(level.path, level.key);
      stack.push({ keys: code === 0x7b ? new Set() : undefined, path, key: '', index: 0, expectsKey: code === 0x7b });
    } else if (code === 0x7d || code === 0x5d) stack.pop();
    else if (code === 0x2c && level !== undefined) {
      if (level.keys === undefined) level.index++;
      else level.expectsKey = true;
    }
  }
  return [...duplicates];
}

function joined(path: string, key: string): string {
  return path === '' ? key : `${path}.${key}`;
}

function endOfString(text: string, start: number): number {
  let from = start + 1;
  for (;;) {
    const quote = text.indexOf('"', from);
    if (quote < 0) return -1;
    let slashes = 0;
    while (text.charCodeAt(quote - 1 - slashes) === 0x5c) slashes++;
    if (slashes % 2 === 0) return quote;
    from = quote + 1;
  }
}

function parsedKey(literal: string): string {
  try {
    return JSON.parse(literal) as string;
  } catch {
    return literal;
  }
}

/** Keys of all objects in a parsed document; NaN when it is nested too deep. */
export function countKeys(value: unknown, depth: number): number {
  if (typeof value !== 'object' || value === null) return 0;
  if (depth <= 0) return Number.NaN;
  let count = 0;
  if (Array.isArray(value)) {
    for (const item of value) count += countKeys(item, depth - 1);
    return count;
  }
  const keys = Object.keys(value);
  count = keys.length;
  for (const key of keys) count += countKeys((value as Record<string, unknown>)[key], depth - 1);
  return count;
}

/** Strings of a valid document that a colon follows. */
export function countSpelledKeys(text: string): number {
  let count = 0;
  for (let quote = text.indexOf('"'); quote >= 0;) {
    const end = endOfString(text, quote);
    if (end < 0) break;
    let next = end + 1;
    let code = text.charCodeAt(next);
    while (code === 0x20 || code === 0x0a || code === 0x0d || code === 0x09) code = text.charCodeAt(++next);
    if (code === 0x3a) count++;
    quote = text.indexOf('"', end + 1);
  }
  return count;
}
