/**
 * How server-side apply sees a type: what is one unit (a scalar, an atomic list or map), what is a map of fields, and
 * what is a list of named elements. From the API table; for custom resources from the values themselves.
 */
import { PintleError } from '../../contract/index.ts';
import { isObject, own, type JsonObject } from '../json-value.ts';
import { schemaOf, schemaOfReference, type FieldSchema, type FieldType } from '../schema/schema.ts';
import { keyElement, valueElement, type PathElement } from './field-set.ts';

export interface LeafShape {
  readonly kind: 'leaf';
}
export interface MapShape {
  readonly kind: 'map';
  child(name: string): Shape;
  /** A field of the type, not just a key of a map. */
  hasField(name: string): boolean;
}
export interface ListShape {
  readonly kind: 'list';
  readonly item: Shape;
  /** Undefined: elements are named by their value. */
  readonly keys: readonly string[] | undefined;
  defaultOf(key: string): unknown;
}
/** Maps have fields, lists are units: what is known of a custom resource. */
export interface DeducedShape {
  readonly kind: 'deduced';
}
export type ResolvedShape = LeafShape | MapShape | ListShape;
export type Shape = ResolvedShape | DeducedShape;

const leaf: LeafShape = { kind: 'leaf' };
const deduced: DeducedShape = { kind: 'deduced' };
const shapes = new Map<string, Shape>();

function shapeOfReference(typeKey: string): Shape {
  const known = shapes.get(typeKey);
  if (known) return known;
  const schema = schemaOfReference(typeKey);
  const children = new Map<string, Shape>();
  const shape: Shape = schema.atomic
    ? leaf
    : {
        kind: 'map',
        hasField: (name) => schema.byName.has(name),
        child: (name) => {
          const field = schema.byName.get(name);
          if (!field) return deduced;
          let child = children.get(name);
          if (!child) children.set(name, (child = shapeOfField(field.type, field)));
          return child;
        },
      };
  shapes.set(typeKey, shape);
  return shape;
}

function shapeOfField(type: FieldType, field: FieldSchema | undefined): Shape {
  if (type.kind === 'ref') return field?.mapType === 'atomic' ? leaf : shapeOfReference(type.ref);
  if (type.kind === 'map') {
    if (field?.mapType === 'atomic') return leaf;
    const item = shapeOfField(type.of, undefined);
    return { kind: 'map', hasField: () => false, child: () => item };
  }
  if (type.kind === 'scalar') return type.scalar === 'raw' ? deduced : leaf;
  if (field?.listType !== 'map' && field?.listType !== 'set') return leaf;
  const of = type.of;
  const schema = of.kind === 'ref' ? schemaOf(of.ref) : undefined;
  return {
    kind: 'list',
    item: shapeOfField(of, undefined),
    keys: field.listType === 'map' ? (field.listMapKeys ?? []) : undefined,
    defaultOf: (key) => schema?.byName.get(key)?.default,
  };
}

const customRoot: Shape = {
  kind: 'map',
  hasField: (name) => name === 'metadata' || name === 'apiVersion' || name === 'kind',
  child: (name) => (name === 'metadata' ? shapeOfReference('meta/v1.ObjectMeta') : deduced),
};

/** `schemaType`: key into the API table; undefined for a custom resource. */
export function rootShape(schemaType: string | undefined): Shape {
  return schemaType !== undefined && schemaOf(schemaType) ? shapeOfReference(schemaType) : customRoot;
}

const deducedMap: MapShape = { kind: 'map', hasField: () => false, child: () => deduced };

/** What this shape is for this value: a leaf when the value is not of the kind that the shape expects. */
export function resolve(shape: Shape, ...values: readonly unknown[]): ResolvedShape {
  const given = values.filter((value) => value !== undefined && value !== null);
  if (shape.kind === 'deduced') return given.length > 0 && given.every((value) => isObject(value)) ? deducedMap : leaf;
  if (shape.kind === 'map' && !given.every((value) => isObject(value))) return leaf;
  if (shape.kind === 'list' && !given.every((value) => Array.isArray(value))) return leaf;
  return shape;
}

/** The name of a list's element. */
export function elementOf(shape: ListShape, item: unknown): PathElement {
  if (!shape.keys) return valueElement(item);
  const object: JsonObject = isObject(item) ? item : {};
  const keys: [string, unknown][] = [];
  for (const key of shape.keys) {
    const value = own(object, key) ?? shape.defaultOf(key);
    if (value !== undefined) keys.push([key, value]);
  }
  if (keys.length === 0)
    throw new PintleError(
      'BAD_REQUEST',
      `an element of a list has none of its keys (${shape.keys.join(', ')}): name it`,
    );
  return keyElement(keys);
}

/** The elements of a list by name, in order; several for a name that occurs twice. */
export function elementsOf(shape: ListShape, list: unknown): Map<PathElement, unknown[]> {
  const elements = new Map<PathElement, unknown[]>();
  for (const item of Array.isArray(list) ? list : []) {
    const name = elementOf(shape, item);
    const same = elements.get(name);
    if (same) same.push(item);
    else elements.set(name, [item]);
  }
  return elements;
}
