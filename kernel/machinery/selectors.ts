/** Label selectors (both syntaxes) and field selectors: parse once, match often. Bad text is BAD_REQUEST. */
import { PintleError } from '../contract/index.ts';
import type { LabelSelector } from '../contract/kubernetes.ts';
import {
  checkRequirement,
  parseLabelRequirements,
  type LabelOperator,
  type LabelRequirement,
} from './label-selector-parser.ts';

export interface Selector {
  readonly requirements: readonly LabelRequirement[];
  /** True when it matches every object, so that a caller can skip the test. */
  readonly isEverything: boolean;
  matches(labels: Readonly<Record<string, string>> | undefined): boolean;
  /** The text form, requirements in the order of their keys. */
  toString(): string;
}

function meets(requirement: LabelRequirement, labels: Readonly<Record<string, string>>): boolean {
  const { key, operator, values } = requirement;
  const value = Object.hasOwn(labels, key) ? labels[key] : undefined;
  switch (operator) {
    case 'In':
    case 'Equals':
      return value !== undefined && values.includes(value);
    case 'NotIn':
    case 'NotEquals':
      return value === undefined || !values.includes(value);
    case 'Exists':
      return value !== undefined;
    case 'DoesNotExist':
      return value === undefined;
    case 'Gt':
    case 'Lt': {
      if (value === undefined || !/^[+-]?\d+$/.test(value)) return false;
      const [left, right] = [BigInt(value.replace('+', '')), BigInt(values[0]!.replace('+', ''))];
      return operator === 'Gt' ? left > right : left < right;
    }
  }
}

function print({ key, operator, values }: LabelRequirement): string {
  switch (operator) {
    case 'Equals':
      return `${key}=${values[0]}`;
    case 'NotEquals':
      return `${key}!=${values[0]}`;
    case 'In':
      return `${key} in (${[...values].sort().join(',')})`;
    case 'NotIn':
      return `${key} notin (${[...values].sort().join(',')})`;
    case 'Exists':
      return key;
    case 'DoesNotExist':
      return `!${key}`;
    case 'Gt':
      return `${key}>${values[0]}`;
    case 'Lt':
      return `${key}<${values[0]}`;
  }
}

function selector(unsorted: readonly LabelRequirement[]): Selector {
  const requirements = [...unsorted].sort((left, right) => (left.key < right.key ? -1 : left.key > right.key ? 1 : 0));
  return Object.freeze({
    requirements,
    isEverything: requirements.length === 0,
    matches: (labels: Readonly<Record<string, string>> | undefined) =>
      requirements.every((requirement) => meets(requirement, labels ?? {})),
    toString: () => requirements.map(print).join(','),
  });
}

const nothing: Selector = Object.freeze({
  requirements: [],
  isEverything: false,
  matches: () => false,
  toString: () => '',
});

/** "app=web,tier!=cache,env in (a,b),!legacy". Empty text matches everything. */
export function parseLabelSelector(text: string): Selector {
  return selector(parseLabelRequirements(text));
}

const objectOperators: Readonly<Record<string, LabelOperator>> = {
  In: 'In',
  NotIn: 'NotIn',
  Exists: 'Exists',
  DoesNotExist: 'DoesNotExist',
};

/** The object form of specs. Undefined matches nothing, {} everything, as the API defines. */
export function labelSelector(object: LabelSelector | undefined): Selector {
  if (object === undefined || object === null) return nothing;
  const requirements: LabelRequirement[] = [];
  for (const [key, value] of Object.entries(object.matchLabels ?? {}))
    requirements.push({ key, operator: 'Equals', values: [value] });
  for (const expression of object.matchExpressions ?? []) {
    const operator = Object.hasOwn(objectOperators, expression.operator)
      ? objectOperators[expression.operator]
      : undefined;
    if (operator === undefined)
      throw new PintleError(
        'BAD_REQUEST',
        `${JSON.stringify(expression.operator)} is not a valid label selector operator`,
      );
    requirements.push({ key: expression.key, operator, values: expression.values ?? [] });
  }
  for (const requirement of requirements) checkRequirement(requirement);
  return selector(requirements);
}

/** A selector from a plain map, as Services and ReplicationControllers have it. Undefined or empty matches nothing. */
export function mapSelector(labels: Readonly<Record<string, string>> | undefined): Selector {
  const entries = Object.entries(labels ?? {});
  if (entries.length === 0) return nothing;
  return selector(entries.map(([key, value]) => ({ key, operator: 'Equals', values: [value] })));
}

export interface FieldRequirement {
  readonly path: string;
  readonly operator: '=' | '!=';
  readonly value: string;
}

export interface FieldSelector {
  readonly requirements: readonly FieldRequirement[];
  readonly isEverything: boolean;
  /** `get` gives the text of a field; "" when it is absent. */
  matches(get: (path: string) => string): boolean;
  toString(): string;
}

const escaped = (text: string): string => text.replaceAll(/[\\,=]/g, (char) => `\\${char}`);

function unescapeField(text: string, whole: string): string {
  let out = '';
  for (let at = 0; at < text.length; at++) {
    const char = text[at]!;
    if (char === '\\') {
      const next = text[++at];
      if (next === undefined || !'\\,='.includes(next))
        throw new PintleError(
          'BAD_REQUEST',
          `invalid field selector ${JSON.stringify(whole)}: invalid escape sequence in value ${JSON.stringify(text)}, expected \\\\, \\, or \\=`,
        );
      out += next;
    } else if (char === ',' || char === '=') {
      throw new PintleError(
        'BAD_REQUEST',
        `invalid field selector ${JSON.stringify(whole)}: unescaped character in value ${JSON.stringify(text)}: ${char}`,
      );
    } else out += char;
  }
  return out;
}

/** Splits at commas that no backslash protects. */
function terms(text: string): string[] {
  const found: string[] = [];
  let start = 0;
  for (let at = 0; at < text.length; at++) {
    if (text[at] === '\\') at++;
    else if (text[at] === ',') {
      found.push(text.slice(start, at));
      start = at + 1;
    }
  }
  found.push(text.slice(start));
  return found.filter((term) => term !== '');
}

/** "status.phase!=Failed,spec.nodeName=a". A backslash protects `\`, `,` and `=`. Empty text matches everything. */
export function parseFieldSelector(text: string): FieldSelector {
  const all = terms(text).map((term): FieldRequirement => {
    const match = /^(.*?)(!=|==|=)(.*)$/s.exec(term);
    if (!match) throw new PintleError('BAD_REQUEST', `invalid selector: '${text}'; can't understand '${term}'`);
    return { path: match[1]!, operator: match[2] === '!=' ? '!=' : '=', value: unescapeField(match[3]!, text) };
  });
  // A lone operator says nothing; Kubernetes lets it pass.
  const requirements = all.filter(({ path, value }) => path !== '' || value !== '');
  return Object.freeze({
    requirements,
    isEverything: requirements.length === 0,
    matches: (get: (path: string) => string) =>
      requirements.every(({ path, operator, value }) => (get(path) === value) === (operator === '=')),
    toString: () => requirements.map(({ path, operator, value }) => `${path}${operator}${escaped(value)}`).join(','),
  });
}
