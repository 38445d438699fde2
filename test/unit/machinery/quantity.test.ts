import { readFileSync } from 'node:fs';
import assert from 'node:assert/strict';
import test from 'ava';
import fc from 'fast-check';
import { isPintleError } from '../../../kernel/contract/index.ts';
import {
  byteCount,
  canonicalQuantity,
  cpuMillis,
  isQuantity,
  milliQuantity,
  parseQuantity,
} from '../../../kernel/machinery/quantity.ts';

const cases = JSON.parse(
  readFileSync(new URL('../../../../test/fixtures/oracle/quantities.json', import.meta.url), 'utf8'),
) as [string, string | null][];

for (const [text, expected] of cases) {
  test(`${JSON.stringify(text)} prints as ${expected ?? 'an error'}`, (t) => {
    t.is(isQuantity(text), expected !== null);
    if (expected === null) {
      const error = t.throws(() => canonicalQuantity(text));
      t.true(isPintleError(error, 'INVALID'));
    } else t.is(canonicalQuantity(text), expected);
  });
}

test('values in base units', (t) => {
  t.is(parseQuantity('100m'), 0.1);
  t.is(parseQuantity('1.5Gi'), 1.5 * 2 ** 30);
  t.is(parseQuantity('-2k'), -2000);
  t.is(parseQuantity(3), 3);
  t.is(cpuMillis('1500m'), 1500);
  t.is(cpuMillis('0.0001'), 1);
  t.is(cpuMillis('2'), 2000);
  t.is(byteCount('1Ki'), 1024);
  t.is(byteCount('1.2'), 2);
  t.is(byteCount('100m'), 1);
});

test('resource lists keep thousandths at the finest', (t) => {
  t.is(milliQuantity('1500u'), '2m');
  t.is(milliQuantity('0.1'), '100m');
  t.is(milliQuantity('1Gi'), '1Gi');
  t.is(milliQuantity('1n'), '1m');
});

test('hostile text costs nothing and is refused', (t) => {
  for (const text of [
    '1'.repeat(100_000),
    `1e${'9'.repeat(20)}`,
    '1e999999999',
    '٣',
    '1\n',
    'NaN',
    'Infinity',
    '0x1p3',
  ])
    t.false(isQuantity(text), text.slice(0, 20));
  t.false(isQuantity(5));
  t.false(isQuantity(undefined));
});

const quantityText = fc
  .tuple(
    fc.constantFrom('', '-', '+'),
    fc.integer({ min: 0, max: 999_999_999 }),
    fc.option(fc.integer({ min: 0, max: 999_999 }), { nil: undefined }),
    fc.constantFrom('', 'n', 'u', 'm', 'k', 'M', 'G', 'T', 'Ki', 'Mi', 'Gi', 'e3', 'e-3'),
  )
  .map(([sign, whole, fraction, suffix]) => `${sign}${whole}${fraction === undefined ? '' : `.${fraction}`}${suffix}`);

test('printing is stable and keeps the value', (t) => {
  fc.assert(
    fc.property(quantityText, (text) => {
      const printed = canonicalQuantity(text);
      assert.equal(canonicalQuantity(printed), printed, text);
      assert.equal(parseQuantity(printed), parseQuantity(text), text);
    }),
    { numRuns: 500 },
  );
  t.pass();
});
