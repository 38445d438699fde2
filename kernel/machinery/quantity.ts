/**
 * Kubernetes quantities: "100m", "1.5Gi", "2e3". A quantity is a signed decimal number with one of three forms of suffix;
 * its canonical form has no fraction, the largest suffix that allows this, and at most nano precision (rounded away
 * from zero). Arithmetic is exact (BigInt).
 */
import { PintleError } from '../contract/index.ts';

type Form = 'DecimalSI' | 'BinarySI' | 'DecimalExponent';

interface Quantity {
  /** value = digits * 10^exponent, or digits * 10^exponent * 2^binary for binary suffixes. */
  readonly digits: bigint;
  readonly exponent: number;
  readonly binary: number;
  readonly form: Form;
  /** Printed as it was written: Kubernetes takes these texts for canonical, signs and fractions included. */
  readonly reusable: boolean;
}

const decimalSuffixes: readonly (readonly [string, number])[] = [
  ['E', 18],
  ['P', 15],
  ['T', 12],
  ['G', 9],
  ['M', 6],
  ['k', 3],
  ['', 0],
  ['m', -3],
  ['u', -6],
  ['n', -9],
];
const binarySuffixes: readonly (readonly [string, number])[] = [
  ['Ei', 60],
  ['Pi', 50],
  ['Ti', 40],
  ['Gi', 30],
  ['Mi', 20],
  ['Ki', 10],
];
const decimalExponents = new Map(decimalSuffixes);
const binaryExponents = new Map(binarySuffixes);

const pattern = /^([+-]?)(\d*)(?:\.(\d*))?(?:([numkMGTPE]|[KMGTPE]i)|[eE]([+-]?\d+))?$/;
/** A quantity longer than this is no quantity; bounds the work that hostile input can cause. */
const maxLength = 256;
const maxExponent = 400;
const maxInt64 = 2n ** 63n - 1n;

function parse(text: string): Quantity | undefined {
  if (text.length > maxLength) return undefined;
  const match = pattern.exec(text);
  if (!match) return undefined;
  const [, sign, whole = '', fraction = '', suffix, power] = match;
  if (whole === '' && fraction === '') return undefined;
  const digits = BigInt(`${whole}${fraction}`) * (sign === '-' ? -1n : 1n);
  const exponent = -fraction.length;
  const significant = whole.replace(/^0+/, '');
  const digitText = `${significant || '0'}${fraction}`;
  if (power !== undefined) {
    const value = Number(power);
    if (Math.abs(value) > maxExponent) return undefined;
    const scale = exponent + value;
    return { digits, exponent: scale, binary: 0, form: 'DecimalExponent', reusable: isReusable(digitText, scale) };
  }
  const binary = suffix === undefined ? undefined : binaryExponents.get(suffix);
  if (binary !== undefined) {
    const room = 14 - significant.length - Math.floor((binary * 3) / 10);
    const reusable = fraction === '' && room >= 0 && (digits & 7n) !== 0n;
    return { digits, exponent, binary, form: 'BinarySI', reusable };
  }
  const scale = exponent + (decimalExponents.get(suffix ?? '') ?? 0);
  return { digits, exponent: scale, binary: 0, form: 'DecimalSI', reusable: isReusable(digitText, scale) };
}

/** The decimal forms that Kubernetes reuses: at most 18 digits, none needless, and an exponent that a suffix stands for. */
function isReusable(digits: string, scale: number): boolean {
  return digits.length <= 18 && scale >= -9 && scale % 3 === 0 && !digits.endsWith('000') && /^[1-9]/.test(digits);
}

function mustParse(text: string | number): Quantity {
  const quantity = parse(String(text));
  if (quantity) return quantity;
  throw new PintleError(
    'INVALID',
    `quantity ${JSON.stringify(text)} cannot be read: expected a number with an optional suffix such as 500m, 1.5, 2Gi or 1e3`,
  );
}

/** digits * 10^exponent / divisor as an integer, rounded away from zero. */
function scaled(digits: bigint, exponent: number): bigint {
  if (exponent >= 0) return digits * 10n ** BigInt(exponent);
  const divisor = 10n ** BigInt(-exponent);
  const quotient = digits / divisor;
  if (quotient * divisor === digits) return quotient;
  return digits < 0n ? quotient - 1n : quotient + 1n;
}

/** The value in nano units, rounded away from zero: the finest that a quantity keeps. */
function nano(quantity: Quantity): bigint {
  return scaled(quantity.digits << BigInt(quantity.binary), quantity.exponent + 9);
}

export function isQuantity(text: unknown): boolean {
  return typeof text === 'string' && parse(text) !== undefined;
}

/** The value in base units (cores, bytes, pieces). Throws PintleError INVALID. */
export function parseQuantity(text: string | number): number {
  const value = nano(mustParse(text));
  const whole = value / 1_000_000_000n;
  const rest = value % 1_000_000_000n;
  return Number(whole) + Number(rest) / 1e9;
}

/** Thousandths of a core, rounded up. */
export function cpuMillis(text: string | number): number {
  return Number(scaled(nano(mustParse(text)), -6));
}

/** Bytes (or pieces), rounded up. */
export function byteCount(text: string | number): number {
  return Number(scaled(nano(mustParse(text)), -9));
}

/** The same few quantities are in all pods of a workload, and in each of their versions. */
const canonical = new Map<string | number, string>();
const milli = new Map<string | number, string>();
const maxRemembered = 1_000;

function remembered(known: Map<string | number, string>, text: string | number, make: () => string): string {
  let printed = known.get(text);
  if (printed === undefined) {
    printed = make();
    if (known.size >= maxRemembered) known.clear();
    known.set(text, printed);
  }
  return printed;
}

/** As the Kubernetes API prints it: "1.5Gi" is "1536Mi", "0.1" is "100m", "1000" is "1k". Exact. Throws INVALID. */
export function canonicalQuantity(text: string | number): string {
  return remembered(canonical, text, () => canonicalOf(text));
}

function canonicalOf(text: string | number): string {
  const quantity = mustParse(text);
  return quantity.reusable ? String(text) : print(nano(quantity), quantity.form);
}

/** Canonical, with thousandths as the finest unit (rounded away from zero): how resource lists are kept. Throws INVALID. */
export function milliQuantity(text: string | number): string {
  return remembered(milli, text, () => milliOf(text));
}

function milliOf(text: string | number): string {
  const quantity = mustParse(text);
  if (quantity.reusable && quantity.exponent >= -3) return String(text);
  return print(scaled(nano(quantity), -6) * 1_000_000n, quantity.form);
}

function print(nanos: bigint, form: Form): string {
  const cap = maxInt64 * 1_000_000_000n;
  let value = nanos;
  if (form === 'BinarySI' && value > cap) value = cap;
  if (form === 'BinarySI' && value < -cap) value = -cap;
  if (value === 0n) return '0';
  let suffixes = form;
  // Binary suffixes have no fractions: a value below 1024 or with a fraction prints in decimal.
  const magnitude = value < 0n ? -value : value;
  if (suffixes === 'BinarySI' && (magnitude < 1024n * 1_000_000_000n || value % 1_000_000_000n !== 0n))
    suffixes = 'DecimalSI';
  if (suffixes === 'BinarySI') {
    const whole = value / 1_000_000_000n;
    for (const [suffix, shift] of binarySuffixes) {
      const unit = 1n << BigInt(shift);
      if (whole % unit === 0n) return `${whole / unit}${suffix}`;
    }
    return String(whole);
  }
  const zeros = /0*$/.exec(String(value))![0].length;
  const largest = suffixes === 'DecimalSI' ? 18 : maxExponent;
  const exponent = Math.min(Math.floor((zeros - 9) / 3) * 3, largest);
  const number = value / 10n ** BigInt(exponent + 9);
  if (suffixes === 'DecimalSI') return `${number}${decimalSuffixes.find(([, power]) => power === exponent)![0]}`;
  return exponent === 0 ? `${number}` : `${number}e${exponent}`;
}
