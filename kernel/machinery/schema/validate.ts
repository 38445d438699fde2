/**
 * An object from outside against its schema. What Go's decoder would refuse (a number for a string, an integer out of
 * range, text that is no time) is BAD_REQUEST at once; what validation would refuse (missing, not among the allowed
 * values) is gathered as causes. The copy that comes back is what Kubernetes would print: no unknown fields, no nulls,
 * no empty optional values, quantities and times in canonical form.
 */
import { PintleError, type Cause } from '../../contract/index.ts';
import { isObject, setOwn, type JsonObject } from '../json-value.ts';
import { checkDepth } from '../patch-limits.ts';
import { checkScalar, Mismatch } from './scalar-values.ts';
import { joinApiVersion } from './kinds.ts';
import { schemaOf, schemaOfReference, type FieldSchema, type FieldType, type TypeSchema } from './schema.ts';

export interface ShapeReport {
  readonly object: JsonObject;
  /** FieldValueRequired and FieldValueNotSupported. */
  readonly causes: readonly Cause[];
  /** In the words that kubectl shows: `unknown field "spec.containers[0].foo"`. */
  readonly unknownFields: readonly string[];
}

/** Required in OpenAPI, yet filled in by defaulting, which comes after this check. */
const defaulted: ReadonlySet<string> = new Set(['rbac/v1.RoleRef.apiGroup']);
/** Enough to act on; hostile input can have millions. */
const maxReports = 100;

const jsonSchema = 'apiextensions/v1.JSONSchemaProps';

/** Where a value stands; text only when it is needed. */
interface Path {
  readonly parent: Path | undefined;
  readonly step: string | number;
}

function print(path: Path | undefined): string {
  const steps: (string | number)[] = [];
  for (let at = path; at; at = at.parent) steps.unshift(at.step);
  return steps.reduce<string>(
    (text, step) => (typeof step === 'number' ? `${text}[${step}]` : text === '' ? step : `${text}.${step}`),
    '',
  );
}

class ShapeCheck {
  readonly causes: Cause[] = [];
  readonly unknownFields: string[] = [];

  object(value: unknown, schema: TypeSchema, path: Path | undefined, inStatus: boolean): JsonObject {
    if (!isObject(value)) throw this.#mismatch(path, value, 'an object');
    const copy: JsonObject = {};
    for (const key of Object.keys(value)) {
      if (value[key] === undefined) continue;
      const field = schema.byName.get(key);
      const place: Path = { parent: path, step: key };
      if (!field) this.#unknown(place);
      else this.#field(copy, value[key], field, place, inStatus || (path === undefined && key === 'status'));
    }
    if (!inStatus) this.#required(value, schema, path);
    return copy;
  }

  #field(copy: JsonObject, value: unknown, field: FieldSchema, place: Path, inStatus: boolean): void {
    const { name, type, values } = field;
    if (value === null) {
      if (field.always && type.kind === 'list') copy[name] = [];
      return;
    }
    const checked = this.#value(value, type, place, inStatus);
    if (values && !inStatus) this.#allowed(checked, values, place);
    if (field.always || field.required || field.optionalScalar || !isEmpty(checked, type)) copy[name] = checked;
  }

  #value(value: unknown, type: FieldType, place: Path, inStatus: boolean): unknown {
    if (type.kind === 'ref') return this.object(value ?? {}, schemaOfReference(type.ref), place, inStatus);
    if (type.kind === 'list') {
      if (!Array.isArray(value)) throw this.#mismatch(place, value, 'a list');
      return value.map((item, step) => this.#value(item ?? null, type.of, { parent: place, step }, inStatus));
    }
    if (type.kind === 'map') {
      if (!isObject(value)) throw this.#mismatch(place, value, 'an object');
      const copy: JsonObject = {};
      for (const step of Object.keys(value))
        if (value[step] !== undefined)
          setOwn(copy, step, this.#value(value[step], type.of, { parent: place, step }, inStatus));
      return copy;
    }
    switch (type.scalar) {
      case 'schemaOrArray':
        if (Array.isArray(value))
          return value.map((item, step) => this.#schema(item, { parent: place, step }, inStatus));
        return this.#schema(value, place, inStatus);
      case 'schemaOrBool':
        return typeof value === 'boolean' ? value : this.#schema(value, place, inStatus);
      case 'schemaOrStrings':
        if (!Array.isArray(value)) return this.#schema(value, place, inStatus);
        return this.#value(
          value,
          { kind: 'list', of: { kind: 'scalar', scalar: 'string' }, wrapped: false },
          place,
          inStatus,
        );
      default:
        try {
          // Callers in this process may hand in a Date; from outside there is none.
          return checkScalar(value instanceof Date ? value.toJSON() : value, type.scalar);
        } catch (error) {
          if (error instanceof Mismatch) throw this.#mismatch(place, value, error.expected);
          throw error;
        }
    }
  }

  #schema(value: unknown, place: Path, inStatus: boolean): JsonObject {
    return this.object(value, schemaOfReference(jsonSchema), place, inStatus);
  }

  #required(value: JsonObject, schema: TypeSchema, path: Path | undefined): void {
    for (const field of schema.fields) {
      const { name, type } = field;
      if (!field.required || (path === undefined && name === 'metadata') || defaulted.has(`${schema.key}.${name}`))
        continue;
      const given = Object.hasOwn(value, name) ? value[name] : undefined;
      // Go clients send null for a list or map that is empty.
      if (given === undefined || (given === null && type.kind !== 'list' && type.kind !== 'map'))
        this.#cause({
          reason: 'FieldValueRequired',
          message: 'Required value',
          field: print({ parent: path, step: name }),
        });
    }
  }

  #allowed(value: unknown, values: readonly string[], place: Path): void {
    const supported = (): string =>
      [...values]
        .filter((each) => each !== '')
        .sort()
        .map((each) => JSON.stringify(each))
        .join(', ');
    const check = (item: unknown, at: Path): void => {
      if (typeof item !== 'string' || item === '' || values.includes(item)) return;
      this.#cause({
        reason: 'FieldValueNotSupported',
        message: `Unsupported value: ${JSON.stringify(item)}: supported values: ${supported()}`,
        field: print(at),
      });
    };
    if (Array.isArray(value)) for (const [step, item] of value.entries()) check(item, { parent: place, step });
    else check(value, place);
  }

  #cause(cause: Cause): void {
    if (this.causes.length < maxReports) this.causes.push(cause);
  }

  #unknown(place: Path): void {
    if (this.unknownFields.length < maxReports)
      this.unknownFields.push(`unknown field ${JSON.stringify(print(place))}`);
  }

  #mismatch(path: Path | undefined, value: unknown, expected: string): PintleError {
    const field = print(path);
    return new PintleError(
      'BAD_REQUEST',
      `${field === '' ? 'the object' : field}: expected ${expected}, got ${describe(value)}`,
      {
        details: {
          causes: [{ reason: 'FieldValueTypeInvalid', message: `expected ${expected}, got ${describe(value)}`, field }],
        },
      },
    );
  }
}

function describe(value: unknown): string {
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'a list';
  if (typeof value === 'object') return 'an object';
  const text = typeof value === 'bigint' ? String(value) : (JSON.stringify(value) ?? typeof value);
  return `the ${typeof value} ${text.length > 80 ? `${text.slice(0, 80)}...` : text}`;
}

function isEmpty(value: unknown, type: FieldType): boolean {
  if (type.kind === 'ref') return false;
  if (type.kind === 'list') return (value as unknown[]).length === 0;
  if (type.kind === 'map') return Object.keys(value as JsonObject).length === 0;
  switch (type.scalar) {
    case 'string':
    case 'bytes':
      return value === '';
    case 'bool':
      return value === false;
    case 'int32':
    case 'int64':
    case 'uint8':
    case 'float64':
      return value === 0;
    default:
      return false;
  }
}

/** Throws BAD_REQUEST when the object cannot be decoded as this type at all, with the field in message and details.causes. */
export function checkShape(typeKey: string, object: unknown): ShapeReport {
  const schema = schemaOf(typeKey);
  if (!schema) throw new PintleError('INTERNAL', `the API table has no type ${JSON.stringify(typeKey)}`);
  checkDepth(object, 'the object');
  const check = new ShapeCheck();
  try {
    const copy = check.object(object, schema, undefined, false);
    return { object: copy, causes: check.causes, unknownFields: check.unknownFields };
  } catch (error) {
    if (!(error instanceof PintleError) || !schema.kind) throw error;
    const { group, version, kind } = schema.kind;
    const prefix = `${kind} in version ${JSON.stringify(joinApiVersion(group, version))} cannot be handled as a ${kind}`;
    throw new PintleError(error.code, `${prefix}: ${error.message}`, { details: error.details, cause: error });
  }
}
