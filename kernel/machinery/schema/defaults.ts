/**
 * Fills in what the author of an object left out, as Kubernetes does on create and update: the defaults of the API table,
 * then one rule for each type that has more to say. Parents before children, so that a rule may add what children then
 * complete. What only the registry can know (cluster IPs, service account, finalizers) is not here.
 */
import { PintleError } from '../../contract/index.ts';
import { cloneJson, isObject, type JsonObject } from '../json-value.ts';
import { checkDepth } from '../patch-limits.ts';
import { milliQuantity } from '../quantity.ts';
import { isUnset, type Defaulter } from './defaulter.ts';
import { coreDefaults } from './defaults-core.ts';
import { otherDefaults } from './defaults-other.ts';
import { workloadDefaults } from './defaults-workloads.ts';
import { schemaOf, schemaOfReference, type FieldSchema, type FieldType, type TypeSchema } from './schema.ts';

const rules: ReadonlyMap<string, Defaulter> = new Map(
  [coreDefaults, workloadDefaults, otherDefaults].flatMap((each) => Object.entries(each)),
);

interface Plan {
  readonly statics: readonly FieldSchema[];
  readonly rule: Defaulter | undefined;
  readonly nested: readonly FieldSchema[];
  /** Fields of `nested` whose object is made when it is absent. */
  readonly structs: ReadonlySet<FieldSchema>;
}
const plans = new Map<string, Plan>();

const isZero = (value: unknown): boolean => value === '' || value === 0 || value === false;

function holdsObjects(type: FieldType): boolean {
  return type.kind === 'ref' || ((type.kind === 'list' || type.kind === 'map') && holdsObjects(type.of));
}

/** Maps of quantities that are no ResourceList. */
const plainQuantities: ReadonlySet<string> = new Set(['core/v1.NodeAllocatableResourceClaimStatus']);

/** A core ResourceList: quantities that Kubernetes keeps in thousandths at the finest. */
function isResourceList(schema: TypeSchema, field: FieldSchema): boolean {
  const { type } = field;
  return (
    schema.key.startsWith('core/') &&
    !plainQuantities.has(schema.key) &&
    type.kind === 'map' &&
    type.of.kind === 'scalar' &&
    type.of.scalar === 'quantity'
  );
}

/** Something to say on an object that is not there. Structs contain each other without cycles. */
function hasDefaults(typeKey: string): boolean {
  const { statics, rule, structs } = planOf(schemaOfReference(typeKey));
  return rule !== undefined || statics.length > 0 || structs.size > 0;
}

function planOf(schema: TypeSchema): Plan {
  const known = plans.get(schema.key);
  if (known) return known;
  const nested = schema.fields.filter((field) => holdsObjects(field.type) || isResourceList(schema, field));
  const plan: Plan = {
    statics: schema.fields.filter(
      (field) => field.default !== undefined && (field.optionalScalar || !isZero(field.default)),
    ),
    rule: rules.get(schema.key),
    nested,
    structs: new Set(
      nested.filter((field) => field.struct && field.type.kind === 'ref' && hasDefaults(field.type.ref)),
    ),
  };
  plans.set(schema.key, plan);
  return plan;
}

function complete(object: JsonObject, schema: TypeSchema): void {
  const { statics, rule, nested, structs } = planOf(schema);
  for (const field of statics)
    if (isUnset(object, field.name) && !isExplicitEmpty(object, field)) object[field.name] = field.default;
  rule?.(object);
  for (const field of nested) {
    const value = object[field.name];
    if (value === undefined || value === null) {
      if (!structs.has(field)) continue;
      const made: JsonObject = {};
      complete(made, schemaOfReference((field.type as { ref: string }).ref));
      if (Object.keys(made).length > 0) object[field.name] = made;
    } else if (isResourceList(schema, field)) roundQuantities(value);
    else descend(value, field.type);
  }
}

/** "" in a field that tells empty from absent is a value. */
const isExplicitEmpty = (object: JsonObject, field: FieldSchema): boolean =>
  field.optionalScalar && object[field.name] === '';

function roundQuantities(list: unknown): void {
  if (!isObject(list)) return;
  for (const [key, value] of Object.entries(list)) if (typeof value === 'string') list[key] = milliQuantity(value);
}

function descend(value: unknown, type: FieldType): void {
  if (type.kind === 'ref') {
    if (isObject(value)) complete(value, schemaOfReference(type.ref));
  } else if (type.kind === 'list') {
    if (Array.isArray(value)) for (const item of value) descend(item, type.of);
  } else if (type.kind === 'map' && isObject(value)) for (const item of Object.values(value)) descend(item, type.of);
}

/** A new object; one whose shape has been checked. Applying it again changes nothing. */
export function applyDefaults<T extends object>(typeKey: string, object: T): T {
  checkDepth(object, 'the object');
  const copy = cloneJson(object);
  fillInDefaults(typeKey, copy as JsonObject);
  return copy;
}

/** The same on the caller's own object, such as the copy that checkShape has just made. */
export function fillInDefaults(typeKey: string, object: JsonObject): void {
  const schema = schemaOf(typeKey);
  if (!schema) throw new PintleError('INTERNAL', `the API table has no type ${JSON.stringify(typeKey)}`);
  complete(object, schema);
}
