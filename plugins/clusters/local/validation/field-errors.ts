/** Gathers what is wrong with an object: one cause a field, in the words of Kubernetes' field errors. */
import type { Cause } from '../../../../kernel/contract/index.ts';

function shown(value: unknown): string {
  const text = JSON.stringify(value) ?? 'null';
  return text.length > 512 ? `${text.slice(0, 512)}...` : text;
}

export class FieldErrors {
  readonly causes: Cause[];

  get isEmpty(): boolean {
    return this.causes.length === 0;
  }

  constructor(causes: readonly Cause[] = []) {
    this.causes = [...causes];
  }

  /** One cause a field and reason: the schema and a rule may find the same. */
  add(reason: string, field: string, message: string): void {
    const isKnown = (cause: Cause) => cause.field === field && cause.reason === reason && cause.message === message;
    if (!this.causes.some(isKnown)) this.causes.push({ reason, field, message });
  }

  required(field: string, detail = ''): void {
    this.add('FieldValueRequired', field, detail ? `Required value: ${detail}` : 'Required value');
  }

  invalid(field: string, value: unknown, detail: string): void {
    this.add('FieldValueInvalid', field, `Invalid value: ${shown(value)}: ${detail}`);
  }

  forbidden(field: string, detail: string): void {
    this.add('FieldValueForbidden', field, `Forbidden: ${detail}`);
  }

  duplicate(field: string, value: unknown): void {
    this.add('FieldValueDuplicate', field, `Duplicate value: ${shown(value)}`);
  }

  notFound(field: string, value: unknown): void {
    this.add('FieldValueNotFound', field, `Not found: ${shown(value)}`);
  }

  tooLong(field: string, maximum: number): void {
    this.add('FieldValueTooLong', field, `Too long: may not be more than ${maximum} bytes`);
  }

  notSupported(field: string, value: unknown, supported: readonly string[]): void {
    const list = [...supported]
      .sort()
      .map((item) => JSON.stringify(item))
      .join(', ');
    this.add('FieldValueNotSupported', field, `Unsupported value: ${shown(value)}: supported values: ${list}`);
  }

  /** Checks that `value`, when set, is one of `supported`. */
  oneOf(field: string, value: string | undefined, supported: readonly string[]): void {
    if (value !== undefined && !supported.includes(value)) this.notSupported(field, value, supported);
  }

  /** Checks that `value`, when set, is a whole number in the range. */
  range(field: string, value: number | undefined, low: number, high: number): void {
    if (value === undefined || (Number.isInteger(value) && value >= low && value <= high)) return;
    this.invalid(
      field,
      value,
      high === Number.MAX_SAFE_INTEGER
        ? `must be greater than or equal to ${low}`
        : `must be between ${low} and ${high}, inclusive`,
    );
  }

  nonNegative(field: string, value: number | undefined): void {
    this.range(field, value, 0, Number.MAX_SAFE_INTEGER);
  }

  /** One cause for each reason why `value` is not well formed. */
  faults(field: string, value: unknown, faults: readonly string[]): void {
    for (const fault of faults) this.invalid(field, value, fault);
  }
}
