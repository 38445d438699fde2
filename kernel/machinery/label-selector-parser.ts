/**
 * The text form of label selectors: "app=web,tier!=cache,env in (a,b),!legacy,size>3". Words of the errors are those
 * that users of kubectl know.
 */
import { PintleError } from '../contract/index.ts';
import { labelKeyFaults, labelValueFaults } from './label-syntax.ts';

export type LabelOperator = 'In' | 'NotIn' | 'Exists' | 'DoesNotExist' | 'Gt' | 'Lt' | 'Equals' | 'NotEquals';

export interface LabelRequirement {
  readonly key: string;
  readonly operator: LabelOperator;
  readonly values: readonly string[];
}

const maxLength = 64 * 1024;
const symbols = '=!(),><';
const operators = '=, ==, !=, in, notin, >, <';

interface Token {
  readonly kind: 'end' | 'word' | 'symbol';
  readonly text: string;
}

function fail(text: string, reason: string): never {
  throw new PintleError(
    'BAD_REQUEST',
    `unable to parse requirement: ${reason} (label selector ${JSON.stringify(text)})`,
  );
}

function tokens(text: string): Token[] {
  const found: Token[] = [];
  let at = 0;
  while (at < text.length) {
    const char = text[at]!;
    if (/\s/.test(char)) at++;
    else if (symbols.includes(char)) {
      const two = text.slice(at, at + 2);
      const symbol = two === '==' || two === '!=' ? two : char;
      found.push({ kind: 'symbol', text: symbol });
      at += symbol.length;
    } else {
      const start = at;
      while (at < text.length && !symbols.includes(text[at]!) && !/\s/.test(text[at]!)) at++;
      found.push({ kind: 'word', text: text.slice(start, at) });
    }
  }
  return found;
}

/** Throws BAD_REQUEST when key, operator and values do not go together. `describe` is put before the reason. */
export function checkRequirement(requirement: LabelRequirement, describe: (reason: string) => string = String): void {
  const refuse = (reason: string): never => {
    throw new PintleError('BAD_REQUEST', describe(reason));
  };
  const { key, operator, values } = requirement;
  const keyFaults = labelKeyFaults(key);
  if (keyFaults.length > 0) refuse(`key: Invalid value: ${JSON.stringify(key)}: ${keyFaults.join('; ')}`);
  if ((operator === 'In' || operator === 'NotIn') && values.length === 0)
    refuse("values: Invalid value: []: for 'in', 'notin' operators, values set can't be empty");
  if ((operator === 'Exists' || operator === 'DoesNotExist') && values.length > 0)
    refuse(`values: Invalid value: ${JSON.stringify(values)}: values set must be empty for exists and does not exist`);
  if (operator === 'Gt' || operator === 'Lt') {
    if (!/^[+-]?\d+$/.test(values[0] ?? ''))
      refuse(
        `values[0]: Invalid value: ${JSON.stringify(values[0])}: for 'Gt', 'Lt' operators, the value must be an integer`,
      );
  }
  for (const [index, value] of values.entries()) {
    const faults = labelValueFaults(value);
    if (faults.length > 0)
      refuse(`values[${index}][${key}]: Invalid value: ${JSON.stringify(value)}: ${faults.join('; ')}`);
  }
}

export function parseLabelRequirements(text: string): LabelRequirement[] {
  if (text.length > maxLength) fail(text.slice(0, 40), `it is longer than ${maxLength} characters`);
  const list = tokens(text);
  const end: Token = { kind: 'end', text: '' };
  let at = 0;
  const peek = (): Token => list[at] ?? end;
  const take = (): Token => list[at++] ?? end;
  const isSymbol = (token: Token, symbol: string): boolean => token.kind === 'symbol' && token.text === symbol;

  const value = (): string => (peek().kind === 'word' ? take().text : '');

  const set = (): string[] => {
    const open = take();
    if (!isSymbol(open, '(')) fail(text, `found '${open.text}' expected: '('`);
    const values = new Set<string>();
    for (;;) {
      const next = peek();
      if (next.kind === 'symbol' && !isSymbol(next, ',') && !isSymbol(next, ')'))
        fail(text, `found '${next.text}', expected: ',', ')' or identifier`);
      values.add(value());
      const after = take();
      if (isSymbol(after, ')')) return [...values];
      if (!isSymbol(after, ',')) fail(text, `found '${after.text}', expected: ',' or ')'`);
    }
  };

  const requirement = (): LabelRequirement => {
    if (isSymbol(peek(), '!')) {
      take();
      const key = take();
      if (key.kind !== 'word') fail(text, `found '${key.text}', expected: identifier`);
      return { key: key.text, operator: 'DoesNotExist', values: [] };
    }
    const key = take();
    if (key.kind !== 'word') fail(text, `found '${key.text}', expected: identifier`);
    if (peek().kind === 'end' || isSymbol(peek(), ',')) return { key: key.text, operator: 'Exists', values: [] };
    const operator = take();
    switch (operator.text) {
      case 'in':
        return { key: key.text, operator: 'In', values: set() };
      case 'notin':
        return { key: key.text, operator: 'NotIn', values: set() };
      case '=':
      case '==':
        return { key: key.text, operator: 'Equals', values: [value()] };
      case '!=':
        return { key: key.text, operator: 'NotEquals', values: [value()] };
      case '>':
        return { key: key.text, operator: 'Gt', values: [value()] };
      case '<':
        return { key: key.text, operator: 'Lt', values: [value()] };
      default:
        return fail(text, `found '${operator.text}', expected: ${operators}`);
    }
  };

  const requirements: LabelRequirement[] = [];
  while (peek().kind !== 'end') {
    const next = peek();
    if (next.kind === 'symbol' && next.text !== '!')
      fail(text, `found '${next.text}', expected: !, identifier, or 'end of string'`);
    const parsed = requirement();
    checkRequirement(parsed, (reason) => `unable to parse requirement: ${reason}`);
    requirements.push(parsed);
    const after = take();
    if (after.kind === 'end') break;
    if (!isSymbol(after, ',')) fail(text, `found '${after.text}', expected: ',' or 'end of string'`);
    if (peek().kind !== 'word' && !isSymbol(peek(), '!'))
      fail(text, `found '${peek().text}', expected: identifier after ','`);
  }
  return requirements;
}
