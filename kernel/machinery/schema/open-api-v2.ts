/**
 * OpenAPI v2 in protobuf, which kubectl up to 1.28 asks for (apply, explain, diff): the v3 documents translated to one
 * `Document` message. Field numbers: OpenAPIv2.proto of github.com/google/gnostic-models.
 *
 *     Document { swagger 1, info 2 { title 1, version 2 }, paths 8 { path 2 }, definitions 9 { entry 1 } }
 *     Schema   { $ref 1, format 2, description 4, default 5, required 19, additional 21 { schema 1 }, type 22 { value 1 },
 *                items 23 { schema 1 }, properties 25 { entry 1 }, extension 31 }
 *     an entry is { name 1, value 2 }; any value { yaml 2 }
 */
import type { ServedResource } from '../../contract/index.ts';
import { openApiDocument, type GroupVersion } from './open-api.ts';

type Json = Readonly<Record<string, unknown>>;

const isObject = (value: unknown): value is Json =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

function varint(value: number): Buffer {
  const bytes: number[] = [];
  let rest = value;
  for (; rest > 127; rest = Math.floor(rest / 128)) bytes.push((rest % 128) | 128);
  bytes.push(rest);
  return Buffer.from(bytes);
}

/** A length-delimited field. */
function field(number: number, content: Buffer | string | readonly Buffer[]): Buffer {
  const body =
    typeof content === 'string'
      ? Buffer.from(content)
      : Buffer.isBuffer(content)
        ? content
        : Buffer.concat(content as Buffer[]);
  return Buffer.concat([varint(number * 8 + 2), varint(body.length), body]);
}

const named = (name: string, value: Buffer | readonly Buffer[]): readonly Buffer[] => [field(1, name), field(2, value)];

/** JSON is YAML. */
const any = (value: unknown): Buffer => field(2, `${JSON.stringify(value)}\n`);

function extensions(number: number, object: Json): readonly Buffer[] {
  return Object.entries(object)
    .filter(([key]) => key.startsWith('x-'))
    .map(([key, value]) => field(number, named(key, any(value))));
}

const definitionOf = (reference: unknown): string =>
  String(reference).replace('#/components/schemas/', '#/definitions/');

/** v3 says `oneOf` where v2 has one type: a quantity is a string, an int-or-string a string with that format. */
function typeOf(schema: Json): string | undefined {
  if (typeof schema['type'] === 'string') return schema['type'];
  return Array.isArray(schema['oneOf']) ? 'string' : undefined;
}

function schemaParts(schema: Json): readonly Buffer[] {
  const [wrapped] = Array.isArray(schema['allOf']) ? (schema['allOf'] as Json[]) : [];
  const reference = schema['$ref'] ?? wrapped?.['$ref'];
  const parts: Buffer[] = [];
  if (reference !== undefined) parts.push(field(1, definitionOf(reference)));
  if (typeof schema['format'] === 'string') parts.push(field(2, schema['format']));
  if (typeof schema['description'] === 'string') parts.push(field(4, schema['description']));
  if (schema['default'] !== undefined) parts.push(field(5, any(schema['default'])));
  for (const name of (schema['required'] as string[] | undefined) ?? []) parts.push(field(19, name));
  if (isObject(schema['additionalProperties'])) {
    parts.push(field(21, field(1, schemaParts(schema['additionalProperties']))));
  }
  const type = reference === undefined ? typeOf(schema) : undefined;
  if (type !== undefined) parts.push(field(22, field(1, type)));
  if (isObject(schema['items'])) parts.push(field(23, field(1, schemaParts(schema['items']))));
  if (isObject(schema['properties'])) {
    const entries = Object.entries(schema['properties']).map(([name, value]) =>
      field(1, named(name, schemaParts(value as Json))),
    );
    parts.push(field(25, entries));
  }
  parts.push(...extensions(31, schema));
  return parts;
}

/** Only query parameters: what kubectl looks for is whether a write takes dryRun. */
function parameter(parameters: Json): Buffer | undefined {
  if (parameters['in'] !== 'query') return undefined;
  const type = String((parameters['schema'] as Json | undefined)?.['type'] ?? 'string');
  const query = [field(2, 'query'), field(4, String(parameters['name'])), field(6, type)];
  return field(8, field(1, field(2, field(3, query))));
}

const methods: Readonly<Record<string, number>> = { get: 2, put: 3, post: 4, delete: 5, patch: 8 };

function pathParts(path: Json): readonly Buffer[] {
  return Object.entries(methods).flatMap(([method, number]) => {
    const operation = path[method];
    if (!isObject(operation)) return [];
    const parameters = ((operation['parameters'] as Json[] | undefined) ?? [])
      .map(parameter)
      .filter((each) => each !== undefined);
    const ok = field(1, named('200', field(1, field(1, 'OK'))));
    return [field(number, [...parameters, field(9, ok), ...extensions(13, operation)])];
  });
}

/** The whole API in one message: `application/com.github.proto-openapi.spec.v2@v1.0+protobuf`. */
export function openApiV2(resources: readonly ServedResource[], version: string): Buffer {
  const groupVersions = new Map<string, GroupVersion>();
  for (const { group, version: each } of resources) groupVersions.set(`${group}/${each}`, { group, version: each });
  const paths = new Map<string, Json>();
  const schemas = new Map<string, Json>();
  for (const groupVersion of groupVersions.values()) {
    const document = openApiDocument(groupVersion, resources) as
      { paths?: Json; components?: { schemas?: Json } } | undefined;
    for (const [name, path] of Object.entries(document?.paths ?? {})) paths.set(name, path as Json);
    for (const [name, schema] of Object.entries(document?.components?.schemas ?? {})) schemas.set(name, schema as Json);
  }
  return Buffer.concat([
    field(1, '2.0'),
    field(2, [field(1, 'Kubernetes'), field(2, version)]),
    field(
      8,
      [...paths].map(([name, path]) => field(2, named(name, pathParts(path)))),
    ),
    field(
      9,
      [...schemas].map(([name, schema]) => field(1, named(name, schemaParts(schema)))),
    ),
  ]);
}
