/** Which objects a list or a watch is about: namespace, labels and fields, parsed once and matched often. */
import type { KubernetesObject, ListOptions } from '../../../kernel/contract/index.ts';
import { parseFieldSelector, parseLabelSelector } from '../../../kernel/machinery/selectors.ts';
import { badRequest } from './api-errors.ts';
import type { Resource } from './catalog.ts';
import { projectionOf } from './projection.ts';
import type { Projection } from './projection.ts';
import type { Collection, ObjectTree, Trigger } from './state/collection.ts';

export interface Selection {
  /** "namespace/" or "": what keys begin with. */
  readonly prefix: string;
  /** Every object under the prefix. */
  readonly isEverything: boolean;
  /** Set when at most this one key can match. */
  readonly onlyKey: string | undefined;
  /** What every change that can match must have. */
  readonly trigger: Trigger | undefined;
  /** Undefined: objects are shown whole. */
  readonly projection: Projection | undefined;
  matches(object: KubernetesObject): boolean;
  /** As readers see it; the same input gives the same output object. */
  shown(stored: KubernetesObject): KubernetesObject;
}

function fieldOf(resource: Resource, object: KubernetesObject, path: string): string {
  if (path === 'metadata.name') return object.metadata.name;
  if (path === 'metadata.namespace') return object.metadata.namespace ?? '';
  return resource.storage?.strategy.field?.(object, path) ?? '';
}

export function select(
  resource: Resource,
  options: Pick<ListOptions, 'namespace' | 'labelSelector' | 'fieldSelector' | 'fields'>,
): Selection {
  const { namespaced } = resource.served;
  const labels = parseLabelSelector(options.labelSelector ?? '');
  const fields = parseFieldSelector(options.fieldSelector ?? '');
  const known = resource.storage?.strategy.fieldNames ?? [];
  let namespace = namespaced ? options.namespace : undefined;
  let name: string | undefined;
  let field: string | undefined;
  const indexed = resource.storage?.strategy.indexedField;
  for (const { path, operator, value } of fields.requirements) {
    if (path === indexed && operator === '=') field = value;
    if (path === 'metadata.name' && operator === '=') name = value;
    else if (path === 'metadata.namespace' && namespaced && operator === '=') namespace ??= value;
    else if (!path.startsWith('metadata.') && !known.includes(path)) {
      throw badRequest(`field label not supported: ${path}`);
    } else if (path.startsWith('metadata.') && path !== 'metadata.name' && path !== 'metadata.namespace') {
      throw badRequest(`field label not supported: ${path}`);
    }
  }
  const prefix = namespace ? `${namespace}/` : '';
  const onlyKey = name === undefined || (namespaced && !namespace) ? undefined : prefix + name;
  const projection = options.fields === undefined ? undefined : projectionOf(options.fields);
  const { view } = resource;
  return {
    prefix,
    isEverything: labels.isEverything && fields.isEverything,
    onlyKey,
    trigger: onlyKey !== undefined ? { key: onlyKey } : field !== undefined ? { field } : undefined,
    matches: (object) =>
      (labels.isEverything || labels.matches(object.metadata.labels)) &&
      (fields.isEverything || fields.matches((path) => fieldOf(resource, object, path))),
    projection,
    shown: (stored) => {
      const whole = view ? view.shown(stored) : stored;
      return projection ? projection.shown(whole) : whole;
    },
  };
}

/**
 * Calls `visit` in order for entries of a tree from `start` on until it returns false: at least those that the selection
 * matches. Those of now with one value of the indexed field (one node's pods) are found without looking at the others.
 */
export function scanSelected(
  collection: Collection,
  tree: ObjectTree,
  { prefix, trigger }: Selection,
  start: string,
  visit: (key: string, object: KubernetesObject) => boolean,
): void {
  const keys =
    tree === collection.tree && trigger && 'field' in trigger ? collection.keysWith(trigger.field) : undefined;
  if (keys === undefined) {
    tree.scan(start, (key, object) => (prefix === '' || key.startsWith(prefix)) && visit(key, object));
    return;
  }
  for (const key of keys) {
    if (key < start || !key.startsWith(prefix)) continue;
    const object = tree.get(key);
    if (object !== undefined && !visit(key, object)) return;
  }
}
