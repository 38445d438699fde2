/** Components of the OpenAPI v3 documents: one schema for each type of the API table, in Kubernetes' names and extensions. */
import { descriptions } from './open-api-descriptions.ts';
import {
  schemaOf,
  schemaOfReference,
  type FieldSchema,
  type FieldType,
  type ScalarType,
  type TypeSchema,
} from './schema.ts';

export type OpenApiObject = { [key: string]: unknown };

const prefixes: readonly (readonly [string, string])[] = [
  ['meta/', 'io.k8s.apimachinery.pkg.apis.meta.'],
  ['apiextensions/', 'io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.'],
  ['apiregistration/', 'io.k8s.kube-aggregator.pkg.apis.apiregistration.'],
  ['metrics/', 'io.k8s.metrics.pkg.apis.metrics.'],
];

/** "apps/v1.Deployment" is io.k8s.api.apps.v1.Deployment. */
export function componentName(typeKey: string): string {
  for (const [prefix, name] of prefixes) if (typeKey.startsWith(prefix)) return name + typeKey.slice(prefix.length);
  return `io.k8s.api.${typeKey.replace('/', '.')}`;
}

export const reference = (name: string): OpenApiObject => ({ $ref: `#/components/schemas/${name}` });

const meta = 'io.k8s.apimachinery.pkg.apis.meta.v1';
const extensions = 'io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1';

/** Scalars that are components of their own. */
const namedScalars: Readonly<Partial<Record<ScalarType, readonly [name: string, schema: OpenApiObject]>>> = {
  time: [`${meta}.Time`, { type: 'string', format: 'date-time' }],
  microTime: [`${meta}.MicroTime`, { type: 'string', format: 'date-time' }],
  duration: [`${meta}.Duration`, { type: 'string' }],
  quantity: ['io.k8s.apimachinery.pkg.api.resource.Quantity', { oneOf: [{ type: 'string' }, { type: 'number' }] }],
  intOrString: [
    'io.k8s.apimachinery.pkg.util.intstr.IntOrString',
    { format: 'int-or-string', oneOf: [{ type: 'integer' }, { type: 'string' }] },
  ],
  raw: ['io.k8s.apimachinery.pkg.runtime.RawExtension', { type: 'object' }],
  json: [`${extensions}.JSON`, {}],
  schemaOrArray: [`${extensions}.JSONSchemaPropsOrArray`, {}],
  schemaOrBool: [`${extensions}.JSONSchemaPropsOrBool`, {}],
  schemaOrStrings: [`${extensions}.JSONSchemaPropsOrStringArray`, {}],
};

const plainScalars: Readonly<Partial<Record<ScalarType, OpenApiObject>>> = {
  string: { type: 'string' },
  bool: { type: 'boolean' },
  int32: { type: 'integer', format: 'int32' },
  int64: { type: 'integer', format: 'int64' },
  uint8: { type: 'integer', format: 'byte' },
  float64: { type: 'number', format: 'double' },
  bytes: { type: 'string', format: 'byte' },
};

/** Gathers the components that a document needs; each type once. */
export class ComponentSet {
  readonly schemas: OpenApiObject = {};

  /** The name of the type's component. */
  add(typeKey: string): string {
    const name = componentName(typeKey);
    if (Object.hasOwn(this.schemas, name)) return name;
    const schema = schemaOfReference(typeKey);
    const component: OpenApiObject = {};
    this.schemas[name] = component;
    Object.assign(component, this.#object(schema));
    return name;
  }

  /** An object of which nothing is known but its kind. */
  addOpaque(name: string, kind: { readonly group: string; readonly version: string; readonly kind: string }): string {
    this.schemas[name] ??= {
      type: 'object',
      properties: {
        apiVersion: { type: 'string' },
        kind: { type: 'string' },
        metadata: { allOf: [reference(this.add('meta/v1.ObjectMeta'))] },
      },
      'x-kubernetes-preserve-unknown-fields': true,
      'x-kubernetes-group-version-kind': [kind],
    };
    return name;
  }

  addPlain(name: string, schema: OpenApiObject): string {
    this.schemas[name] ??= schema;
    return name;
  }

  #object(schema: TypeSchema): OpenApiObject {
    const properties: OpenApiObject = {};
    for (const field of schema.fields) properties[field.name] = this.#property(field);
    const required = schema.fields.filter((field) => field.required).map((field) => field.name);
    const description = descriptions[schema.key];
    const { kind } = schema;
    return {
      ...(description !== undefined && { description }),
      type: 'object',
      properties,
      ...(required.length > 0 && { required }),
      ...(schema.atomic && { 'x-kubernetes-map-type': 'atomic' }),
      ...(kind && {
        'x-kubernetes-group-version-kind': [
          { group: kind.group === 'meta.k8s.io' ? '' : kind.group, version: kind.version, kind: kind.kind },
        ],
      }),
    };
  }

  #property(field: FieldSchema): OpenApiObject {
    const property = this.#type(field.type, field);
    if (field.default !== undefined) property['default'] = field.default;
    else if (field.struct && field.type.kind === 'ref') property['default'] = {};
    if (field.nullable) property['nullable'] = true;
    if (field.patchStrategies.length > 0) property['x-kubernetes-patch-strategy'] = field.patchStrategies.join(',');
    if (field.patchMergeKey !== undefined) property['x-kubernetes-patch-merge-key'] = field.patchMergeKey;
    if (field.listType !== undefined) property['x-kubernetes-list-type'] = field.listType;
    if (field.listMapKeys !== undefined) property['x-kubernetes-list-map-keys'] = [...field.listMapKeys];
    if (field.mapType !== undefined) property['x-kubernetes-map-type'] = field.mapType;
    return property;
  }

  #type(type: FieldType, field: FieldSchema): OpenApiObject {
    if (type.kind === 'list') return { type: 'array', items: this.#type(type.of, field) };
    if (type.kind === 'map') return { type: 'object', additionalProperties: this.#type(type.of, field) };
    if (type.kind === 'ref') return { allOf: [reference(this.add(type.ref))] };
    const named = namedScalars[type.scalar];
    if (named) return { allOf: [reference(this.addPlain(named[0], named[1]))] };
    return {
      ...plainScalars[type.scalar],
      ...(type.scalar === 'string' && field.values && { enum: [...field.values] }),
    };
  }
}

export const isKnownType = (typeKey: string): boolean => schemaOf(typeKey) !== undefined;
