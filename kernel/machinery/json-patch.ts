/**
 * RFC 6902 JSON patch. fast-json-patch applies each operation; what it leaves open is decided here first: paths exist as
 * own properties only (so "/constructor" is absent, and "__proto__" is a key like any other), array indexes are strict,
 * and the work is bounded.
 */
import fastJsonPatch, { type Operation } from 'fast-json-patch';
import { PintleError } from '../contract/index.ts';
import { cloneJson, equalJson, isObject, own, setOwn, type JsonObject } from './json-value.ts';
import { checkDepth, checkResultSize, jsonLength, maxPatchOperations, maxResultLength } from './patch-limits.ts';

type Op = 'add' | 'remove' | 'replace' | 'move' | 'copy' | 'test';
const known: readonly string[] = ['add', 'remove', 'replace', 'move', 'copy', 'test'];

interface Step {
  readonly op: Op;
  readonly path: string;
  readonly from: string | undefined;
  readonly value: unknown;
}

const malformed = (index: number, reason: string): PintleError =>
  new PintleError('BAD_REQUEST', `JSON patch operation ${index} is malformed: ${reason}`);
const refused = (index: number, step: Step, reason: string): PintleError =>
  new PintleError(
    'INVALID',
    `JSON patch operation ${index} (${step.op} ${JSON.stringify(step.path)}) cannot be applied: ${reason}`,
    {
      details: { causes: [] },
    },
  );

function pointer(text: unknown, index: number, name: string): string {
  if (typeof text !== 'string') throw malformed(index, `"${name}" must be a string`);
  if (text !== '' && !text.startsWith('/'))
    throw malformed(index, `"${name}" must be empty or start with "/", got ${JSON.stringify(text)}`);
  return text;
}

function readStep(raw: unknown, index: number): Step {
  if (!isObject(raw)) throw malformed(index, 'it must be an object such as {"op":"add","path":"/a","value":1}');
  const op = own(raw, 'op');
  if (typeof op !== 'string' || !known.includes(op))
    throw malformed(index, `"op" must be one of ${known.join(', ')}, got ${JSON.stringify(op)}`);
  const path = pointer(own(raw, 'path'), index, 'path');
  const from = op === 'move' || op === 'copy' ? pointer(own(raw, 'from'), index, 'from') : undefined;
  const needsValue = op === 'add' || op === 'replace' || op === 'test';
  if (needsValue && !Object.hasOwn(raw, 'value')) throw malformed(index, `"${op}" needs a "value"`);
  return { op: op as Op, path, from, value: needsValue ? raw['value'] : undefined };
}

const keysOf = (path: string): string[] =>
  path
    .split('/')
    .slice(1)
    .map((key) => key.replaceAll('~1', '/').replaceAll('~0', '~'));

const arrayIndex = /^(0|[1-9]\d{0,9})$/;

interface Place {
  readonly exists: boolean;
  /** The container exists, so that something can be added here. */
  readonly addable: boolean;
  readonly value: unknown;
  readonly missing: string;
}

function find(document: unknown, path: string): Place {
  let value = document;
  const keys = keysOf(path);
  for (const [depth, key] of keys.entries()) {
    const last = depth === keys.length - 1;
    const missing = `/${keys.slice(0, depth + 1).join('/')}`;
    if (Array.isArray(value)) {
      const appends = key === '-' || key === String(value.length);
      if (!arrayIndex.test(key) || Number(key) >= value.length)
        return { exists: false, addable: last && appends, value: undefined, missing };
      value = value[Number(key)];
    } else if (isObject(value)) {
      if (!Object.hasOwn(value, key)) return { exists: false, addable: last, value: undefined, missing };
      value = value[key];
    } else return { exists: false, addable: false, value: undefined, missing };
  }
  return { exists: true, addable: true, value, missing: '' };
}

const isInside = (path: string, parent: string): boolean => path === parent || path.startsWith(`${parent}/`);

function apply(document: unknown, step: Step, index: number): unknown {
  const place = find(document, step.path);
  if (step.op === 'test') {
    // An absent value equals null, as in Kubernetes.
    if (!equalJson(place.exists ? place.value : null, step.value))
      throw refused(index, step, `testing value ${JSON.stringify(step.path)} failed`);
    return document;
  }
  if (step.op === 'remove' || step.op === 'replace') {
    if (!place.exists) throw refused(index, step, `${JSON.stringify(place.missing)} does not exist`);
  } else if (step.from !== undefined) {
    const source = find(document, step.from);
    if (!source.exists) throw refused(index, step, `"from" ${JSON.stringify(step.from)} does not exist`);
    if (step.op === 'move' && step.path !== step.from && isInside(step.path, step.from))
      throw refused(index, step, 'a value cannot be moved into itself');
    // Checked after the removal, which may shift indexes.
    if (step.op === 'move') {
      const without =
        step.from === '' ? null : applyOperation(document, { op: 'remove', path: step.from }, index, step);
      return apply(without, { op: 'add', path: step.path, from: undefined, value: source.value }, index);
    }
    return apply(document, { op: 'add', path: step.path, from: undefined, value: cloneJson(source.value) }, index);
  } else if (!place.addable)
    throw refused(index, step, `the parent of ${JSON.stringify(place.missing)} does not exist or is no container`);
  return applyOperation(
    document,
    step.op === 'remove'
      ? { op: 'remove', path: step.path }
      : { op: step.op === 'replace' ? 'replace' : 'add', path: step.path, value: step.value },
    index,
    step,
  );
}

/** The library refuses every path with this key; here it is data like any other. The place has been looked at before. */
function applyToPrototypeKey(document: unknown, operation: Operation): unknown {
  const keys = keysOf(operation.path);
  const key = keys.pop()!;
  let parent = document as JsonObject;
  for (const step of keys) parent = parent[step] as JsonObject;
  const value = operation.op === 'remove' ? undefined : (operation as { value: unknown }).value;
  if (Array.isArray(parent)) {
    const list: unknown[] = parent;
    const at = key === '-' ? list.length : Number(key);
    if (operation.op === 'replace') list[at] = value;
    else list.splice(at, operation.op === 'remove' ? 1 : 0, ...(operation.op === 'remove' ? [] : [value]));
  } else if (operation.op === 'remove') delete parent[key];
  else setOwn(parent, key, value);
  return document;
}

function applyOperation(document: unknown, operation: Operation, index: number, step: Step): unknown {
  if (keysOf(operation.path).includes('__proto__')) return applyToPrototypeKey(document, operation);
  try {
    return fastJsonPatch.applyOperation(document, operation, false, true, true, index).newDocument;
  } catch (cause) {
    throw refused(index, step, cause instanceof Error ? cause.message : String(cause));
  }
}

/**
 * Throws BAD_REQUEST for operations that are malformed, INVALID for one that does not fit the document (its index and
 * path are in the message), TOO_LARGE for more than 10,000 operations or a result beyond the API's limit.
 */
export function jsonPatch<T>(document: T, operations: unknown): T {
  if (!Array.isArray(operations))
    throw new PintleError(
      'BAD_REQUEST',
      'a JSON patch must be a list of operations such as [{"op":"remove","path":"/a"}]',
    );
  if (operations.length > maxPatchOperations)
    throw new PintleError(
      'TOO_LARGE',
      `the allowed maximum operations in a JSON patch is ${maxPatchOperations}, got ${operations.length}: send several patches`,
    );
  checkDepth(operations, 'the JSON patch');
  let result: unknown = cloneJson(document);
  let added = 0;
  for (const [index, raw] of operations.entries()) {
    const step = readStep(raw, index);
    // Copies can double the document with every operation: count what is added, not only what is left in the end.
    if (step.op === 'copy') {
      const source = find(result, step.from!);
      added += source.exists ? jsonLength(source.value, maxResultLength) : 0;
      if (added > maxResultLength)
        throw new PintleError(
          'TOO_LARGE',
          `JSON patch operation ${index} copies more than ${maxResultLength} bytes in total`,
        );
    }
    result = apply(result, { ...step, value: cloneJson(step.value) }, index);
  }
  if (!isObject(result))
    throw new PintleError('INVALID', 'the JSON patch leaves no object: the whole document was removed or replaced');
  checkDepth(result, 'the patched object');
  checkResultSize(result);
  return result as T;
}
