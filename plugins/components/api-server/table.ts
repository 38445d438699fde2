/** Table and PartialObjectMetadata forms of objects and lists, as kubectl get and metadata informers ask for them. */
import type { KubernetesObject, ResourceType } from '../../../kernel/contract/index.ts';
import { columnsFor, type TableColumns } from './columns/index.ts';
import { listMeta, type ListHead } from './encode-object.ts';
import { badRequest } from './status.ts';

export type IncludeObject = 'None' | 'Metadata' | 'Object';

export function includeObjectOf(query: URLSearchParams): IncludeObject {
  const value = query.get('includeObject');
  if (value === null || value === '') return 'Metadata';
  if (value !== 'None' && value !== 'Metadata' && value !== 'Object')
    throw badRequest(`unrecognized includeObject value: ${JSON.stringify(value)}`);
  return value;
}

export interface TableForm {
  readonly version: 'v1' | 'v1beta1';
  readonly include: IncludeObject;
}

export function partialMetadata(object: KubernetesObject, version: 'v1' | 'v1beta1'): KubernetesObject {
  return { kind: 'PartialObjectMetadata', apiVersion: `meta.k8s.io/${version}`, metadata: object.metadata };
}

export function tableOf(
  type: ResourceType,
  objects: readonly KubernetesObject[],
  head: Omit<ListHead, 'kind' | 'apiVersion'>,
  form: TableForm,
  options: { readonly now: number; readonly withHeaders?: boolean },
): object {
  // A scale has its own columns, whatever it scales.
  const isScale = objects[0]?.kind === 'Scale';
  const columns = columnsFor(isScale ? { group: 'autoscaling', version: 'v1', resource: 'scales' } : type);
  return {
    kind: 'Table',
    apiVersion: `meta.k8s.io/${form.version}`,
    metadata: listMeta(head),
    columnDefinitions: options.withHeaders === false ? [] : definitions(columns),
    rows: objects.map((object) => row(columns, object, form, options.now)),
  };
}

function definitions(columns: TableColumns): readonly object[] {
  return columns.columns.map((column) => ({
    name: column.name,
    type: column.type,
    format: column.format ?? '',
    description: column.description ?? '',
    priority: column.priority ?? 0,
  }));
}

function row(columns: TableColumns, object: KubernetesObject, form: TableForm, now: number): object {
  let cells: readonly unknown[];
  try {
    cells = columns.cells(object, now);
  } catch {
    // One odd object must not take the whole listing away: its name is shown, the rest is unknown.
    cells = columns.columns.map((_, index) => (index === 0 ? object.metadata.name : '<unknown>'));
  }
  if (form.include === 'None') return { cells, object: null };
  return { cells, object: form.include === 'Object' ? object : partialMetadata(object, form.version) };
}
