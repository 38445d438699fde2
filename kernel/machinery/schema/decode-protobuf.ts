/**
 * Decodes the protobuf bodies that kubectl and client-go send, by the API table: the same object as the JSON form of the
 * request would give.
 *
 *     "k8s\0"  Unknown { 1 TypeMeta { 1 apiVersion, 2 kind }, 2 raw object, 3 contentEncoding, 4 contentType }
 *
 * The encoder writes every non-pointer field of the Go types, zero or not; zeros that JSON would leave out are dropped.
 */
import { PintleError } from '../../contract/index.ts';
import { own, setOwn, type JsonObject } from '../json-value.ts';
import { maxJsonDepth } from '../patch-limits.ts';
import { kindType } from './kinds.ts';
import { malformed, ProtobufReader, type WireType } from './protobuf-reader.ts';
import { schemaOfReference, type FieldSchema, type FieldType, type ScalarType, type TypeSchema } from './schema.ts';
import { readDuration, readIntOrString, readJson, readQuantity, readTime } from './wire-values.ts';

const magic = Buffer.from('k8s\0', 'latin1');
const maxBytes = 3 * 1024 * 1024;
/** Empty messages cost two bytes on the wire and fifty in memory. */
const maxValues = 500_000;

const jsonSchema = 'apiextensions/v1.JSONSchemaProps';

const wireOf: Readonly<Record<ScalarType, WireType>> = {
  string: 2,
  bytes: 2,
  bool: 0,
  int32: 0,
  int64: 0,
  uint8: 0,
  float64: 1,
  time: 2,
  microTime: 2,
  duration: 2,
  quantity: 2,
  intOrString: 2,
  raw: 2,
  json: 2,
  schemaOrArray: 2,
  schemaOrBool: 2,
  schemaOrStrings: 2,
};

class Decoder {
  #values = 0;

  message(reader: ProtobufReader, schema: TypeSchema, target: JsonObject, depth: number): JsonObject {
    if (depth > maxJsonDepth) throw malformed(`it is nested deeper than ${maxJsonDepth} levels`);
    for (let tag = reader.tag(); tag; tag = reader.tag()) {
      const field = schema.byNumber.get(tag.number);
      if (field) this.#field(reader, tag.wire, field, target, depth);
      else reader.skip(tag.wire);
    }
    // What JSON prints even when it is empty and the wire does not show at all.
    for (const field of schema.wireFields) {
      if (!field.always || Object.hasOwn(target, field.name)) continue;
      if (field.type.kind === 'list') target[field.name] = [];
      else if (field.type.kind === 'map') target[field.name] = {};
    }
    return target;
  }

  #field(reader: ProtobufReader, wire: WireType, field: FieldSchema, target: JsonObject, depth: number): void {
    const { name, type } = field;
    if (type.kind === 'list' && !type.wrapped) {
      const list = (own(target, name) as unknown[] | undefined) ?? [];
      target[name] = list;
      this.#element(reader, wire, type.of, list, name, depth);
    } else if (type.kind === 'map') {
      const map = (own(target, name) as JsonObject | undefined) ?? {};
      target[name] = map;
      this.#entry(this.#nested(reader, wire, name), type.of, map, name, depth);
    } else if (type.kind === 'ref') {
      const message = this.#nested(reader, wire, name);
      if (field.inline) this.message(message, schemaOfReference(type.ref), target, depth + 1);
      else {
        const before = (own(target, name) as JsonObject | undefined) ?? {};
        target[name] = this.message(message, schemaOfReference(type.ref), before, depth + 1);
      }
    } else {
      const value = this.#value(reader, wire, type, name, depth);
      const isZero = value === undefined || value === '' || value === 0 || value === false;
      const isKept = type.kind === 'list' || field.always || field.optionalScalar || !isZero || isNeverZero(type);
      if (value !== undefined && isKept) target[name] = value;
    }
  }

  #element(
    reader: ProtobufReader,
    wire: WireType,
    type: FieldType,
    list: unknown[],
    name: string,
    depth: number,
  ): void {
    if (wire === 2 && type.kind === 'scalar' && wireOf[type.scalar] !== 2) {
      const packed = reader.nested();
      while (!packed.done) list.push(this.#value(packed, wireOf[type.scalar], type, name, depth));
    } else list.push(this.#value(reader, wire, type, name, depth) ?? null);
  }

  #entry(entry: ProtobufReader, type: FieldType, map: JsonObject, name: string, depth: number): void {
    let key = '';
    let value: unknown;
    for (let tag = entry.tag(); tag; tag = entry.tag()) {
      if (tag.number === 1 && tag.wire === 2) key = entry.string();
      else if (tag.number === 2) value = this.#value(entry, tag.wire, type, name, depth);
      else entry.skip(tag.wire);
    }
    setOwn(map, key, value ?? this.#empty(type));
  }

  /** The value of a map entry that has none. */
  #empty(type: FieldType): unknown {
    if (type.kind === 'list') return [];
    if (type.kind === 'ref')
      return this.message(new ProtobufReader(Buffer.alloc(0)), schemaOfReference(type.ref), {}, 0);
    if (type.kind === 'map') return {};
    if (type.scalar === 'string' || type.scalar === 'bytes') return '';
    return type.scalar === 'quantity' ? '0' : null;
  }

  #nested(reader: ProtobufReader, wire: WireType, name: string): ProtobufReader {
    if (wire !== 2) throw malformed(`field ${JSON.stringify(name)} has wire type ${wire}, expected 2`);
    this.#count();
    return reader.nested();
  }

  #count(): void {
    if (++this.#values > maxValues) throw malformed(`it has more than ${maxValues} values`);
  }

  #value(reader: ProtobufReader, wire: WireType, type: FieldType, name: string, depth: number): unknown {
    if (type.kind === 'ref')
      return this.message(this.#nested(reader, wire, name), schemaOfReference(type.ref), {}, depth + 1);
    if (type.kind === 'list') {
      const list: unknown[] = [];
      const message = this.#nested(reader, wire, name);
      for (let tag = message.tag(); tag; tag = message.tag()) {
        if (tag.number === 1) this.#element(message, tag.wire, type.of, list, name, depth);
        else message.skip(tag.wire);
      }
      return list;
    }
    if (type.kind === 'map') throw malformed(`field ${JSON.stringify(name)} is a map inside of a list or map`);
    if (wire !== wireOf[type.scalar])
      throw malformed(`field ${JSON.stringify(name)} has wire type ${wire}, expected ${wireOf[type.scalar]}`);
    this.#count();
    return this.#scalar(reader, type.scalar, depth);
  }

  #scalar(reader: ProtobufReader, type: ScalarType, depth: number): unknown {
    switch (type) {
      case 'string':
        return reader.string();
      case 'bytes':
        return reader.bytes().toString('base64');
      case 'bool':
        return reader.bool();
      case 'int32':
      case 'uint8':
        return reader.int32();
      case 'int64':
        return reader.int64();
      case 'float64':
        return reader.double();
      case 'time':
        return readTime(reader.nested(), 0);
      case 'microTime':
        return readTime(reader.nested(), 6);
      case 'duration':
        return readDuration(reader.nested());
      case 'quantity':
        return readQuantity(reader.nested());
      case 'intOrString':
        return readIntOrString(reader.nested());
      case 'raw':
      case 'json':
        return readJson(reader.nested());
      case 'schemaOrArray':
      case 'schemaOrBool':
      case 'schemaOrStrings':
        return this.#schemaOr(reader.nested(), type, depth);
    }
  }

  /** {1 schema, 2 schemas}, {1 allows, 2 schema}, {1 schema, 2 strings} */
  #schemaOr(
    message: ProtobufReader,
    type: 'schemaOrArray' | 'schemaOrBool' | 'schemaOrStrings',
    depth: number,
  ): unknown {
    const list: unknown[] = [];
    let schema: unknown;
    let allows = false;
    for (let tag = message.tag(); tag; tag = message.tag()) {
      const isSchema = tag.number === (type === 'schemaOrBool' ? 2 : 1);
      if (isSchema) schema = this.#value(message, tag.wire, { kind: 'ref', ref: jsonSchema }, type, depth);
      else if (tag.number > 2) message.skip(tag.wire);
      else if (type === 'schemaOrBool') allows = message.bool();
      else if (type === 'schemaOrArray')
        list.push(this.#value(message, tag.wire, { kind: 'ref', ref: jsonSchema }, type, depth));
      else list.push(this.#value(message, tag.wire, { kind: 'scalar', scalar: 'string' }, type, depth));
    }
    return schema ?? (type === 'schemaOrBool' ? allows : list);
  }
}

/** Messages in their own right: when they are there they say something, port 0 or quantity "0" included. */
function isNeverZero(type: FieldType): boolean {
  return type.kind === 'scalar' && wireOf[type.scalar] === 2 && type.scalar !== 'string' && type.scalar !== 'bytes';
}

function readEnvelope(bytes: Buffer): {
  readonly apiVersion: string;
  readonly kind: string;
  readonly raw: ProtobufReader;
} {
  if (bytes.length > maxBytes)
    throw new PintleError('TOO_LARGE', `the protobuf body has ${bytes.length} bytes, the limit is ${maxBytes}`);
  if (!bytes.subarray(0, magic.length).equals(magic)) throw malformed('it does not start with "k8s\\0"');
  const reader = new ProtobufReader(bytes, magic.length);
  let apiVersion = '';
  let kind = '';
  let raw = new ProtobufReader(Buffer.alloc(0));
  for (let tag = reader.tag(); tag; tag = reader.tag()) {
    if (tag.number === 1 && tag.wire === 2) {
      const meta = reader.nested();
      for (let inner = meta.tag(); inner; inner = meta.tag()) {
        if (inner.number === 1 && inner.wire === 2) apiVersion = meta.string();
        else if (inner.number === 2 && inner.wire === 2) kind = meta.string();
        else meta.skip(inner.wire);
      }
    } else if (tag.number === 2 && tag.wire === 2) raw = reader.nested();
    else if (tag.number === 3 && tag.wire === 2) {
      const encoding = reader.string();
      if (encoding !== '') throw malformed(`content encoding ${JSON.stringify(encoding)} is not supported`);
    } else reader.skip(tag.wire);
  }
  if (kind === '' || apiVersion === '') throw malformed('its envelope has no apiVersion or no kind');
  return { apiVersion, kind, raw };
}

/** `object` has apiVersion and kind too. Throws BAD_REQUEST for anything malformed or not built in, TOO_LARGE beyond 3 MiB. */
export function decodeProtobuf(bytes: Uint8Array): {
  readonly apiVersion: string;
  readonly kind: string;
  readonly object: JsonObject;
} {
  const { apiVersion, kind, raw } = readEnvelope(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength));
  const type = kindType(apiVersion, kind);
  if (type === undefined)
    throw new PintleError(
      'BAD_REQUEST',
      `no kind ${JSON.stringify(kind)} is known for version ${JSON.stringify(apiVersion)} in protobuf: send JSON`,
    );
  return { apiVersion, kind, object: new Decoder().message(raw, schemaOfReference(type), { apiVersion, kind }, 0) };
}
