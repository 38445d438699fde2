/** Keys of a store are ordered by their UTF-8 bytes, which is not the order of JavaScript's `<`. */
import { PintleError } from '../../contract/errors.ts';

export const maxKeyBytes = 1_024;
export const maxValueBytes = 4 * 1_024 * 1_024;

/**
 * Compares as the UTF-8 bytes would. UTF-16 differs in one place only: the surrogates (U+D800 to U+DFFF, code points from
 * U+10000) stand below U+E000 to U+FFFF there and above them in UTF-8.
 */
export function compareKeys(a: string, b: string): number {
  const shared = Math.min(a.length, b.length);
  for (let index = 0; index < shared; index++) {
    const left = a.charCodeAt(index);
    const right = b.charCodeAt(index);
    if (left !== right) return rank(left) - rank(right);
  }
  return a.length - b.length;
}

function rank(unit: number): number {
  if (unit < 0xd800) return unit;
  return unit >= 0xe000 ? unit - 0x2000 : unit + 0x800;
}

/** Throws STORE_INVALID when a store may not hold this key. */
export function checkKey(key: string): void {
  if (key === '') throw new PintleError('STORE_INVALID', 'A store key is empty; expected 1 to 1,024 bytes.');
  // Most keys are short: three bytes a UTF-16 unit is the most that UTF-8 takes.
  if (key.length * 3 > maxKeyBytes) {
    const bytes = Buffer.byteLength(key);
    if (bytes > maxKeyBytes)
      throw new PintleError(
        'STORE_INVALID',
        `A store key is ${bytes} bytes long; expected at most ${maxKeyBytes}. It starts with "${key.slice(0, 40)}".`,
      );
  }
  if (/\p{Surrogate}/u.test(key))
    throw new PintleError('STORE_INVALID', `The store key ${JSON.stringify(key)} is not well-formed Unicode.`);
}

/** Throws STORE_INVALID when a store may not hold this value. */
export function checkValue(key: string, value: Uint8Array): void {
  if (value.byteLength > maxValueBytes)
    throw new PintleError(
      'STORE_INVALID',
      `The value of store key "${key}" is ${value.byteLength} bytes long; expected at most ${maxValueBytes}.`,
    );
}
