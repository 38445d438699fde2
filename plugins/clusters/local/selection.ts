/** Which objects a list or a watch is about: namespace, labels and fields, parsed once and matched often. */
import type { KubernetesObject, ListOptions } from '../../../kernel/contract/index.ts';
import { parseFieldSelector, parseLabelSelector } from '../../../kernel/machinery/selectors.ts';
import { badRequest } from './api-errors.ts';
import type { Resource } from './catalog.ts';
import type { Trigger } from './state/collection.ts';

export interface Selection {
  /** "namespace/" or "": what keys begin with. */
  readonly prefix: string;
  /** Every object under the prefix. */
  readonly isEverything: boolean;
  /** Set when at most this one key can match. */
  readonly onlyKey: string | undefined;
  /** What every change that can match must have. */
  readonly trigger: Trigger | undefined;
  matches(object: KubernetesObject): boolean;
}

function fieldOf(resource: Resource, object: KubernetesObject, path: string): string {
  if (path === 'metadata.name') return object.metadata.name;
  if (path === 'metadata.namespace') return object.metadata.namespace ?? '';
  return resource.storage?.strategy.field?.(object, path) ?? '';
}

export function select(
  resource: Resource,
  options: Pick<ListOptions, 'namespace' | 'labelSelector' | 'fieldSelector'>,
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
  return {
    prefix,
    isEverything: labels.isEverything && fields.isEverything,
    onlyKey,
    trigger: onlyKey !== undefined ? { key: onlyKey } : field !== undefined ? { field } : undefined,
    matches: (object) =>
      (labels.isEverything || labels.matches(object.metadata.labels)) &&
      (fields.isEverything || fields.matches((path) => fieldOf(resource, object, path))),
  };
}
