/**
 * The schema of every built-in Kubernetes type, from the compiled API table. Parsed on first use (a few milliseconds);
 * a type's own view is made when it is first asked for.
 */
import { tableData } from './table-data.ts';

export const scalarTypes = [
  'string',
  'bool',
  'int32',
  'int64',
  'uint8',
  'float64',
  'bytes',
  'time',
  'microTime',
  'duration',
  'quantity',
  'intOrString',
  'raw',
  'json',
  'schemaOrArray',
  'schemaOrBool',
  'schemaOrStrings',
] as const;
export type ScalarType = (typeof scalarTypes)[number];

export type FieldType =
  | { readonly kind: 'scalar'; readonly scalar: ScalarType }
  /** `wrapped`: on the wire a message with one repeated field 1. */
  | { readonly kind: 'list'; readonly of: FieldType; readonly wrapped: boolean }
  | { readonly kind: 'map'; readonly of: FieldType }
  | { readonly kind: 'ref'; readonly ref: string };

export interface FieldSchema {
  /** JSON name; "" for a field that stands inline in its parent. */
  readonly name: string;
  readonly type: FieldType;
  /** Protobuf field number; 0 for none (apiVersion and kind travel in the envelope). */
  readonly number: number;
  readonly required: boolean;
  /** Printed even when empty. */
  readonly always: boolean;
  readonly inline: boolean;
  readonly nullable: boolean;
  /** A scalar that tells absent from zero. */
  readonly optionalScalar: boolean;
  /** An object that is always there: its defaults apply even when it is not given. */
  readonly struct: boolean;
  readonly default?: unknown;
  /** Allowed values, of the field or of the elements of its list. */
  readonly values?: readonly string[];
  readonly patchStrategies: readonly string[];
  readonly patchMergeKey?: string;
  readonly listType?: 'atomic' | 'set' | 'map';
  readonly listMapKeys?: readonly string[];
  readonly mapType?: 'atomic' | 'granular';
}

export interface KindSchema {
  readonly group: string;
  readonly version: string;
  readonly kind: string;
  readonly type: string;
  readonly meta: '' | 'ObjectMeta' | 'ListMeta';
  readonly scope: '' | 'Namespaced' | 'Cluster';
}

export interface TypeSchema {
  /** "core/v1.Pod" */
  readonly key: string;
  /** The kind of an object that has apiVersion and kind. */
  readonly kind: KindSchema | undefined;
  /** Server-side apply replaces it as a whole. */
  readonly atomic: boolean;
  /** As on the wire: inline fields are nested messages. */
  readonly wireFields: readonly FieldSchema[];
  readonly byNumber: ReadonlyMap<number, FieldSchema>;
  /** As in JSON: inline fields stand in their parent; apiVersion and kind are there for kinds. */
  readonly fields: readonly FieldSchema[];
  readonly byName: ReadonlyMap<string, FieldSchema>;
}

interface Extras {
  readonly d?: unknown;
  readonly e?: string;
  readonly s?: string;
  readonly k?: string;
  readonly l?: 'atomic' | 'set' | 'map';
  readonly m?: readonly string[];
  readonly t?: 'atomic' | 'granular';
}
type FieldTuple = readonly [name: string, type: string, number: number, flags: string, extras?: Extras];
interface Table {
  readonly release: string;
  readonly enums: Readonly<Record<string, readonly string[]>>;
  readonly types: Readonly<Record<string, { readonly f: readonly FieldTuple[]; readonly atomic?: boolean }>>;
  readonly kinds: readonly (readonly [string, string, string, string, string, string])[];
}

let parsed: Table | undefined;
const table = (): Table => (parsed ??= JSON.parse(tableData) as Table);

let kinds: readonly KindSchema[] | undefined;
let kindsByType: ReadonlyMap<string, KindSchema> | undefined;

/** The Kubernetes release that the table describes: "v1.36.3". */
export const apiRelease = (): string => table().release;

export function allKinds(): readonly KindSchema[] {
  return (kinds ??= table().kinds.map(([group, version, kind, type, meta, scope]) => ({
    group,
    version,
    kind,
    type,
    meta: meta as KindSchema['meta'],
    scope: scope as KindSchema['scope'],
  })));
}

export const allTypeKeys = (): readonly string[] => Object.keys(table().types);

function parseType(text: string): FieldType {
  if (text.startsWith('()[]')) return { kind: 'list', of: parseType(text.slice(4)), wrapped: true };
  if (text.startsWith('[]')) return { kind: 'list', of: parseType(text.slice(2)), wrapped: false };
  if (text.startsWith('{}')) return { kind: 'map', of: parseType(text.slice(2)) };
  if (text.startsWith('*')) return { kind: 'ref', ref: text.slice(1) };
  return { kind: 'scalar', scalar: text as ScalarType };
}

function parseField([name, type, number, flags, extras = {}]: FieldTuple): FieldSchema {
  const values = extras.e === undefined ? undefined : table().enums[extras.e];
  return {
    name,
    type: parseType(type),
    number,
    required: flags.includes('r'),
    always: flags.includes('a'),
    inline: flags.includes('i'),
    nullable: flags.includes('n'),
    optionalScalar: flags.includes('p'),
    struct: flags.includes('s'),
    patchStrategies: extras.s === undefined ? [] : extras.s.split(','),
    ...(extras.d !== undefined && { default: extras.d }),
    ...(values !== undefined && values.length > 0 && { values }),
    ...(extras.k !== undefined && { patchMergeKey: extras.k }),
    ...(extras.l !== undefined && { listType: extras.l }),
    ...(extras.m !== undefined && { listMapKeys: extras.m }),
    ...(extras.t !== undefined && { mapType: extras.t }),
  };
}

const typeMeta: readonly FieldSchema[] = ['apiVersion', 'kind'].map((name) => ({
  name,
  type: { kind: 'scalar', scalar: 'string' },
  number: 0,
  required: false,
  always: false,
  inline: false,
  nullable: false,
  optionalScalar: false,
  struct: false,
  patchStrategies: [],
}));

const cache = new Map<string, TypeSchema>();

/** Undefined when the table has no such type. */
export function schemaOf(typeKey: string): TypeSchema | undefined {
  const known = cache.get(typeKey);
  if (known) return known;
  if (!Object.hasOwn(table().types, typeKey)) return undefined;
  const entry = table().types[typeKey]!;
  kindsByType ??= new Map(allKinds().map((kind) => [kind.type, kind]));
  const kind = kindsByType.get(typeKey);
  const wireFields = entry.f.map(parseField);
  const fields: FieldSchema[] = kind ? [...typeMeta] : [];
  for (const field of wireFields) {
    if (!field.inline) fields.push(field);
    else if (field.type.kind === 'ref') fields.push(...(schemaOf(field.type.ref)?.fields ?? []));
  }
  const schema: TypeSchema = {
    key: typeKey,
    kind,
    atomic: entry.atomic === true,
    wireFields,
    byNumber: new Map(wireFields.filter((field) => field.number > 0).map((field) => [field.number, field])),
    fields,
    byName: new Map(fields.map((field) => [field.name, field])),
  };
  cache.set(typeKey, schema);
  return schema;
}

/** The schema of a type that another type in the table refers to. */
export function schemaOfReference(typeKey: string): TypeSchema {
  const schema = schemaOf(typeKey);
  if (!schema) throw new Error(`The API table refers to ${typeKey}, which it does not have`);
  return schema;
}
