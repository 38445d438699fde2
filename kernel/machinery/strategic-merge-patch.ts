/**
 * Kubernetes' strategic merge patch: a merge patch that knows, from the schema, which lists are sets of named things.
 * Directives: `$patch: replace | delete | merge` in an object or list element, `$retainKeys`,
 * `$setElementOrder/<list>`, `$deleteFromPrimitiveList/<list>`.
 *
 * Where two elements of one list share the merge key (port 53 for TCP and for UDP), all list map keys are compared
 * instead of the first alone; Kubernetes merges the wrong element there (kubernetes issue 39188).
 */
import { PintleError } from '../contract/index.ts';
import { cloneJson, isObject, own, setOwn, type JsonObject } from './json-value.ts';
import { checkDepth, checkResultSize } from './patch-limits.ts';
import { schemaOf, type FieldSchema, type FieldType } from './schema/schema.ts';
import { applyElementOrder, checkElementOrder, deduplicate, identify, type Identity } from './strategic-merge-order.ts';

const orderPrefix = '$setElementOrder/';
const deletePrefix = '$deleteFromPrimitiveList/';

const bad = (reason: string): PintleError =>
  new PintleError('BAD_REQUEST', `the strategic merge patch is malformed: ${reason}`);
const unfit = (reason: string): PintleError =>
  new PintleError('INVALID', `the strategic merge patch cannot be applied: ${reason}`);

interface FieldRules {
  readonly type: FieldType | undefined;
  readonly strategy: 'merge' | 'replace' | undefined;
  readonly mergeKey: string | undefined;
  readonly allKeys: readonly string[];
}
const noRules: FieldRules = { type: undefined, strategy: undefined, mergeKey: undefined, allKeys: [] };

function rulesOf(field: FieldSchema): FieldRules {
  const strategy = field.patchStrategies.find((each) => each === 'merge' || each === 'replace');
  const { patchMergeKey: mergeKey, listMapKeys = [] } = field;
  const allKeys = mergeKey === undefined ? [] : listMapKeys.includes(mergeKey) ? listMapKeys : [mergeKey];
  return { type: field.type, strategy: strategy as FieldRules['strategy'], mergeKey, allKeys };
}

/** The rules of `key` in an object of this type. */
function fieldRules(type: FieldType | undefined, key: string): FieldRules {
  if (type?.kind === 'map') return { ...noRules, type: type.of };
  const field = type?.kind === 'ref' ? schemaOf(type.ref)?.byName.get(key) : undefined;
  return field ? rulesOf(field) : noRules;
}

const elementType = (type: FieldType | undefined): FieldType | undefined =>
  type?.kind === 'list' ? type.of : undefined;

function listOf(value: unknown, what: string): unknown[] {
  if (!Array.isArray(value)) throw bad(`${what} must be a list`);
  return value;
}

/** Objects without directives and nulls: what stays of a patch that meets nothing to merge with. */
function asValue(patch: unknown, type: FieldType | undefined): unknown {
  if (isObject(patch)) return mergeObject({}, patch, type);
  if (!Array.isArray(patch)) return patch;
  return patch
    .filter((item) => !(isObject(item) && (own(item, '$patch') === 'delete' || isBareReplace(item))))
    .map((item) => asValue(item, elementType(type)));
}

/** {$patch: replace} alone marks its list; it is no element. */
const isBareReplace = (item: JsonObject): boolean =>
  own(item, '$patch') === 'replace' && Object.keys(item).length === 1;

function retainKeys(original: JsonObject, patch: JsonObject): void {
  const directive = own(patch, '$retainKeys');
  if (directive === undefined) return;
  const retained = new Set(listOf(directive, '$retainKeys'));
  for (const [key, value] of Object.entries(patch)) {
    if (value === null || key.startsWith('$')) continue;
    if (!retained.has(key)) throw bad(`$retainKeys does not name ${JSON.stringify(key)}, which the patch sets`);
  }
  for (const key of Object.keys(original)) if (!retained.has(key)) delete original[key];
}

function mergeObject(original: JsonObject, patch: JsonObject, type: FieldType | undefined): JsonObject {
  const directive = own(patch, '$patch');
  if (directive === 'delete') return {};
  if (directive === 'replace') {
    const { $patch: _, ...rest } = patch;
    return asValue(rest, type) as JsonObject;
  }
  if (directive !== undefined && directive !== 'merge')
    throw bad(`$patch must be replace, delete or merge, got ${JSON.stringify(directive)}`);
  retainKeys(original, patch);
  const done = new Set<string>();
  for (const key of Object.keys(patch)) {
    if (!key.startsWith(orderPrefix)) continue;
    const name = key.slice(orderPrefix.length);
    mergeOrdered(original, patch, name, listOf(patch[key], key), fieldRules(type, name));
    done.add(name);
  }
  for (const [key, value] of Object.entries(patch)) {
    const isDirective =
      key === '$patch' || key === '$retainKeys' || key.startsWith(orderPrefix) || key.startsWith(deletePrefix);
    if (isDirective || done.has(key)) continue;
    if (value === null) delete original[key];
    else setOwn(original, key, mergeValue(own(original, key), value, fieldRules(type, key), key));
  }
  // Deletions last: a value that one patch both adds and deletes is gone, whatever the order of its keys.
  for (const [key, value] of Object.entries(patch))
    if (key.startsWith(deletePrefix)) deleteScalars(original, key.slice(deletePrefix.length), listOf(value, key));
  return original;
}

function mergeValue(original: unknown, patch: unknown, rules: FieldRules, name: string): unknown {
  if (isObject(patch) && isObject(original)) {
    return rules.strategy === 'replace' ? asValue(patch, rules.type) : mergeObject(original, patch, rules.type);
  }
  if (Array.isArray(patch) && Array.isArray(original) && rules.strategy === 'merge')
    return mergeList(original, patch, rules, name);
  return asValue(patch, rules.type);
}

function deleteScalars(original: JsonObject, name: string, values: readonly unknown[]): void {
  const list = own(original, name);
  if (!Array.isArray(list)) return;
  const gone = new Set(values);
  setOwn(
    original,
    name,
    list.filter((item) => !gone.has(item)),
  );
}

function mergeOrdered(
  original: JsonObject,
  patch: JsonObject,
  name: string,
  order: unknown[],
  rules: FieldRules,
): void {
  const before = own(original, name);
  const change = own(patch, name);
  if (change === null) {
    delete original[name];
    return;
  }
  if (before === undefined && change === undefined) return;
  const live = before === undefined ? [] : listOf(before, name);
  const changes = change === undefined ? [] : listOf(change, name);
  checkElementOrder(changes, order, rules.mergeKey, () =>
    bad(`the order of the patch list ${JSON.stringify(name)} does not match $setElementOrder/${name}`),
  );
  let merged: unknown[];
  if (change === undefined) merged = live;
  else if (before === undefined) merged = asValue(changes, rules.type) as unknown[];
  else
    merged =
      rules.strategy === 'merge'
        ? mergeElements(live, changes, order, rules, name)
        : (asValue(changes, rules.type) as unknown[]);
  setOwn(original, name, applyElementOrder(merged, order, live, rules.mergeKey));
}

function mergeList(original: unknown[], patch: unknown[], rules: FieldRules, name: string): unknown[] {
  // The list before the merge, since elements are merged in place.
  const live = [...original];
  const merged = mergeElements(original, patch, [], rules, name);
  const kept = patch.filter((item) => !isObject(item) || !isDirective(item));
  return applyElementOrder(merged, kept, live, rules.mergeKey);
}

const isDirective = (item: JsonObject): boolean =>
  own(item, '$patch') === 'delete' || own(item, '$patch') === 'replace';

function mergeElements(
  live: unknown[],
  patch: unknown[],
  order: unknown[],
  rules: FieldRules,
  name: string,
): unknown[] {
  if (live.length === 0 && patch.length === 0) return live;
  const objects = [...live, ...patch].filter((item) => isObject(item)).length;
  if (objects === 0) {
    if ([...live, ...patch].some((item) => Array.isArray(item)))
      throw unfit(`${JSON.stringify(name)} is a list of lists, which cannot be merged`);
    return deduplicate([...live, ...patch]);
  }
  if (objects !== live.length + patch.length)
    throw unfit(`the elements of ${JSON.stringify(name)} are not all of one type`);
  if (rules.mergeKey === undefined) throw unfit(`the list ${JSON.stringify(name)} has no merge key`);
  return mergeNamed(live as JsonObject[], patch as JsonObject[], order, rules, rules.mergeKey, name);
}

function mergeNamed(
  live: JsonObject[],
  patch: JsonObject[],
  order: readonly unknown[],
  rules: FieldRules,
  mergeKey: string,
  name: string,
): JsonObject[] {
  const type = elementType(rules.type);
  const identity = identityFor(live, patch, order, rules, mergeKey);
  const require = (item: JsonObject): void => {
    if (!Object.hasOwn(item, mergeKey))
      throw unfit(`an element of ${JSON.stringify(name)} has no merge key ${JSON.stringify(mergeKey)}`);
  };
  for (const item of [...live, ...patch.filter((each) => !isBareReplace(each))]) require(item);
  const replaces = patch.some((item) => own(item, '$patch') === 'replace');
  const deleted = new Set(patch.filter((item) => own(item, '$patch') === 'delete').map(identity));
  const result = replaces ? [] : live.filter((item) => !deleted.has(identity(item)));
  const places = new Map(result.map((item, index) => [identity(item), index]));
  for (const item of patch) {
    const directive = own(item, '$patch');
    if (directive === 'delete' || directive === 'replace') continue;
    if (directive !== undefined && directive !== 'merge')
      throw bad(`$patch must be replace, delete or merge, got ${JSON.stringify(directive)}`);
    const key = identity(item);
    const place = replaces ? undefined : places.get(key);
    if (place === undefined) {
      places.set(key, result.length);
      result.push(mergeObject({}, item, type));
    } else result[place] = mergeObject(result[place]!, item, type);
  }
  return result;
}

function identityFor(
  live: readonly JsonObject[],
  patch: readonly JsonObject[],
  order: readonly unknown[],
  rules: FieldRules,
  mergeKey: string,
): Identity {
  const narrow = identify([mergeKey], () => undefined);
  if (rules.allKeys.length < 2) return narrow;
  const ordered = order.filter((item): item is JsonObject => isObject(item));
  const ambiguous = [live, patch, ordered].some((items) => new Set(items.map(narrow)).size < items.length);
  if (!ambiguous) return narrow;
  const type = elementType(rules.type);
  const schema = type?.kind === 'ref' ? schemaOf(type.ref) : undefined;
  return identify(rules.allKeys, (key) => schema?.byName.get(key)?.default);
}

/**
 * `schemaType`: key into the API table ("core/v1.Pod"). Throws UNSUPPORTED_MEDIA_TYPE for a type that is not in it (a
 * custom resource), BAD_REQUEST for a malformed patch, INVALID for one that does not fit, TOO_LARGE for a huge result.
 */
export function strategicMergePatch<T>(document: T, patch: unknown, schemaType: string | undefined): T {
  if (schemaType === undefined || schemaOf(schemaType) === undefined)
    throw new PintleError(
      'UNSUPPORTED_MEDIA_TYPE',
      `strategic merge patch needs a built-in type, and ${schemaType ?? 'a custom resource'} is none: use application/merge-patch+json or application/apply-patch+yaml`,
    );
  if (!isObject(patch)) throw bad('it must be a JSON object');
  checkDepth(patch, 'the strategic merge patch');
  const copy = cloneJson(document) as JsonObject;
  const result = mergeObject(copy, cloneJson(patch), { kind: 'ref', ref: schemaType });
  checkResultSize(result);
  return result as T;
}
